"""The venue's replies to a posted order, parsed from status and text. Pure.

The venue's replies are texts; MEANING_BY_TEXT is the only table from its texts to our types.
Texts and statuses: docs/venue-protocol.md, Order replies and Error texts (the venue's documentation
and public issues, as of 2026-11-22).

A text that the table does not have is ``ReplyLost``, whatever its status. If such a text were taken
for a refusal and meant acceptance, the copy would not be recorded and its money would be spent
again. Taken for unknown, it costs a few lookups and a reservation that is held for a while.

A 403 or 405 without a text of the venue's is the page of a gateway in front of it: the order did
not reach the matching engine. The pages of 500, 502 and 504 do not say so: the gateway may have
passed the order on before it lost the answer.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from shared.domain.money import floor_micros
from shared.messages.base import MAX_MICROS
from shared.polymarket.gates import Gate, find_gate, find_refusing_gate


class Reason(StrEnum):
    """Why the venue refuses an order for good: a closed list."""

    AMOUNT_TOO_SMALL = "amount_too_small"
    SIZE_TOO_SMALL = "size_too_small"
    OFF_TICK = "off_tick"
    TOO_MANY_DECIMALS = "too_many_decimals"
    """An amount has more decimals than the venue keeps at this tick."""
    INVALID_EXPIRATION = "invalid_expiration"
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - no secret
    MALFORMED = "malformed"
    INVALID_VERSION = "invalid_version"
    """Orders of this shape are no longer taken: a newer client is needed."""
    VERSION_MISMATCH = "version_mismatch"
    """Signed for another exchange than the one that settles this market."""
    INVALID_SIGNATURE = "invalid_signature"
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

    @property
    def may_pass(self) -> bool:
        """Whether what was refused for this reason is worth intending again later, as a new order
        of the same shares: the reason lies in the moment, or a new order is made differently.
        """
        return self in _PASSING


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
_PASSING = frozenset(
    {
        Reason.OFF_TICK,  # a new order is priced by the tick of its own quote
        Reason.VERSION_MISMATCH,  # likewise: the market is read again
        Reason.UNAUTHORIZED,  # the API key is derived anew
        Reason.WOULD_CROSS,  # the book moves
        Reason.BALANCE_TOO_LOW,  # shares just bought arrive with their settlement
        Reason.CANCELED_ON_CHAIN,  # what was canceled is this order's hash; a new one has another
        Reason.INVALID_MATCH,  # another book gives another match
    }
)
"""All others are refused again. The amounts stay too small or too finely divided, for less is left
each time and not more; token, payload, version and signature stay wrong until a program is changed;
key, wallet, ban, closed-only mode and region are for the operator to settle; and a market without a
book has ended: its shares are redeemed, not sold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The venue accepted the order. ``making`` and ``taking`` are what is given and received, in
    base units; 0 where nothing matched yet.
    """

    order_id: str
    """The order's hash, as the venue names it."""
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
    is_repeat: bool = False
    """The same bytes were sent before it and refused for a passing reason: this refusal does not
    prove that the earlier sending was not accepted after all."""

    @property
    def is_conclusive(self) -> bool:
        """Whether it proves that the bytes were not accepted, if no earlier post sent them."""
        return self.reason.is_conclusive and not self.is_repeat

    @property
    def gate(self) -> Gate | None:
        """Why no such order of the wallet, or none at all, is taken; None: it may be this one."""
        return find_refusing_gate(self.text)

    @property
    def description(self) -> str:
        """Reason and text; ``parse_reason`` reads it back."""
        return f"{self.reason}: {self.text}"


def parse_reason(order_reason: str) -> Reason | None:
    """The venue's reason in the recorded reason of an order (``Rejected.description``); None: the
    order did not end by a refusal of the venue's.
    """
    name, separator, _ = order_reason.partition(": ")
    return Reason(name) if separator and name in _REASON_NAMES else None


_REASON_NAMES = frozenset(reason.value for reason in Reason)


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
    """Whole seconds, rounded up; None: the venue does not say how long."""
    gate: Gate | None = None
    """Why no order is taken; None: it may be this one alone, or nothing is known."""


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
    ("allowance is not enough", Reason.BALANCE_TOO_LOW),
    ("invalid amount for a marketable", Reason.AMOUNT_TOO_SMALL),
    ("lower than the minimum", Reason.SIZE_TOO_SMALL),
    ("breaks minimum tick size rule", Reason.OFF_TICK),
    ("order crosses book", Reason.WOULD_CROSS),
    ("invalid amounts, … max accuracy", Reason.TOO_MANY_DECIMALS),
    ("invalid expiration", Reason.INVALID_EXPIRATION),
    ("invalid token id", Reason.UNKNOWN_TOKEN),
    ("invalid order payload", Reason.MALFORMED),
    ("invalid order version", Reason.INVALID_VERSION),
    ("order_version_mismatch", Reason.VERSION_MISMATCH),
    ("invalid signature", Reason.INVALID_SIGNATURE),
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
    ("the orderbook … does not exist", Reason.NO_MARKET),
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
"""Parts of the venue's texts, in lower case; the full texts also contain addresses and numbers, and
``…`` stands for such a part. A timeout and a delay do not say whether the order was accepted:
sending the same bytes again does."""

REASON_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: Reason.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Reason.REGION_BLOCKED,
}
"""For a reply whose text is unknown: these statuses are set in front of the matching engine, which
the order did not reach."""
RETRY_LATER_STATUSES = (
    HTTPStatus.METHOD_NOT_ALLOWED,  # no order was looked at: the answer of a gateway
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def parse_reply(status: int, body: Any, *, retry_after_s: int | None = None) -> Reply:
    """Parse the HTTP reply to ``POST /order``. An unreadable reply is ``ReplyLost``: the order may
    have been accepted. ``retry_after_s``: what the header says (``parse_retry_after``).
    """
    answer = body if isinstance(body, Mapping) else {}
    text = str(answer.get("error") or answer.get("errorMsg") or "")
    if status in RETRY_LATER_STATUSES or (status == HTTPStatus.FORBIDDEN and not text):
        if retry_after_s is None:
            retry_after_s = _parse_seconds(str(answer.get("retry_after_seconds")))
        return RetryLater(text or f"status {status}", retry_after_s, gate=find_gate(status, text))
    if status == HTTPStatus.OK and not text:
        return _parse_accepted(answer)
    meaning = _find_meaning(text) or _reason_for_status(status)
    if meaning is None or (isinstance(meaning, Reason) and _has_order_id(answer)):
        return ReplyLost(f"status {status} {text}".rstrip())
    if isinstance(meaning, Reason):
        return Rejected(meaning, text or f"status {status}")
    reply = meaning(text)
    if isinstance(reply, RetryLater):
        return replace(reply, gate=find_gate(status, text))
    return reply


def parse_retry_after(header: str | None, *, now: datetime) -> int | None:
    """Whole seconds, rounded up, of a ``Retry-After`` header: a number of seconds, also with a
    fraction, or an HTTP date. ``now`` is the time by the clock that wrote it. None for anything
    else.
    """
    if header is None:
        return None
    seconds = _parse_seconds(header)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    wait_s = Decimal(int((moment - now).total_seconds() * 1000)) / 1000
    return max(0, int(wait_s.to_integral_value(ROUND_CEILING)))


def _find_meaning(text: str) -> Meaning | None:
    """None: the text is not in the table."""
    lowered = text.lower()
    return next((meaning for part, meaning in MEANING_BY_TEXT if _has_part(lowered, part)), None)


def _has_part(text: str, part: str) -> bool:
    """Whether the pieces of ``part`` between its ``…`` are all in the text, one after another."""
    for piece in part.split("…"):
        _, found, text = text.partition(piece)
        if not found:
            return False
    return True


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
    is_possible = min(making, taking) >= 0 and max(making, taking) <= MAX_MICROS
    if not isinstance(trade_ids, list | tuple) or not is_possible:
        return ReplyLost("accepted with impossible trades or amounts")
    return Accepted(
        order_id=str(body["orderID"]),
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


def _parse_seconds(text: str) -> int | None:
    """Whole seconds, rounded up; None where the text is not a number of them."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text.strip()):
        return None
    return int(Decimal(text.strip()).to_integral_value(ROUND_CEILING))
