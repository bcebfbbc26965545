"""Which faults are on, and does one strike now? All are off until somebody asks; the same seed and
requests give the same strikes.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Fault(StrEnum):
    """What can go wrong at the real venue; the text after each says what a client meets
    (docs/paper-venue.md has the sources).
    """

    RESET_BEFORE = "reset-before"
    """The connection of an order's POST is reset; the order never arrived."""
    DROP_REPLY = "drop-reply"
    """The order is in; the connection is closed instead of an answer."""
    LATE_REPLY = "late-reply"
    """The order is in; the answer comes ``seconds`` later."""
    REPEATED_REQUEST = "repeated-request"
    """A gateway sends the order twice; the client gets the answer to the second: Duplicated."""
    ORDER_TIMED_OUT = "order-timed-out"
    """500 ``order timed out``; the order is not in."""
    ORDER_REFUSED = "order-refused"
    """An order is refused with ``text``, and with the HTTP status that the venue gives this text;
    the order is not in."""
    DELAYED = "delayed"
    """The order is held ``seconds`` before it matches, and answered ``delayed``."""
    KILLED_PARTIAL = "killed-partial"
    """An order that may not rest fills in part, and is answered as killed."""
    EMPTY_SIZE_MATCHED = "empty-size-matched"
    """The user channel's order events carry an empty ``size_matched`` and ``created_at``."""
    RETRYING = "retrying"
    """The settlement fails on the chain once, is told as RETRYING, and goes out again under a new
    hash."""
    FAILED = "failed"
    """The settlement fails on the chain; the trade ends as FAILED, ``seconds`` after it matched."""
    ROWS_OUT_OF_ORDER = "rows-out-of-order"
    """RTDS: rows change places with later ones."""
    ROWS_DOUBLED = "rows-doubled"
    """RTDS and Data API: rows come twice."""
    ROWS_MISSING = "rows-missing"
    """RTDS: rows never come."""
    ROWS_LATE = "rows-late"
    """RTDS: rows come ``seconds`` later."""
    SILENT_SOCKET = "silent-socket"
    """Every socket answers pings and sends nothing else."""
    RESTART = "restart"
    """425 for ``seconds``, then post-only 503 as long again, then normal."""
    POST_ONLY = "post-only"
    """503: only post-only orders and cancels."""
    CANCEL_ONLY = "cancel-only"
    """503: only cancels."""
    DISABLED = "disabled"
    """503: no trading."""
    RATE_LIMIT_ADDRESS = "rate-limit-address"
    """429 by address, with Retry-After."""
    RATE_LIMIT_SIGNER = "rate-limit-signer"
    """429 by signer, with Retry-After and the venue's Poly-RateLimit headers."""
    CLOCK_SKEW = "clock-skew"
    """The venue's clock is ``seconds`` ahead of the machine's: its times are, and it refuses
    requests signed by the machine's."""
    GEOBLOCK = "geoblock"
    """Orders are refused because of where they come from."""
    CLOSED_ONLY = "closed-only"
    """400: this address may only close positions."""
    STALE_READS = "stale-reads"
    """Own orders, trades and balances, and the Data API's rows, are answered as they were
    ``seconds`` ago, in each request that the share hits; by the CLOB never as before the fault
    began."""


class FaultOptions(BaseModel):
    """How often and how hard a fault strikes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Decimal = Field(default=Decimal(1), gt=0, le=1)
    """Of what it could strike; decimal text."""
    seconds: Decimal = Field(default=Decimal(2), ge=0, le=600)
    times: int | None = Field(default=None, ge=1)
    """It ends after so many strikes; None: never by itself."""
    text: str = "there are no matching orders"
    """What ``order-refused`` says."""
    only: str | None = None
    """Strikes only this wallet (the maker, or the address that asks); None: everybody but the
    venue's own traders."""


class Faults:
    """The faults that are on now, and how often each has struck."""

    def __init__(self, *, seed: int = 1) -> None:
        self.strike_counts: Counter[Fault] = Counter()
        self.started_at_ms: dict[Fault, int] = {}
        self._options: dict[Fault, FaultOptions] = {}
        self._exempt_wallets: set[str] = set()
        self._random_by_fault = {fault: random.Random(f"{seed}:{fault}") for fault in Fault}  # noqa: S311

    @property
    def active(self) -> Mapping[Fault, FaultOptions]:
        return self._options

    def set(self, options: Mapping[Fault, FaultOptions], *, now_ms: int = 0) -> None:
        """These are on from ``now_ms`` by the machine's clock, and no others."""
        self.change({**dict.fromkeys(self._options), **options}, now_ms=now_ms)

    def change(self, options: Mapping[Fault, FaultOptions | None], *, now_ms: int = 0) -> None:
        """These begin anew, or are off (None), from ``now_ms`` by the machine's clock; all others
        stay as they are.
        """
        for fault, strike in options.items():
            self.strike_counts.pop(fault, None)
            self._options.pop(fault, None)
            if strike is not None:
                self._options[fault], self.started_at_ms[fault] = strike, now_ms

    def exempt(self, wallets: Iterable[str]) -> None:
        """These belong to the venue's own traders: only a fault that names one of them strikes it."""
        self._exempt_wallets.update(wallet.lower() for wallet in wallets)

    def is_exempt(self, wallet: str) -> bool:
        return wallet.lower() in self._exempt_wallets

    def trigger(
        self, fault: Fault, *, wallet: str | None = None, signer: str | None = None
    ) -> FaultOptions | None:
        """Whether and how the fault strikes what is happening now; every call is one chance for it.

        ``signer`` asks on behalf of ``wallet``: a fault for only one of the two strikes both.
        """
        strike = self._options.get(fault)
        if strike is None or not self._applies_to(strike, wallet, signer):
            return None
        if strike.times is not None and self.strike_counts[fault] >= strike.times:
            return None
        if strike.share < 1 and Decimal(self._random_by_fault[fault].random()) >= strike.share:
            return None
        self.strike_counts[fault] += 1
        return strike

    def trigger_for_row(self, fault: Fault, wallets: Iterable[str]) -> FaultOptions | None:
        """Likewise for what a feed tells of these wallets. The venue's own traders are struck like
        all others: it is them one follows.
        """
        strike = self._options.get(fault)
        only = strike.only.lower() if strike is not None and strike.only is not None else None
        if only is not None and only not in {wallet.lower() for wallet in wallets}:
            return None
        return self.trigger(fault, wallet=only)

    def _applies_to(self, strike: FaultOptions, *wallets: str | None) -> bool:
        named = {wallet.lower() for wallet in wallets if wallet is not None}
        return (
            named.isdisjoint(self._exempt_wallets)
            if strike.only is None
            else strike.only.lower() in named
        )
