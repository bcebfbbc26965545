"""What does a row of ``/data/trades`` say of an order of ours? Pure (protocol notes, 4.4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from shared.domain.errors import InvalidMessage
from shared.domain.money import BASE_UNIT, floor_micros
from shared.messages.orders import TradeStatus

FEE_STEP = Decimal("0.00001")
"""Fees are rounded to five decimals of a USDC (verified on the chain by others, 2026-09-28)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTrade:
    """One trade of an order that took liquidity. Micro-shares and micro-USDC."""

    trade_id: str
    order_hash: str
    status: TradeStatus
    shares: int
    usdc: int
    price: Decimal
    """Averaged over the makers."""
    fee_usdc: int
    """By the rate that the market names; the chain's own figure replaces it."""
    transaction_hash: str
    matched_at: datetime


@dataclass(frozen=True, slots=True)
class _Fill:
    shares: Decimal
    price: Decimal


def parse_trade(row: Mapping[str, Any], *, fee_rate: Decimal) -> VenueTrade:
    """Raises: InvalidMessage where the row is not a trade."""
    try:
        fills = list(_fills(row))
        shares = sum((fill.shares for fill in fills), Decimal(0))
        usdc = sum((fill.shares * fill.price for fill in fills), Decimal(0))
        fee = sum((_fee(fill, fee_rate) for fill in fills), Decimal(0))
        return VenueTrade(
            trade_id=_text(row, "id"),
            order_hash=_text(row, "taker_order_id").lower(),
            status=_status(str(row["status"])),
            shares=floor_micros(shares),
            usdc=floor_micros(usdc),
            price=(usdc / shares).quantize(Decimal("0.00000001")),
            fee_usdc=floor_micros(fee),
            transaction_hash=str(row.get("transaction_hash") or "").lower(),
            matched_at=_moment(str(row.get("match_time", ""))),
        )
    except (KeyError, ArithmeticError, TypeError, AttributeError) as error:
        raise InvalidMessage(f"not a trade: {type(error).__name__}") from None


def _fills(row: Mapping[str, Any]) -> Iterator[_Fill]:
    """What was taken from each maker, at the taker's price: a maker on the complementary outcome
    was met at one minus his.
    """
    makers = row.get("maker_orders") or ()
    if not makers:
        yield _fill(row["size"], row["price"], same_token=True)
    for maker in makers:
        yield _fill(
            maker["matched_amount"],
            maker["price"],
            same_token=str(maker["asset_id"]) == str(row["asset_id"]),
        )


def _fill(amount: Any, price_told: Any, *, same_token: bool) -> _Fill:
    shares, price = Decimal(str(amount)), Decimal(str(price_told))
    if not (BASE_UNIT <= shares < 10**12 and 0 < price < 1):
        raise InvalidMessage(f"a fill of {shares} at {price} cannot be")
    return _Fill(shares, price if same_token else 1 - price)


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row[field]
    if not isinstance(value, str) or not value:
        raise InvalidMessage(f"{field}: must be a text, and is {type(value).__name__}")
    return value


def _fee(fill: _Fill, rate: Decimal) -> Decimal:
    return (fill.shares * rate * fill.price * (1 - fill.price)).quantize(
        FEE_STEP, rounding=ROUND_HALF_UP
    )


def _status(text: str) -> TradeStatus:
    """REST says TRADE_STATUS_X where the socket says X; not yet broadcast is matched, as far as
    money goes.
    """
    plain = text.removeprefix("TRADE_STATUS_")
    if plain == "MATCHED_NOT_BROADCASTED":
        return TradeStatus.MATCHED
    try:
        return TradeStatus(plain)
    except ValueError:
        raise InvalidMessage(f"status: {text[:40]!r} is no status of a trade") from None


def _moment(text: str) -> datetime:
    """Seconds since 1970, or ISO 8601; without a zone it is UTC."""
    try:
        told = (
            datetime.fromtimestamp(int(text), UTC)
            if text.isdecimal()
            else datetime.fromisoformat(text)
        )
        return told if told.tzinfo is not None else told.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidMessage(f"match_time: {text[:40]!r} is no time") from None
