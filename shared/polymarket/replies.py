"""What does the venue's answer to an order mean? Pure. The venue speaks in texts: this is the one table from its texts to our types.

Texts and statuses: protocol notes 4.4 and 4.5 (the venue's documentation and public issues, as of 2026-11-22).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from shared.domain.money import floor_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The order reached the book. ``making`` and ``taking`` are base units of what is given and got; 0 where nothing matched yet."""

    status: str
    making: int
    taking: int
    trade_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Killed:
    """Nothing fitted the order's limits: nothing was traded."""

    text: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The venue refuses the order, now and later: nothing was traded."""

    text: str


@dataclass(frozen=True, slots=True)
class Duplicated:
    """The same bytes arrived before: what became of them must be asked for."""

    text: str


@dataclass(frozen=True, slots=True)
class NotNow:
    """The venue takes no such order at the moment: nothing was traded, the same bytes may be sent again."""

    text: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no answer that tells: it may have happened."""

    text: str


Reply = Accepted | Killed | Rejected | Duplicated | NotNow | Lost

KILLED_TEXTS = ("fok orders are fully filled or killed", "no orders found to match with fak order", "there are no matching orders")
DUPLICATED_TEXTS = ("duplicated",)
NOT_NOW_TEXTS = ("not yet ready to process new orders", "too many requests", "trading is currently", "post-only mode", "restart")
UNCLEAR_TEXTS = ("order timed out", "order match delayed")
"""The order arrived; whether it will be matched is not said."""
NOT_NOW_STATUSES = (HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def parse_reply(status: int, body: Any, *, retry_after: str | None = None) -> Reply:
    """The meaning of an HTTP answer to ``POST /order``. An answer that we cannot read is ``Lost``: it may have been a yes."""
    answer = body if isinstance(body, Mapping) else {}
    text = str(answer.get("error") or answer.get("errorMsg") or "")
    if status in NOT_NOW_STATUSES:
        return NotNow(text or f"status {status}", _seconds(retry_after))
    if status == HTTPStatus.OK and not text:
        return _accepted(answer)
    if _any_of(KILLED_TEXTS, text):
        return Killed(text)
    if not text or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT or _names_an_order(answer):
        return Lost(f"status {status} {text}".rstrip())
    return _refused(text, retry_after)


def _refused(text: str, retry_after: str | None) -> Reply:
    if _any_of(DUPLICATED_TEXTS, text):
        return Duplicated(text)
    if _any_of(NOT_NOW_TEXTS, text):
        return NotNow(text, _seconds(retry_after))
    if _any_of(UNCLEAR_TEXTS, text):
        return Lost(text)
    return Rejected(text)


def _accepted(body: Mapping[str, Any]) -> Reply:
    if not _names_an_order(body):
        return Lost("accepted without an order id")
    try:
        making, taking = _base_units(body.get("makingAmount")), _base_units(body.get("takingAmount"))
    except (ArithmeticError, ValueError):
        return Lost("accepted with amounts that are no numbers")
    trade_ids = body.get("tradeIDs") or ()
    if not isinstance(trade_ids, list | tuple) or min(making, taking) < 0:
        return Lost("accepted with trades or amounts that cannot be")
    return Accepted(status=str(body.get("status", "")).lower(), making=making, taking=taking, trade_ids=tuple(map(str, trade_ids)))


def _names_an_order(body: Mapping[str, Any]) -> bool:
    return body.get("success") is True and bool(body.get("orderID"))


def _base_units(amount: Any) -> int:
    """Amounts come as decimal text, empty where nothing matched."""
    return floor_micros(Decimal(str(amount))) if amount else 0


def _any_of(known: tuple[str, ...], text: str) -> bool:
    return any(part in text.lower() for part in known)


def _seconds(retry_after: str | None) -> int | None:
    return int(retry_after) if retry_after and retry_after.isdecimal() else None
