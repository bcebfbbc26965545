"""Builds the Data API's JSON of trades, activity and positions.

Shapes: docs/venue-protocol.md, Data API, and the models of polymarket-client 0.14.0. Amounts are
JSON numbers: shares to 6 decimals, a trade's price as it divides, money of positions to 4
(docs.polymarket.com, overview of the Data API, read 2026-11-22).
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import orjson

from services.paper_venue.data_api.activity_index import Activity, ActivityType
from services.paper_venue.data_api.holdings_ledger import Holding
from services.paper_venue.exchange.formatting import amount_text, json_number
from services.paper_venue.exchange.orders import Market
from services.paper_venue.http.payloads import Json
from shared.domain.money import Side

NO_OUTCOME_INDEX = 999
"""``outcome_index`` of a row without an outcome."""

_RATIO = Decimal("0.0000000001")
_MONEY = Decimal("0.0001")
_MICRO = 1_000_000
_HUNDRED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """A holding with its market, the current value of a share, and whether the condition is
    resolved.
    """

    holding: Holding
    market: Market
    event_id: str
    price: Decimal
    """USDC per share."""
    is_resolved: bool
    held_opposite: int
    """Micro-shares of the other outcome."""

    @property
    def outcome(self) -> int:
        return self.market.outcome_index(self.holding.token_id)

    @property
    def value(self) -> Decimal:
        """USDC."""
        return self.holding.held * self.price / _MICRO

    @property
    def unrealized_pnl(self) -> Decimal:
        """Value less cost of the shares that were paid for, in USDC."""
        return (self.holding.priced * self.price - self.holding.cost) / _MICRO

    @property
    def realized_pnl(self) -> Decimal:
        return Decimal(self.holding.realized) / _MICRO

    @property
    def total_pnl(self) -> Decimal:
        return self.realized_pnl + self.unrealized_pnl

    @property
    def average_price(self) -> Decimal:
        """The average price of the shares held; if none are left, of all that were bought."""
        holding = self.holding
        cost, shares = (
            (holding.cost, holding.priced) if holding.priced else (holding.spent, holding.bought)
        )
        return Decimal(cost) / shares if shares else Decimal(0)

    @property
    def is_mergeable(self) -> bool:
        return not self.is_resolved and self.holding.held > 0 and self.held_opposite > 0

    @property
    def status(self) -> str:
        if self.holding.held <= 0:
            return "CLOSED"
        return "REDEEMABLE" if self.is_resolved else "OPEN"


def trade_row(row: Activity, market: Market) -> Json:
    return {
        "proxy_wallet": row.wallet,
        "side": row.side,
        "token_id": row.token_id,
        "condition_id": market.condition_id,
        "size": _shares(row.shares),
        "price": _ratio(row.usdc, row.shares),
        "timestamp": row.timestamp,
        **_labels(market, row.token_id),
        **_profile(),
        "transaction_hash": row.transaction_hash,
    }


def activity_row(row: Activity, market: Market | None) -> Json:
    """``usdc_size`` of a trade is the money that moved, with the taker's fee."""
    signed_fee = row.fee if row.side is Side.BUY else -row.fee
    return {
        "proxy_wallet": row.wallet,
        "timestamp": row.timestamp,
        "condition_id": "" if market is None else market.condition_id,
        "type": row.type,
        "size": _shares(row.shares),
        "usdc_size": _shares(row.usdc + signed_fee),
        "transaction_hash": row.transaction_hash,
        "price": _ratio(row.usdc, row.shares) if row.type is ActivityType.TRADE else 0,
        "token_id": row.token_id or "",
        "side": row.side or "",
        **_labels(market, row.token_id),
        **_profile(),
        "is_combo": False,
    }


def position_row(view: PositionView) -> Json:
    holding, market = view.holding, view.market
    fees, spent = Decimal(holding.fees) / _MICRO, Decimal(holding.spent) / _MICRO
    cost = Decimal(holding.cost) / _MICRO
    return {
        "proxy_wallet": holding.wallet,
        "token_id": holding.token_id,
        "condition_id": market.condition_id,
        "current_size": _shares(holding.held),
        "avg_price": _money(view.average_price),
        "entry_cost_usdc": _money(cost),
        "entry_fees_usdc": _money(fees),
        "total_cost_usdc": _money(cost + fees),
        "current_price": _money(view.price),
        "current_value": _money(view.value),
        "total_size": _shares(holding.bought),
        "realized_pnl": _money(view.realized_pnl),
        "unrealized_pnl": _money(view.unrealized_pnl),
        "total_pnl": _money(view.total_pnl),
        "percent_pnl": _percent(view.total_pnl, spent),
        "percent_realized_pnl": _percent(view.realized_pnl, spent),
        "status": view.status,
        "redeemable": view.is_resolved and holding.held > 0,
        "mergeable": view.is_mergeable,
        "negative_risk": market.neg_risk,
        "archived": False,
        "verified": False,
        "event_id": view.event_id,
        **_labels(market, holding.token_id),
        "opposite_outcome": market.outcomes[1 - view.outcome],
        "opposite_token_id": market.token_ids[1 - view.outcome],
        "end_date": "",
        "last_event_at": holding.last_at,
        "first_entry_at": holding.first_at,
        "name": "",
        "profile_image": "",
    }


def value_row(wallet: str, value: Decimal) -> Json:
    return {"proxy_wallet": wallet, "value": _money(value)}


def _labels(market: Market | None, token_id: str | None) -> Json:
    outcome = None if market is None or token_id is None else market.outcome_index(token_id)
    return {
        "title": "" if market is None else market.question,
        "slug": "" if market is None else market.slug,
        "icon": "",
        "event_slug": "" if market is None else market.event_slug,
        "outcome": "" if market is None or outcome is None else market.outcomes[outcome],
        "outcome_index": NO_OUTCOME_INDEX if outcome is None else outcome,
    }


def _profile() -> Json:
    """The profile fields; nobody here has a profile."""
    return dict.fromkeys(
        ("name", "pseudonym", "bio", "profile_image", "profile_image_optimized"), ""
    )


def _shares(micros: int) -> orjson.Fragment:
    return (
        json_number(amount_text(micros)) if micros >= 0 else json_number("-" + amount_text(-micros))
    )


def _ratio(usdc: int, shares: int) -> orjson.Fragment:
    return _number((Decimal(usdc) / shares).quantize(_RATIO, rounding=ROUND_HALF_EVEN))


def _money(usdc: Decimal) -> orjson.Fragment:
    return _number(usdc.quantize(_MONEY, rounding=ROUND_HALF_EVEN))


def _percent(part: Decimal, whole: Decimal) -> orjson.Fragment:
    return _money(part * _HUNDRED / whole) if whole else _money(Decimal(0))


def _number(value: Decimal) -> orjson.Fragment:
    text = f"{value:f}"
    return json_number(text.rstrip("0").rstrip(".") if "." in text else text)
