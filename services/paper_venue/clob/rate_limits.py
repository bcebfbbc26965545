"""The rate limits of orders and cancels, and the headers that report them.

Two token buckets for each signer address, as the venue's documentation of 2026-07 describes them.
The venue runs them in warning mode: a request over the limit gets a warning header and is
processed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_MILLI = 1_000


class Bucket(StrEnum):
    ORDER = "order"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Tokens per second, and the most tokens that a bucket holds, by bucket."""

    name: str
    per_second: Mapping[Bucket, int]
    burst: Mapping[Bucket, int]


STANDARD = Tier(
    name="standard",
    per_second={Bucket.ORDER: 40, Bucket.CANCEL: 80},
    burst={Bucket.ORDER: 60, Bucket.CANCEL: 120},
)
"""The tier of accounts without trading volume; this venue counts no volume, so all have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A bucket after one request. ``remaining`` is in whole tokens; negative: overdrawn."""

    tier: str
    remaining: int
    reset_at_s: int | None
    """Epoch seconds at which there will be enough tokens for the request; None: there were."""

    @property
    def is_over_limit(self) -> bool:
        return self.reset_at_s is not None

    def headers(self) -> dict[str, str]:
        headers = {
            "Poly-RateLimit-Remaining": str(self.remaining),
            "Poly-RateLimit-Tier": self.tier,
        }
        if self.reset_at_s is not None:
            headers |= {
                "Poly-RateLimit-Reset": str(self.reset_at_s),
                "Poly-RateLimit-Warning": "true",
            }
        return headers


@dataclass(slots=True)
class _BucketLevel:
    """A bucket's tokens in thousandths: a rate per second is as many thousandths per millisecond,
    so refilling is exact in integers.
    """

    milli: int
    at_ms: int


class RateLimits:
    """The buckets of every signer."""

    def __init__(self, tier: Tier = STANDARD) -> None:
        self.tier = tier
        self._levels: dict[tuple[str, Bucket], _BucketLevel] = {}

    def charge(self, signer: str, bucket: Bucket, cost: int, *, now_ms: int) -> Charge:
        """Take ``cost`` tokens if there are so many; otherwise the bucket is left unchanged."""
        level = self._refilled(signer, bucket, now_ms)
        missing = cost * _MILLI - level.milli
        if missing <= 0:
            level.milli -= cost * _MILLI
            return self._build_charge(level, None)
        wait_ms = -(-missing // self.tier.per_second[bucket])
        return self._build_charge(level, -(-(now_ms + wait_ms) // _MILLI))

    def charge_afterwards(self, signer: str, bucket: Bucket, cost: int, *, now_ms: int) -> Charge:
        """Take tokens for what a request turned out to do (the orders that a cancel-all cancelled);
        the bucket may be overdrawn.
        """
        level = self._refilled(signer, bucket, now_ms)
        level.milli -= cost * _MILLI
        return self._build_charge(level, None)

    def _refilled(self, signer: str, bucket: Bucket, now_ms: int) -> _BucketLevel:
        maximum = self.tier.burst[bucket] * _MILLI
        level = self._levels.setdefault((signer, bucket), _BucketLevel(milli=maximum, at_ms=now_ms))
        level.milli = min(
            maximum, level.milli + max(0, now_ms - level.at_ms) * self.tier.per_second[bucket]
        )
        level.at_ms = max(level.at_ms, now_ms)
        return level

    def _build_charge(self, level: _BucketLevel, reset_at_s: int | None) -> Charge:
        return Charge(tier=self.tier.name, remaining=level.milli // _MILLI, reset_at_s=reset_at_s)
