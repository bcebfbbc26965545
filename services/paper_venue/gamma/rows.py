"""Builds Gamma's JSON of markets and events.

Shape: recorded payloads of March 2026, and what polymarket-client 0.14.0 reads of markets of
version v2. Some lists are JSON inside a string, as at Gamma. All markets here have the same dates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from zlib import crc32

import orjson

from services.paper_venue.exchange.formatting import amount_text, json_number, price_text
from services.paper_venue.exchange.orders import PRICE_ONE, Market, MarketVersion
from services.paper_venue.http.payloads import Json

_OPENED = "2026-01-01T00:00:00Z"
_ENDS = "2027-12-31T12:00:00Z"
_DESCRIPTION = (
    "A market of the paper venue: it resolves when the control endpoint says so, and to what."
)
_IMAGE = ""
_BASE_FEE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketState:
    """A market's current state. Prices in 1/10,000 USDC, ``liquidity`` in micro-USDC."""

    market: Market
    event_id: str
    best_bid: int | None
    best_ask: int | None
    last_price: str
    liquidity: int
    payouts: tuple[int, int] | None
    """Payout numerators of YES and NO; None: not resolved."""

    @property
    def is_closed(self) -> bool:
        return self.payouts is not None

    @property
    def outcome_prices(self) -> list[str]:
        if self.payouts is not None:
            return [f"{Decimal(payout) / sum(self.payouts):f}" for payout in self.payouts]
        mid = ((self.best_bid or 0) + (PRICE_ONE if self.best_ask is None else self.best_ask)) // 2
        return [price_text(mid), price_text(PRICE_ONE - mid)]


def market_row(state: MarketState) -> Json:
    """A market's row, without its event."""
    market = state.market
    return {
        "id": market.id,
        "version": market.version,
        "question": market.question,
        "conditionId": condition_text(market),
        "slug": market.slug,
        "resolutionSource": "",
        "endDate": _ENDS,
        "startDate": _OPENED,
        "image": _IMAGE,
        "icon": _IMAGE,
        "description": _DESCRIPTION,
        "outcomes": _json_text(market.outcomes),
        "outcomePrices": _json_text(state.outcome_prices),
        "active": True,
        "closed": state.is_closed,
        "marketMakerAddress": "",
        "createdAt": _OPENED,
        "updatedAt": _OPENED,
        "new": False,
        "featured": False,
        "archived": False,
        "restricted": True,
        "groupItemThreshold": "0",
        "questionID": market.question_id,
        "enableOrderBook": True,
        "orderPriceMinTickSize": json_number(price_text(market.tick)),
        "orderMinSize": market.min_shares // 1_000_000,
        "endDateIso": _ENDS[:10],
        "startDateIso": _OPENED[:10],
        "hasReviewedDates": True,
        "makerBaseFee": _BASE_FEE,
        "takerBaseFee": _BASE_FEE,
        "acceptingOrders": not state.is_closed,
        "negRisk": market.neg_risk,
        "lastTradePrice": json_number(state.last_price),
        "feesEnabled": market.fee_rate > 0,
        "feeType": "paper_fees" if market.fee_rate > 0 else None,
        **_constant_fields(),
        **_token_fields(market),
        **_resolution_fields(state),
        **_amount_fields(state),
        **_book_fields(state),
    }


def event_row(states: Sequence[MarketState]) -> Json:
    """The row of these markets' event, without the markets. It is closed when all of them are."""
    market, is_closed = states[0].market, all(state.is_closed for state in states)
    liquidity = json_number(amount_text(sum(state.liquidity for state in states)))
    slug = market.event_slug or market.slug
    return {
        "id": states[0].event_id,
        "ticker": slug,
        "slug": slug,
        "title": market.question if len(states) == 1 else slug.replace("-", " ").capitalize(),
        "description": _DESCRIPTION,
        "resolutionSource": "",
        "startDate": _OPENED,
        "creationDate": _OPENED,
        "endDate": _ENDS,
        "image": _IMAGE,
        "icon": _IMAGE,
        "active": True,
        "closed": is_closed,
        "archived": False,
        "new": False,
        "featured": False,
        "restricted": True,
        "liquidity": liquidity,
        "volume": 0,
        "openInterest": 0,
        "createdAt": _OPENED,
        "updatedAt": _OPENED,
        "competitive": 1,
        "volume24hr": 0,
        "volume1wk": 0,
        "volume1mo": 0,
        "volume1yr": 0,
        "enableOrderBook": True,
        "liquidityClob": liquidity,
        "negRisk": market.neg_risk,
        "commentCount": 0,
        "series": [],
        "cyom": False,
        "showAllOutcomes": True,
        "showMarketImages": True,
        "enableNegRisk": market.neg_risk,
        "automaticallyActive": True,
        "startTime": _OPENED,
        "seriesSlug": "",
        "negRiskAugmented": False,
        "pendingDeployment": False,
        "deploying": False,
        "requiresTranslation": False,
    }


def _constant_fields() -> Json:
    """The fields that have the same value for every market here."""
    return {
        "ready": False,
        "funded": False,
        "acceptingOrdersTimestamp": _OPENED,
        "cyom": False,
        "competitive": 1,
        "pagerDutyNotificationEnabled": False,
        "approved": True,
        "rewardsMinSize": 50,
        "rewardsMaxSpread": json_number("4.5"),
        "automaticallyActive": True,
        "clearBookOnStart": False,
        "showGmpSeries": False,
        "showGmpOutcome": False,
        "manualActivation": False,
        "negRiskOther": False,
        "pendingDeployment": False,
        "deploying": False,
        "rfqEnabled": False,
        "eventStartTime": _OPENED,
        "holdingRewardsEnabled": False,
        "requiresTranslation": False,
        "makerRebatesFeeShareBps": 0,
    }


def tag_rows(states: Sequence[MarketState]) -> list[Json]:
    """The tags of these markets, each once."""
    slugs = dict.fromkeys(slug for state in states for slug in state.market.tags)
    return [
        {
            "id": tag_id(slug),
            "label": slug.replace("-", " ").capitalize(),
            "slug": slug,
            "forceShow": False,
            "createdAt": _OPENED,
            "updatedAt": _OPENED,
            "requiresTranslation": False,
        }
        for slug in slugs
    ]


def tag_id(slug: str) -> str:
    """A number, as at Gamma: always the same for a slug."""
    return str(crc32(slug.encode()) % 1_000_000)


def condition_text(market: Market) -> str:
    """The condition id as Gamma spells it: 31 bytes for a v2 market. The CLOB and the Data API use
    32 bytes, padded with zeros.
    """
    return market.condition_id[:64] if market.version is MarketVersion.V2 else market.condition_id


def _token_fields(market: Market) -> Json:
    if market.version is MarketVersion.V2:
        return {
            "clobTokenIds": None,
            "positionIds": list(market.token_ids),
            "requestId": market.condition_id,
        }
    return {"clobTokenIds": _json_text(market.token_ids)}


def _resolution_fields(state: MarketState) -> Json:
    if state.market.version is MarketVersion.V2:
        return {
            "resolutionStatus": "resolved" if state.is_closed else "active",
            "umaResolutionStatuses": "[]",
        }
    if not state.is_closed:
        return {"umaResolutionStatuses": "[]"}
    return {
        "umaResolutionStatus": "resolved",
        "umaResolutionStatuses": _json_text(["proposed"]),
        "automaticallyResolved": True,
    }


def _amount_fields(state: MarketState) -> Json:
    """Liquidity and volume. Volume is not counted here and always 0. A closed market has neither,
    as at Gamma.
    """
    if state.is_closed:
        return {}
    liquidity = amount_text(state.liquidity)
    volumes = dict.fromkeys(
        (f"volume{span}{book}" for span in ("24hr", "1wk", "1mo", "1yr") for book in ("", "Clob")),
        0,
    )
    amounts = {
        "liquidityNum": json_number(liquidity),
        "liquidityClob": json_number(liquidity),
        "volumeNum": 0,
        "volumeClob": 0,
    }
    return {"liquidity": liquidity, "volume": "0", **amounts, **volumes}


def _book_fields(state: MarketState) -> Json:
    """Spread and best prices; an empty side counts as 0 or 1."""
    if state.is_closed:
        return {"spread": 0}
    best_bid, best_ask = (
        state.best_bid or 0,
        PRICE_ONE if state.best_ask is None else state.best_ask,
    )
    return {
        "spread": json_number(price_text(best_ask - best_bid)),
        "bestBid": json_number(price_text(best_bid)),
        "bestAsk": json_number(price_text(best_ask)),
    }


def _json_text(values: Sequence[str]) -> str:
    """A list as JSON inside a string, as Gamma has it."""
    return orjson.dumps(values).decode()
