"""The rows of ``/data/trades`` as trades of our orders. Pure.

Shape: docs/venue-protocol.md, Trades.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from shared.domain.errors import InvalidMessage
from shared.domain.money import BASE_UNIT, floor_micros
from shared.messages.orders import TradeStatus

FEE_STEP = Decimal("0.00001")
"""Fees are rounded to five decimals of a USDC (others have verified it on the chain, 2026-09-28).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTrade:
    """One trade of an order of ours, which took liquidity. Micro-shares and micro-USDC."""

    trade_id: str
    order_hash: str
    status: TradeStatus
    shares: int
    usdc: int
    price: Decimal
    """Averaged over the makers."""
    fee_usdc: int
    """Computed with the market's fee rate; the figure on the chain replaces it later."""
    transaction_hash: str
    matched_at: datetime


@dataclass(frozen=True, slots=True)
class _Fill:
    shares: Decimal
    price: Decimal


def parse_trade(row: Mapping[str, Any], *, fee_rate: Decimal) -> VenueTrade:
    """Parse a row of ``/data/trades``. Raises: InvalidMessage where it is not a trade."""
    try:
        fills = list(_parse_fills(row))
        shares = sum((fill.shares for fill in fills), Decimal(0))
        usdc = sum((fill.shares * fill.price for fill in fills), Decimal(0))
        fee = sum((_fee(fill, fee_rate) for fill in fills), Decimal(0))
        return VenueTrade(
            trade_id=_parse_text(row, "id"),
            order_hash=_parse_text(row, "taker_order_id").lower(),
            status=_parse_status(str(row["status"])),
            shares=floor_micros(shares),
            usdc=floor_micros(usdc),
            price=(usdc / shares).quantize(Decimal("0.00000001")),
            fee_usdc=floor_micros(fee),
            transaction_hash=str(row.get("transaction_hash") or "").lower(),
            matched_at=_parse_time(str(row.get("match_time", ""))),
        )
    except (KeyError, ArithmeticError, TypeError, AttributeError) as error:
        raise InvalidMessage(f"not a trade: {type(error).__name__}") from None


def _parse_fills(row: Mapping[str, Any]) -> Iterator[_Fill]:
    """Yield what was taken from each maker, at the taker's price.

    A maker on the complementary outcome is matched at one minus the maker's price.
    """
    makers = row.get("maker_orders") or ()
    if not makers:
        yield _parse_fill(row["size"], row["price"], same_token=True)
    for maker in makers:
        yield _parse_fill(
            maker["matched_amount"],
            maker["price"],
            same_token=str(maker["asset_id"]) == str(row["asset_id"]),
        )


def _parse_fill(amount: Any, maker_price: Any, *, same_token: bool) -> _Fill:
    shares, price = Decimal(str(amount)), Decimal(str(maker_price))
    if not (BASE_UNIT <= shares < 10**12 and 0 < price < 1):
        raise InvalidMessage(f"a fill of {shares} shares at {price} is impossible")
    return _Fill(shares, price if same_token else 1 - price)


def _parse_text(row: Mapping[str, Any], field: str) -> str:
    value = row[field]
    if not isinstance(value, str) or not value:
        raise InvalidMessage(f"{field}: must be a non-empty string, got {type(value).__name__}")
    return value


def _fee(fill: _Fill, rate: Decimal) -> Decimal:
    return (fill.shares * rate * fill.price * (1 - fill.price)).quantize(
        FEE_STEP, rounding=ROUND_HALF_UP
    )


def _parse_status(text: str) -> TradeStatus:
    """REST writes TRADE_STATUS_X where the user channel writes X. A match that is not yet broadcast
    counts as matched.
    """
    status = text.removeprefix("TRADE_STATUS_")
    if status == "MATCHED_NOT_BROADCASTED":
        return TradeStatus.MATCHED
    try:
        return TradeStatus(status)
    except ValueError:
        raise InvalidMessage(f"status: {text[:40]!r} is not a trade status") from None


def named_orders(row: Mapping[str, Any]) -> frozenset[str]:
    """The hashes of the orders that a row names, the taker's and the makers', in lower case. A row
    that is no readable trade may name some too.
    """
    makers = row.get("maker_orders")
    named = [row.get("taker_order_id")]
    named += [
        maker.get("order_id")
        for maker in (makers if isinstance(makers, list) else ())
        if isinstance(maker, Mapping)
    ]
    return frozenset(each.lower() for each in named if isinstance(each, str) and each)


def _parse_time(text: str) -> datetime:
    """Unix seconds, or ISO 8601; without a time zone it is UTC. A number from 10^11 on can only be
    milliseconds.
    """
    try:
        moment = (
            datetime.fromtimestamp(_seconds(int(text)), UTC)
            if text.isdecimal()
            else datetime.fromisoformat(text)
        )
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidMessage(f"match_time: {text[:40]!r} is not a time") from None


def _seconds(stamp: int) -> int:
    return stamp if stamp < 10**11 else stamp // 1000
