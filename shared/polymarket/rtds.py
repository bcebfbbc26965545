"""Frames of the activity feed (RTDS) as fills. Pure.

The feed is undocumented since January 2026; its frames were observed on 2026-09-24
(docs/venue-protocol.md, Activity feed (RTDS)): one envelope per row, or an array of them, or an
empty keep-alive frame. Numbers are JSON numbers or strings. The types ``trades`` and
``orders_matched`` carry the same rows, with slightly different numbers: a price of 0.74 may be
0.7400000012 in the other.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from eth_utils.address import is_address, to_checksum_address

from shared.domain.errors import InvalidMessage
from shared.domain.ids import derived_id
from shared.domain.money import BASE_UNIT, Side, floor_micros
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.polymarket.token_ids import MAX_OUTCOME, parse_token_id, printable

TYPES = ("trades", "orders_matched")
SUBSCRIBE = json.dumps(
    {
        "action": "subscribe",
        "subscriptions": [{"topic": "activity", "type": kind} for kind in TYPES],
    }
)
"""Without filters: the server's are broken (real-time-data-client#34), so that we select the rows
of leaders ourselves."""

KEEP_ALIVE = frozenset({"", "PONG", "pong"})

TRANSACTION_HASH = re.compile(r"0x[0-9a-f]{64}")

Row = Mapping[str, Any]

ROW_TYPE = "row_type"
"""The field of a row with the type of its envelope."""


class SubscriptionRefused(Exception):
    """The feed answered the subscription with an error."""


class UnknownEnvelope(Exception):
    """The feed sent an envelope of a form that we do not know."""


def parse_envelopes(frame: str) -> Sequence[Any]:
    """Return the envelopes of a frame, not yet checked; none for a keep-alive.

    Raises: InvalidMessage.
    """
    if frame in KEEP_ALIVE:
        return ()
    try:
        parsed = json.loads(frame, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        # ArithmeticError: an absurd number; RecursionError: absurdly deep nesting.
        raise InvalidMessage(f"not JSON: {error}") from None
    return parsed if isinstance(parsed, list) else [parsed]


def parse_rows(envelope: Any) -> Iterator[Row]:
    """Yield the activity row of an envelope, with its type as ``ROW_TYPE``; none for another topic.

    Raises: InvalidMessage, SubscriptionRefused, UnknownEnvelope.
    """
    if not isinstance(envelope, dict):
        raise InvalidMessage(f"an envelope must be an object, not {type(envelope).__name__}")
    if "statusCode" in envelope:
        raise SubscriptionRefused(
            f"status {envelope['statusCode']}: {str(envelope.get('body'))[:200]}"
        )
    if "topic" not in envelope or "type" not in envelope:
        raise UnknownEnvelope(
            f"an envelope with {', '.join(map(str, envelope))[:200] or 'nothing'}"
        )
    if envelope.get("topic") != "activity" or envelope.get("type") not in TYPES:
        return
    if not isinstance(payload := envelope.get("payload"), dict):
        raise InvalidMessage("an activity envelope without a payload")
    yield payload | {ROW_TYPE: envelope["type"]}


def parse_wallet(row: Row) -> str:
    """Return the wallet whose fill the row is, checksummed. Raises: InvalidMessage."""
    wallet = row.get("proxyWallet")
    if not isinstance(wallet, str) or not is_address(wallet):
        raise InvalidMessage("proxyWallet is not an address")
    return to_checksum_address(wallet)


def parse_fill(row: Row, *, seen_at: datetime) -> LeaderFillSeen:
    """Parse the row as a fill of its wallet. Raises: InvalidMessage, naming the wrong field."""
    leader, transaction_hash, token_id = (
        parse_wallet(row),
        _parse_transaction_hash(row),
        parse_token_id(_parse_text(row, "asset"), name="asset"),
    )
    side, shares, price = _parse_side(row), _parse_shares(row), _parse_price(row)
    row_type = str(row.get(ROW_TYPE, ""))
    row_id = derived_id("rtds", side, shares, price.quantize(BASE_UNIT).normalize())
    return LeaderFillSeen(
        message_id=derived_id("fill", transaction_hash, leader, token_id, row_id, row_type),
        occurred_at=seen_at,
        leader=leader,
        transaction_hash=transaction_hash,
        token_id=token_id,
        side=side,
        shares=shares,
        price=price,
        source=FillSource.RTDS,
        row_id=row_id,
        row_type=row_type,
        filled_at=_parse_time(row),
        title=printable(row.get("title"), 200),
        outcome=printable(row.get("outcome"), MAX_OUTCOME),
    )


def _parse_text(row: Row, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidMessage(f"{field}: must be a non-empty string, got {type(value).__name__}")
    return value


def _parse_transaction_hash(row: Row) -> str:
    text = _parse_text(row, "transactionHash").lower()
    if not TRANSACTION_HASH.fullmatch(text):
        raise InvalidMessage(f"transactionHash: {text[:80]!r} is not a transaction hash")
    return text


def _parse_number(row: Row, field: str) -> Decimal:
    value = row.get(field)
    try:
        number = (
            Decimal(str(value))
            if isinstance(value, str | int | Decimal) and not isinstance(value, bool)
            else None
        )
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise InvalidMessage(f"{field}: must be a number, got {str(value)[:40]!r}")
    return number


def _parse_price(row: Row) -> Decimal:
    price = _parse_number(row, "price")
    if not BASE_UNIT <= price < 1:
        raise InvalidMessage(f"price: {price} is not between 0 and 1")
    return price


def _parse_shares(row: Row) -> int:
    """Micro-shares; digits beyond the sixth are rounding noise of the feed and are cut off."""
    size = _parse_number(row, "size")
    shares = floor_micros(size) if 0 < size < 10**12 else 0
    if shares <= 0:
        raise InvalidMessage(f"size: {size} is not a number of shares")
    return shares


def _parse_side(row: Row) -> Side:
    try:
        return Side(_parse_text(row, "side").upper())
    except ValueError:
        raise InvalidMessage(f"side: must be BUY or SELL, got {row['side']!r}") from None


def _parse_time(row: Row) -> datetime:
    """``timestamp`` is in seconds; a value from 10^11 on can only be milliseconds."""
    stamp = _parse_number(row, "timestamp")
    if not 10**9 < stamp < 10**14:
        raise InvalidMessage(f"timestamp: {stamp} is not a time in seconds or milliseconds")
    return datetime.fromtimestamp(int(stamp if stamp < 10**11 else stamp / 1000), UTC)
