"""The CLOB's market lists and trading parameters."""

from collections.abc import Callable

from aiohttp import web

from services.paper_venue.clob.pagination import build_page
from services.paper_venue.exchange import rules
from services.paper_venue.exchange.formatting import json_number, price_text
from services.paper_venue.exchange.orders import Market, MarketVersion
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest
from services.paper_venue.http.responses import Handler, reply
from services.paper_venue.lifecycle.venue import Venue

_PAGE_SIZE = 1_000


class Catalogue:
    """The CLOB's market lists and parameters, without authentication.

    A condition is looked up by its 32 bytes (64 hex digits). A v2 market's id has 31; the form
    without the padding is not found.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._engine = venue.engine

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/markets-by-token/{token_id}", self.market_by_token),
            web.get("/clob-markets/{condition_id}", self.clob_market),
            web.get("/markets", self._list_handler(self._market)),
            web.get("/sampling-markets", self._list_handler(self._market, only_open=True)),
            web.get("/simplified-markets", self._list_handler(self._simplified)),
            web.get(
                "/sampling-simplified-markets", self._list_handler(self._simplified, only_open=True)
            ),
            web.get("/markets/{condition_id}", self.market),
            web.get("/tick-size", self.tick_size),
            web.get("/tick-size/{token_id}", self.tick_size),
            web.get("/neg-risk", self.neg_risk),
            web.get("/neg-risk/{token_id}", self.neg_risk),
            web.get("/fee-rate", self.fee_rate),
            web.get("/fee-rate/{token_id}", self.fee_rate),
            web.get("/fees/builder-fees/{code:0x[0-9a-fA-F]{64}}", self.builder_fees),
        ]

    async def market_by_token(self, request: web.Request) -> web.Response:
        market = self._engine.market_by_token.get(request.match_info["token_id"])
        if market is None:
            raise BadRequest(rules.NO_MARKET, 404)
        primary, secondary = market.token_ids
        return reply(
            {
                "condition_id": market.condition_id,
                "primary_token_id": primary,
                "secondary_token_id": secondary,
            }
        )

    async def clob_market(self, request: web.Request) -> web.Response:
        market = self._by_condition(request)
        return reply(
            {
                "t": [
                    {"t": token, "o": outcome}
                    for token, outcome in zip(market.token_ids, market.outcomes, strict=True)
                ],
                "mts": json_number(price_text(market.tick)),
                "mos": market.min_shares // 1_000_000,
                "nr": market.neg_risk,
                "fd": {"r": json_number(str(market.fee_rate)), "e": 1, "to": True},
                "mbf": 0,
                "tbf": 0,
                "itode": market.taker_delay_ms > 0,
                "v": 2 if market.version is MarketVersion.V2 else 1,
            }
        )

    async def market(self, request: web.Request) -> web.Response:
        return reply(self._market(self._by_condition(request)))

    async def tick_size(self, request: web.Request) -> web.Response:
        return reply({"minimum_tick_size": json_number(price_text(self._by_token(request).tick))})

    async def neg_risk(self, request: web.Request) -> web.Response:
        return reply({"neg_risk": self._by_token(request).neg_risk})

    async def fee_rate(self, request: web.Request) -> web.Response:
        """The fee that a V1 order would have to name: 0. The present taker fee is in
        ``/clob-markets``.
        """
        self._by_token(request)
        return reply({"base_fee": 0})

    async def builder_fees(self, _: web.Request) -> web.Response:
        """Always 0: no builder has registered a fee here."""
        return reply({"builder_maker_fee_rate_bps": 0, "builder_taker_fee_rate_bps": 0})

    def _list_handler(self, row: Callable[[Market], Json], *, only_open: bool = False) -> Handler:
        async def list_markets(request: web.Request) -> web.Response:
            markets = (
                market for market in self._engine.markets if not only_open or self._is_open(market)
            )
            return reply(
                build_page(map(row, markets), request.query.get("next_cursor"), limit=_PAGE_SIZE)
            )

        return list_markets

    def _market(self, market: Market) -> Json:
        return self._simplified(market) | {
            "question_id": market.question_id,
            "question": market.question,
            "market_slug": market.slug,
            "enable_order_book": self._is_open(market),
            "minimum_tick_size": json_number(price_text(market.tick)),
            "minimum_order_size": market.min_shares // 1_000_000,
            "maker_base_fee": 0,
            "taker_base_fee": 0,
            "seconds_delay": market.taker_delay_ms // 1_000,
            "neg_risk": market.neg_risk,
        }

    def _simplified(self, market: Market) -> Json:
        return {
            "condition_id": market.condition_id,
            "tokens": [self._token(market, outcome) for outcome in (0, 1)],
            "active": True,
            "closed": not self._is_open(market),
            "archived": False,
            "accepting_orders": self._is_open(market),
        }

    def _is_open(self, market: Market) -> bool:
        return self._engine.resolution(market.condition_id) is None

    def _token(self, market: Market, outcome: int) -> Json:
        token = market.token_ids[outcome]
        price, _ = self._venue.publisher.last_trade(token)
        payouts = self._engine.resolution(market.condition_id)
        won = payouts is not None and payouts[outcome] > 0 and payouts[1 - outcome] == 0
        return {
            "token_id": token,
            "outcome": market.outcomes[outcome],
            "price": json_number(price),
            "winner": won,
        }

    def _by_condition(self, request: web.Request) -> Market:
        market = self._engine.market_by_condition.get(request.match_info["condition_id"])
        if market is None:
            raise BadRequest(rules.NO_MARKET, 404)
        return market

    def _by_token(self, request: web.Request) -> Market:
        token_id = request.match_info.get("token_id") or request.query.get("token_id", "")
        market = self._engine.market_by_token.get(token_id)
        if market is None:
            raise BadRequest(rules.NO_MARKET, 404)
        return market
