"""What does a frame of the activity feed say? Pure.

The feed is undocumented since January 2026; its wire form was seen on 2026-09-24 (protocol notes, 3.1): one envelope per row, or an
array of them, or an empty keep-alive frame. Numbers come as numbers or as text. ``trades`` and ``orders_matched`` tell the same rows.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from eth_utils.address import is_address, to_checksum_address

from shared.domain.errors import InvalidMessage
from shared.domain.ids import derived_id
from shared.domain.money import Side, micros
from shared.messages.leader_fills import LeaderFillSeen, Witness

TYPES = ("trades", "orders_matched")
SUBSCRIBE = json.dumps({"action": "subscribe", "subscriptions": [{"topic": "activity", "type": kind} for kind in TYPES]})
"""Without filters: the server's are broken (real-time-data-client#34), so wallets are picked out here."""

KEEP_ALIVE = frozenset({"", "PONG", "pong"})

Row = Mapping[str, Any]


class SubscriptionRefused(Exception):
    """The feed answered the subscription with an error."""


def rows_of(frame: str) -> Iterator[Row]:
    """The activity rows of a frame; none for a keep-alive or another topic. Raises: InvalidMessage, SubscriptionRefused."""
    if frame in KEEP_ALIVE:
        return
    try:
        parsed = json.loads(frame, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise InvalidMessage(f"not JSON: {error.msg} at {error.pos}") from None
    for envelope in parsed if isinstance(parsed, list) else [parsed]:
        yield from _row_of(envelope)


def _row_of(envelope: Any) -> Iterator[Row]:
    if not isinstance(envelope, dict):
        raise InvalidMessage(f"an envelope must be an object, not {type(envelope).__name__}")
    if "statusCode" in envelope:
        raise SubscriptionRefused(f"status {envelope['statusCode']}: {str(envelope.get('body'))[:200]}")
    if envelope.get("topic") != "activity" or envelope.get("type") not in TYPES:
        return
    if not isinstance(payload := envelope.get("payload"), dict):
        raise InvalidMessage("an activity envelope without a payload")
    yield payload


def wallet_of(row: Row) -> str:
    """Whose fill it is, checksummed. Raises: InvalidMessage."""
    wallet = row.get("proxyWallet")
    if not isinstance(wallet, str) or not is_address(wallet):
        raise InvalidMessage("proxyWallet is not an address")
    return to_checksum_address(wallet)


def fill_of(row: Row, *, seen_at: datetime) -> LeaderFillSeen:
    """The row as a fill of its wallet. Raises: InvalidMessage, naming the field that is wrong."""
    leader, transaction_hash, token_id = wallet_of(row), _text(row, "transactionHash").lower(), _text(row, "asset")
    side, shares, price = _side(row), _shares(row), _number(row, "price")
    if not 0 < price < 1:
        raise InvalidMessage(f"price: {price} does not lie between 0 and 1")
    row_id = derived_id("rtds", side, shares, price.normalize())
    return LeaderFillSeen(
        message_id=derived_id("fill", transaction_hash, leader, token_id, row_id),
        occurred_at=seen_at,
        leader=leader,
        transaction_hash=transaction_hash,
        token_id=token_id,
        side=side,
        shares=shares,
        price=price,
        witness=Witness.RTDS,
        row_id=row_id,
        filled_at=_moment(row),
        title=str(row.get("title") or "")[:200],
        outcome=str(row.get("outcome") or "")[:80],
    )


def _text(row: Row, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidMessage(f"{field}: must be a text, and is {type(value).__name__}")
    return value


def _number(row: Row, field: str) -> Decimal:
    value = row.get(field)
    try:
        number = Decimal(str(value)) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise InvalidMessage(f"{field}: must be a number, and is {str(value)[:40]!r}")
    return number


def _shares(row: Row) -> int:
    """Micro-shares; digits beyond the sixth are the feed's own rounding noise and are cut off."""
    size = _number(row, "size")
    shares = micros(size.quantize(Decimal("0.000001"), rounding="ROUND_DOWN")) if size < 10**12 else 0
    if shares <= 0:
        raise InvalidMessage(f"size: {size} is no size of a trade")
    return shares


def _side(row: Row) -> Side:
    try:
        return Side(_text(row, "side").upper())
    except ValueError:
        raise InvalidMessage(f"side: must be BUY or SELL, and is {row['side']!r}") from None


def _moment(row: Row) -> datetime:
    """``timestamp`` is in seconds; a value that only makes sense in milliseconds is taken as such."""
    seconds = _number(row, "timestamp")
    if seconds > 10**11:
        seconds /= 1000
    if not 10**9 < seconds < 10**11:
        raise InvalidMessage(f"timestamp: {seconds} is no time of a trade")
    return datetime.fromtimestamp(int(seconds), UTC)
