"""How many orders and cancels has a signer left, and what do the headers say about it?

Two token buckets for each signer address, as the venue's documentation of 2026-07 describes them.
The venue runs them in warning mode: a request that is too much is told so in a header, and
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
    """Tokens a second and tokens at most, by bucket."""

    name: str
    per_second: Mapping[Bucket, int]
    burst: Mapping[Bucket, int]


STANDARD = Tier(
    name="standard",
    per_second={Bucket.ORDER: 40, Bucket.CANCEL: 80},
    burst={Bucket.ORDER: 60, Bucket.CANCEL: 120},
)
"""The tier of every account without a trading volume; this venue counts none, so it is everybody's.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one request did to its bucket. Tokens are whole; fewer than none is a debt."""

    tier: str
    remaining: int
    reset_at_s: int | None
    """When there will be enough tokens for the request; None: there were."""

    @property
    def is_over_limit(self) -> bool:
        return self.reset_at_s is not None

    def headers(self) -> dict[str, str]:
        told = {"Poly-RateLimit-Remaining": str(self.remaining), "Poly-RateLimit-Tier": self.tier}
        if self.reset_at_s is not None:
            told |= {"Poly-RateLimit-Reset": str(self.reset_at_s), "Poly-RateLimit-Warning": "true"}
        return told


@dataclass(slots=True)
class _Level:
    """Thousandths of a token: a rate a second is as many thousandths a millisecond, so no fraction
    is lost.
    """

    milli: int
    at_ms: int


class RateLimits:
    """The buckets of every signer that has asked."""

    def __init__(self, tier: Tier = STANDARD) -> None:
        self.tier = tier
        self._levels: dict[tuple[str, Bucket], _Level] = {}

    def charge(self, signer: str, bucket: Bucket, cost: int, *, now_ms: int) -> Charge:
        """Take ``cost`` tokens, all or none: a request that asks for more than there are leaves the
        bucket as it is.
        """
        level = self._refilled(signer, bucket, now_ms)
        missing = cost * _MILLI - level.milli
        if missing <= 0:
            level.milli -= cost * _MILLI
            return self._build_charge(level, None)
        wait_ms = -(-missing // self.tier.per_second[bucket])
        return self._build_charge(level, -(-(now_ms + wait_ms) // _MILLI))

    def charge_afterwards(self, signer: str, bucket: Bucket, cost: int, *, now_ms: int) -> Charge:
        """Take tokens for what a request turned out to do (orders that a cancel-all cancelled): the
        bucket may fall into debt.
        """
        level = self._refilled(signer, bucket, now_ms)
        level.milli -= cost * _MILLI
        return self._build_charge(level, None)

    def _refilled(self, signer: str, bucket: Bucket, now_ms: int) -> _Level:
        most = self.tier.burst[bucket] * _MILLI
        level = self._levels.setdefault((signer, bucket), _Level(milli=most, at_ms=now_ms))
        level.milli = min(
            most, level.milli + max(0, now_ms - level.at_ms) * self.tier.per_second[bucket]
        )
        level.at_ms = max(level.at_ms, now_ms)
        return level

    def _build_charge(self, level: _Level, reset_at_s: int | None) -> Charge:
        return Charge(tier=self.tier.name, remaining=level.milli // _MILLI, reset_at_s=reset_at_s)
