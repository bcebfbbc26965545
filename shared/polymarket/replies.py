"""What does the venue's answer to an order mean? Pure. The venue speaks in texts: this is the one
table from its texts to our types.

Texts and statuses: protocol notes 4.4 and 4.5 (the venue's documentation and public issues, as of
2026-11-22).

A text that the table does not know is ``Lost``, whatever its status: taken for a no, a yes in
unknown words would be a copy that nobody books, and its money would be spent again; taken for
unknown, it costs a few questions and a reservation that is held for a while.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from shared.domain.money import floor_micros


class Reason(StrEnum):
    """Why the venue refuses an order for good: the closed list."""

    AMOUNT_TOO_SMALL = "amount_too_small"
    SIZE_TOO_SMALL = "size_too_small"
    OFF_TICK = "off_tick"
    INVALID_EXPIRATION = "bad_expiration"
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - no secret
    MALFORMED = "malformed"
    INVALID_VERSION = "old_version"
    TOO_MANY_ORDERS = "too_many"
    WALLET_KEY_MISMATCH = "not_the_keys_wallet"
    """The API key, the signer and the maker do not belong together."""
    WALLET_NOT_ALLOWED = "wallet_not_allowed"
    UNAUTHORIZED = "unauthorized"
    BANNED = "banned"
    CLOSED_ONLY = "closed_only"
    """The address may only close its positions."""
    REGION_BLOCKED = "region"
    """Orders are not taken from where we are."""
    WOULD_CROSS = "would_cross"
    BALANCE_TOO_LOW = "balance_too_low"
    CANCELED_ON_CHAIN = "canceled_on_chain"
    """Canceled in the exchange contract; said also of an order that is filled already."""
    NO_MARKET = "no_market"
    INVALID_MATCH = "unfillable"
    """The engine found a match that its own arithmetic does not allow."""

    @property
    def is_conclusive(self) -> bool:
        """Whether every sending of the same bytes is refused alike: then the no to one of them is a
        no to all.

        What depends on the book, on a balance or on the chain can be refused *because* the same
        bytes were taken a moment before.
        """
        return self not in _INCONCLUSIVE


_INCONCLUSIVE = frozenset(
    {
        Reason.WOULD_CROSS,
        Reason.BALANCE_TOO_LOW,
        Reason.CANCELED_ON_CHAIN,
        Reason.NO_MARKET,
        Reason.INVALID_MATCH,
        Reason.UNAUTHORIZED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The order reached the book. ``making`` and ``taking`` are base units of what is given and
    got; 0 where nothing matched yet.
    """

    status: str
    making: int
    taking: int
    trade_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Killed:
    """Nothing more fits the order's limits. By itself no proof that nothing was traded: such
    answers have hidden partial fills.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The venue refuses the order, now and later."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Duplicated:
    """The same bytes arrived before: what became of them must be asked for."""

    text: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The venue takes no such order at the moment: these bytes were not taken, and may be sent
    again.
    """

    text: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class ReplyLost:
    """There is no answer that tells: it may have happened."""

    text: str


Reply = Accepted | Killed | Rejected | Duplicated | RetryLater | ReplyLost
Meaning = Reason | Callable[[str], Killed | Duplicated | RetryLater | ReplyLost]

MEANING_BY_TEXT: tuple[tuple[str, Meaning], ...] = (
    ("fok orders are fully filled or killed", Killed),
    ("no orders found to match with fak order", Killed),
    ("there are no matching orders", Killed),
    ("is invalid. duplicated", Duplicated),
    ("not enough balance / allowance", Reason.BALANCE_TOO_LOW),
    (
        "insufficient balance",
        Reason.BALANCE_TOO_LOW,
    ),  # as recorded by others in an answer with status 200
    ("invalid amount for a marketable", Reason.AMOUNT_TOO_SMALL),
    ("lower than the minimum", Reason.SIZE_TOO_SMALL),
    ("breaks minimum tick size rule", Reason.OFF_TICK),
    ("order crosses book", Reason.WOULD_CROSS),
    ("invalid expiration", Reason.INVALID_EXPIRATION),
    ("invalid token id", Reason.UNKNOWN_TOKEN),
    ("invalid order payload", Reason.MALFORMED),
    ("invalid order version", Reason.INVALID_VERSION),
    ("too many orders in payload", Reason.TOO_MANY_ORDERS),
    ("has to be the owner of the api key", Reason.WALLET_KEY_MISMATCH),
    ("has to be the address of the api key", Reason.WALLET_KEY_MISMATCH),
    ("maker address not allowed", Reason.WALLET_NOT_ALLOWED),
    ("unauthorized/invalid api key", Reason.UNAUTHORIZED),
    ("invalid l1 request headers", Reason.UNAUTHORIZED),
    ("address banned", Reason.BANNED),
    ("closed only mode", Reason.CLOSED_ONLY),
    ("trading restricted in your region", Reason.REGION_BLOCKED),
    ("order canceled in the ctf exchange contract", Reason.CANCELED_ON_CHAIN),
    ("no orderbook exists", Reason.NO_MARKET),
    ("market not found", Reason.NO_MARKET),
    ("the trade contains rounding issues", Reason.INVALID_MATCH),
    ("discrepancy greater than allowed with the worst maker order", Reason.INVALID_MATCH),
    ("not yet ready to process new orders", RetryLater),
    ("too many requests", RetryLater),
    ("trading is currently disabled", RetryLater),
    ("trading is currently cancel-only", RetryLater),
    ("post-only mode", RetryLater),
    ("order timed out", ReplyLost),
    ("order match delayed due to market conditions", ReplyLost),
)
"""Parts of the venue's texts in lower case: around them stand addresses and figures. Of a timeout
and a delay it is not said whether the order is in: sending the same bytes again tells."""

REASON_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: Reason.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Reason.REGION_BLOCKED,
}
"""Said without words that we know, in front of the venue's engine: the order did not get that far.
"""
RETRY_LATER_STATUSES = (
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def parse_reply(status: int, body: Any, *, retry_after: str | None = None) -> Reply:
    """The meaning of an HTTP answer to ``POST /order``. An answer that we cannot read is ``Lost``:
    it may have been a yes.
    """
    answer = body if isinstance(body, Mapping) else {}
    text = str(answer.get("error") or answer.get("errorMsg") or "")
    if status in RETRY_LATER_STATUSES:
        return RetryLater(
            text or f"status {status}", _seconds(retry_after or answer.get("retry_after_seconds"))
        )
    if status == HTTPStatus.OK and not text:
        return _accepted(answer)
    meaning = next(
        (meaning for part, meaning in MEANING_BY_TEXT if part in text.lower()), None
    ) or _by_status(status)
    if meaning is None or (isinstance(meaning, Reason) and _names_an_order(answer)):
        return ReplyLost(f"status {status} {text}".rstrip())
    return (
        Rejected(meaning, text or f"status {status}")
        if isinstance(meaning, Reason)
        else meaning(text)
    )


def _by_status(status: int) -> Reason | None:
    return next((reason for known, reason in REASON_BY_STATUS.items() if known == status), None)


def _accepted(body: Mapping[str, Any]) -> Reply:
    if not _names_an_order(body):
        return ReplyLost("accepted without an order id")
    try:
        making, taking = (
            _base_units(body.get("makingAmount")),
            _base_units(body.get("takingAmount")),
        )
    except (ArithmeticError, ValueError):
        return ReplyLost("accepted with amounts that are no numbers")
    trade_ids = body.get("tradeIDs") or ()
    if not isinstance(trade_ids, list | tuple) or min(making, taking) < 0:
        return ReplyLost("accepted with trades or amounts that cannot be")
    return Accepted(
        status=str(body.get("status", "")).lower(),
        making=making,
        taking=taking,
        trade_ids=tuple(map(str, trade_ids)),
    )


def _names_an_order(body: Mapping[str, Any]) -> bool:
    return body.get("success") is True and bool(body.get("orderID"))


def _base_units(amount: Any) -> int:
    """Amounts come as decimal text, empty where nothing matched."""
    return floor_micros(Decimal(str(amount))) if amount else 0


def _seconds(told: Any) -> int | None:
    """Whole seconds, from the header or from the body's number; anything else is no wait that we
    can keep.
    """
    text = str(told or "")
    return int(text) if text.isdecimal() and len(text) < 10 else None
