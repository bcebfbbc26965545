"""The venue's replies to a posted order, parsed from status and text. Pure.

The venue's replies are texts; MEANING_BY_TEXT is the only table from its texts to our types.
Texts and statuses: docs/venue-protocol.md, Order replies and Error texts (the venue's documentation
and public issues, as of 2026-11-22).

A text that the table does not have is ``ReplyLost``, whatever its status. If such a text were taken
for a refusal and meant acceptance, the copy would not be recorded and its money would be spent
again. Taken for unknown, it costs a few lookups and a reservation that is held for a while.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from shared.domain.money import floor_micros


class Reason(StrEnum):
    """Why the venue refuses an order for good: a closed list."""

    AMOUNT_TOO_SMALL = "amount_too_small"
    SIZE_TOO_SMALL = "size_too_small"
    OFF_TICK = "off_tick"
    INVALID_EXPIRATION = "invalid_expiration"
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - no secret
    MALFORMED = "malformed"
    INVALID_VERSION = "invalid_version"
    TOO_MANY_ORDERS = "too_many_orders"
    WALLET_KEY_MISMATCH = "wallet_key_mismatch"
    """The API key, the signer and the maker do not belong together."""
    WALLET_NOT_ALLOWED = "wallet_not_allowed"
    UNAUTHORIZED = "unauthorized"
    BANNED = "banned"
    CLOSED_ONLY = "closed_only"
    """The address may only close its positions."""
    REGION_BLOCKED = "region_blocked"
    """The venue accepts no orders from our region."""
    WOULD_CROSS = "would_cross"
    BALANCE_TOO_LOW = "balance_too_low"
    CANCELED_ON_CHAIN = "canceled_on_chain"
    """Canceled in the exchange contract; also reported of an order that is filled already."""
    NO_MARKET = "no_market"
    INVALID_MATCH = "invalid_match"
    """The matching engine found a match whose rounding the venue does not allow."""

    @property
    def is_conclusive(self) -> bool:
        """Whether the venue refuses the same bytes for this reason every time they are sent, so
        that one refusal proves that none of the sendings was accepted.

        A refusal that depends on the book, a balance or the chain is not conclusive: it can happen
        *because* the same bytes were accepted a moment before.
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
    """The venue accepted the order. ``making`` and ``taking`` are what is given and received, in
    base units; 0 where nothing matched yet.
    """

    status: str
    making: int
    taking: int
    trade_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Killed:
    """The venue ended the order without (more) matches. This does not prove that nothing was
    traded: such replies have hidden partial fills.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The venue refuses the order, now and later."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Duplicated:
    """The same bytes arrived before: a lookup has to find out what became of the order."""

    text: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The venue accepts no such order at the moment: these bytes were not accepted, and may be sent
    again.
    """

    text: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class ReplyLost:
    """There is no reply, or none that can be relied on: the order may have been accepted."""

    text: str


Reply = Accepted | Killed | Rejected | Duplicated | RetryLater | ReplyLost
Meaning = Reason | Callable[[str], Killed | Duplicated | RetryLater | ReplyLost]

MEANING_BY_TEXT: tuple[tuple[str, Meaning], ...] = (
    ("fok orders are fully filled or killed", Killed),
    ("no orders found to match with fak order", Killed),
    ("there are no matching orders", Killed),
    ("is invalid. duplicated", Duplicated),
    ("not enough balance / allowance", Reason.BALANCE_TOO_LOW),
    ("insufficient balance", Reason.BALANCE_TOO_LOW),  # recorded by others, with status 200
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
"""Parts of the venue's texts, in lower case; the full texts also contain addresses and numbers. A
timeout and a delay do not say whether the order was accepted: sending the same bytes again does."""

REASON_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: Reason.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Reason.REGION_BLOCKED,
}
"""For a reply whose text is unknown: these statuses are set in front of the matching engine, which
the order did not reach."""
RETRY_LATER_STATUSES = (
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def parse_reply(status: int, body: Any, *, retry_after: str | None = None) -> Reply:
    """Parse the HTTP reply to ``POST /order``. An unreadable reply is ``ReplyLost``: the order may
    have been accepted.
    """
    answer = body if isinstance(body, Mapping) else {}
    text = str(answer.get("error") or answer.get("errorMsg") or "")
    if status in RETRY_LATER_STATUSES:
        return RetryLater(
            text or f"status {status}",
            _parse_seconds(retry_after or answer.get("retry_after_seconds")),
        )
    if status == HTTPStatus.OK and not text:
        return _parse_accepted(answer)
    meaning = next(
        (meaning for part, meaning in MEANING_BY_TEXT if part in text.lower()), None
    ) or _reason_for_status(status)
    if meaning is None or (isinstance(meaning, Reason) and _has_order_id(answer)):
        return ReplyLost(f"status {status} {text}".rstrip())
    return (
        Rejected(meaning, text or f"status {status}")
        if isinstance(meaning, Reason)
        else meaning(text)
    )


def _reason_for_status(status: int) -> Reason | None:
    return next((reason for known, reason in REASON_BY_STATUS.items() if known == status), None)


def _parse_accepted(body: Mapping[str, Any]) -> Reply:
    if not _has_order_id(body):
        return ReplyLost("accepted without an order id")
    try:
        making, taking = (
            _parse_base_units(body.get("makingAmount")),
            _parse_base_units(body.get("takingAmount")),
        )
    except (ArithmeticError, ValueError):
        return ReplyLost("accepted with amounts that are not numbers")
    trade_ids = body.get("tradeIDs") or ()
    if not isinstance(trade_ids, list | tuple) or min(making, taking) < 0:
        return ReplyLost("accepted with impossible trades or amounts")
    return Accepted(
        status=str(body.get("status", "")).lower(),
        making=making,
        taking=taking,
        trade_ids=tuple(map(str, trade_ids)),
    )


def _has_order_id(body: Mapping[str, Any]) -> bool:
    return body.get("success") is True and bool(body.get("orderID"))


def _parse_base_units(amount: Any) -> int:
    """Amounts are decimal strings, empty where nothing matched."""
    return floor_micros(Decimal(str(amount))) if amount else 0


def _parse_seconds(value: Any) -> int | None:
    """Whole seconds, from the header or the body; None for anything else."""
    text = str(value or "")
    return int(text) if text.isdecimal() and len(text) < 10 else None
