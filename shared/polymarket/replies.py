"""What does the venue's answer to an order mean? Pure. The venue speaks in texts: this is the one table from its texts to our types.

Texts and statuses: protocol notes 4.4 and 4.5 (the venue's documentation and public issues, as of 2026-11-22).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
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
TIMED_OUT_TEXTS = ("order timed out",)
NOT_NOW_STATUSES = (425, 429, 503)


def parse_reply(status: int, body: Any, *, retry_after: str | None = None) -> Reply:
    """The meaning of an HTTP answer to ``POST /order``. An answer that we cannot read is ``Lost``: it may have been a yes."""
    if not isinstance(body, Mapping):
        return _without_body(status, retry_after)
    text = str(body.get("error") or body.get("errorMsg") or "")
    if status == 200 and not text:
        return _accepted(body)
    if status >= 500 and status != 503 and not _any_of(KILLED_TEXTS, text):
        return Lost(f"{status} {text}")
    return _refused(status, text, retry_after)


def _refused(status: int, text: str, retry_after: str | None) -> Reply:
    if _any_of(KILLED_TEXTS, text):
        return Killed(text)
    if _any_of(DUPLICATED_TEXTS, text):
        return Duplicated(text)
    if status in NOT_NOW_STATUSES or _any_of(NOT_NOW_TEXTS, text):
        return NotNow(text or f"status {status}", _seconds(retry_after))
    if _any_of(TIMED_OUT_TEXTS, text):
        return Lost(text)
    return Rejected(text or f"status {status}")


def _without_body(status: int, retry_after: str | None) -> Reply:
    if status in NOT_NOW_STATUSES:
        return NotNow(f"status {status}", _seconds(retry_after))
    if 400 <= status < 500:
        return Rejected(f"status {status}")
    return Lost(f"status {status} without a readable body")


def _accepted(body: Mapping[str, Any]) -> Reply:
    if body.get("success") is not True or not body.get("orderID"):
        return Lost("accepted without an order id")
    try:
        making, taking = _base_units(body.get("makingAmount")), _base_units(body.get("takingAmount"))
    except InvalidOperation:
        return Lost("accepted with amounts that are no numbers")
    trade_ids = body.get("tradeIDs") or ()
    return Accepted(status=str(body.get("status", "")).lower(), making=making, taking=taking, trade_ids=tuple(map(str, trade_ids)))


def _base_units(amount: Any) -> int:
    """Amounts come as decimal text, empty where nothing matched."""
    return floor_micros(Decimal(str(amount))) if amount else 0


def _any_of(known: tuple[str, ...], text: str) -> bool:
    return any(part in text.lower() for part in known)


def _seconds(retry_after: str | None) -> int | None:
    return int(retry_after) if retry_after and retry_after.isdigit() else None
