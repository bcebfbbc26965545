"""The faults, their options, and the decision whether one is triggered now.

All are off at first; the same seed and the same requests trigger the same faults.
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
    """The connection of an order's POST is reset; the order did not arrive."""
    DROP_REPLY = "drop-reply"
    """The order is accepted; the connection is closed without a reply."""
    LATE_REPLY = "late-reply"
    """The order is accepted; the reply comes ``seconds`` later."""
    REPEATED_REQUEST = "repeated-request"
    """A gateway sends the order twice; the client gets the reply to the second: Duplicated."""
    ORDER_TIMED_OUT = "order-timed-out"
    """500 ``order timed out``; the order is not accepted."""
    ORDER_REFUSED = "order-refused"
    """The order is refused with ``text``, and with the HTTP status that the venue gives this text;
    it is not accepted."""
    DELAYED = "delayed"
    """The order is held ``seconds`` before it matches; its reply says ``delayed``."""
    KILLED_PARTIAL = "killed-partial"
    """An order that may not rest fills in part; its reply says that it was killed."""
    EMPTY_SIZE_MATCHED = "empty-size-matched"
    """The user channel's order events carry an empty ``size_matched`` and ``created_at``."""
    RETRYING = "retrying"
    """The settlement reverts once, is published as RETRYING, and is sent again under a new hash."""
    FAILED = "failed"
    """The settlement reverts; the trade becomes FAILED ``seconds`` after its match."""
    ROWS_OUT_OF_ORDER = "rows-out-of-order"
    """RTDS: a row is sent after the one that follows it."""
    ROWS_DOUBLED = "rows-doubled"
    """RTDS and Data API: rows are sent twice."""
    ROWS_MISSING = "rows-missing"
    """RTDS: rows are never sent."""
    ROWS_LATE = "rows-late"
    """RTDS: rows are sent ``seconds`` later."""
    SILENT_SOCKET = "silent-socket"
    """Every socket answers pings and sends nothing else."""
    BOOK_ERROR = "book-error"
    """500 on ``GET /book``."""
    MIDPOINT_ERROR = "midpoint-error"
    """500 on ``GET /midpoint``."""
    LAST_TRADE_ERROR = "last-trade-error"
    """500 on ``GET /last-trade-price``."""
    GHOST_BOOK = "ghost-book"
    """``GET /book`` has a bid of 0.01 and an ask of 0.99 and nothing else."""
    CROSSED_BOOK = "crossed-book"
    """``GET /book`` has a bid above its ask and nothing else."""
    CHANGES_MISSING = "changes-missing"
    """Market channel: changes of levels are never sent."""
    CHANNEL_TEXT = "channel-text"
    """Market channel: a text that is no event comes before an event."""
    RESTART = "restart"
    """425 for ``seconds``, then 503 post-only for as long again, then normal."""
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
    """The venue's clock is ``seconds`` ahead of the machine's: so are its timestamps, and it
    refuses requests that are signed with the machine's time."""
    GEOBLOCK = "geoblock"
    """Orders are refused because of the country that they come from."""
    CLOSED_ONLY = "closed-only"
    """400: this address may only close positions."""
    STALE_READS = "stale-reads"
    """A ``share`` of the requests for own orders, trades and balances, and for the Data API's rows,
    is served as of ``seconds`` ago; by the CLOB never as of a time before the fault began."""
    STALE_BALANCE = "stale-balance"
    """400 ``not enough balance / allowance``, until the client has the balance of what the order
    gives read again (``/balance-allowance/update``)."""
    KEY_REVOKED = "key-revoked"
    """The address's API key is revoked with its next request, once: 401 until it gets another."""
    GATEWAY_PAGE = "gateway-page"
    """403 with an HTML page instead of the venue's answer to an order or to a request for an API
    key; a key that was never created cannot be derived."""


class FaultOptions(BaseModel):
    """How often a fault is triggered, for whom, and its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Decimal = Field(default=Decimal(1), gt=0, le=1)
    """The share of chances that trigger it; decimal text."""
    seconds: Decimal = Field(default=Decimal(2), ge=0, le=600)
    times: int | None = Field(default=None, ge=1)
    """It is triggered at most so often; None: without limit."""
    text: str = "there are no matching orders"
    """The refusal text of ``order-refused``."""
    only: str | None = None
    """Only this wallet (the maker, or the address that asks) is affected; None: every wallet except
    the venue's own traders."""


class Faults:
    """The faults that are on, and how often each was triggered."""

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
        """Turn these on and all others off, from ``now_ms`` by the machine's clock."""
        self.change({**dict.fromkeys(self._options), **options}, now_ms=now_ms)

    def change(self, options: Mapping[Fault, FaultOptions | None], *, now_ms: int = 0) -> None:
        """Restart these, or turn them off (None), from ``now_ms`` by the machine's clock; all
        others stay as they are.
        """
        for fault, fault_options in options.items():
            self.strike_counts.pop(fault, None)
            self._options.pop(fault, None)
            if fault_options is not None:
                self._options[fault], self.started_at_ms[fault] = fault_options, now_ms

    def exempt(self, wallets: Iterable[str]) -> None:
        """Exempt the venue's own traders: only a fault with ``only`` set to one affects it."""
        self._exempt_wallets.update(wallet.lower() for wallet in wallets)

    def is_exempt(self, wallet: str) -> bool:
        return wallet.lower() in self._exempt_wallets

    def trigger(
        self, fault: Fault, *, wallet: str | None = None, signer: str | None = None
    ) -> FaultOptions | None:
        """Decide whether the fault occurs now, and count it. Every call is one chance.

        Returns the fault's options; None: it does not occur. ``signer`` acts for ``wallet``: a
        fault whose ``only`` is one of the two affects both.
        """
        options = self._options.get(fault)
        if options is None or not self._applies_to(options, wallet, signer):
            return None
        if options.times is not None and self.strike_counts[fault] >= options.times:
            return None
        if options.share < 1 and Decimal(self._random_by_fault[fault].random()) >= options.share:
            return None
        self.strike_counts[fault] += 1
        return options

    def trigger_for_row(self, fault: Fault, wallets: Iterable[str]) -> FaultOptions | None:
        """Like ``trigger``, for a row about these wallets. The venue's own traders are affected
        like all others, as they are the leaders.
        """
        options = self._options.get(fault)
        only = options.only.lower() if options is not None and options.only is not None else None
        if only is not None and only not in {wallet.lower() for wallet in wallets}:
            return None
        return self.trigger(fault, wallet=only)

    def _applies_to(self, options: FaultOptions, *wallets: str | None) -> bool:
        named = {wallet.lower() for wallet in wallets if wallet is not None}
        return (
            named.isdisjoint(self._exempt_wallets)
            if options.only is None
            else options.only.lower() in named
        )
