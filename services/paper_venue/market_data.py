"""The public half of the CLOB: markets, books and prices."""

from collections.abc import Callable

from aiohttp import web

from services.paper_venue import rules
from services.paper_venue.frames import Json
from services.paper_venue.handler import Venue
from services.paper_venue.orders import PRICE_ONE, Market
from services.paper_venue.requests import BadRequest, parse_json, parse_token_ids
from services.paper_venue.responses import reply
from services.paper_venue.wire import number, price_text


class MarketData:
    """Answers without authentication."""

    def __init__(self, venue: Venue, now_ms: Callable[[], int]) -> None:
        self._venue = venue
        self._engine = venue.engine
        self._now_ms = now_ms

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.ok),
            web.get("/ok", self.ok),
            web.get("/time", self.time),
            web.get("/version", self.version),
            web.get("/markets-by-token/{token_id}", self.market_by_token),
            web.get("/clob-markets/{condition_id}", self.clob_market),
            web.get("/markets/{condition_id:0x[0-9a-fA-F]+}", self.market),
            web.get("/tick-size", self.tick_size),
            web.get("/neg-risk", self.neg_risk),
            web.get("/fee-rate", self.fee_rate),
            web.get("/book", self.book),
            web.post("/books", self.books),
            web.get("/price", self.price),
            web.get("/midpoint", self.midpoint),
            web.get("/spread", self.spread),
            web.get("/last-trade-price", self.last_trade_price),
        ]

    async def ok(self, _: web.Request) -> web.Response:
        return reply("OK")

    async def time(self, _: web.Request) -> web.Response:
        return reply(self._now_ms() // 1000)

    async def version(self, _: web.Request) -> web.Response:
        return reply({"version": 2})

    async def market_by_token(self, request: web.Request) -> web.Response:
        market = self._engine.market_by_token.get(request.match_info["token_id"])
        if market is None:
            raise BadRequest("market not found", 404)
        primary, secondary = market.token_ids
        return reply({"condition_id": market.condition_id, "primary_token_id": primary, "secondary_token_id": secondary})

    async def clob_market(self, request: web.Request) -> web.Response:
        market = self._by_condition(request)
        return reply(
            {
                "t": [{"t": token, "o": outcome} for token, outcome in zip(market.token_ids, market.outcomes, strict=True)],
                "mts": number(price_text(market.tick)),
                "mos": market.min_shares // 1_000_000,
                "nr": False,
                "fd": {"r": number(str(market.fee_rate)), "e": 1, "to": True},
                "mbf": 0,
                "tbf": 0,
                "itode": False,
                "v": 1,
            }
        )

    async def market(self, request: web.Request) -> web.Response:
        market = self._by_condition(request)
        tokens = [self._token(market, outcome) for outcome in (0, 1)]
        return reply(
            {
                "condition_id": market.condition_id,
                "question_id": market.question_id,
                "question": market.question,
                "market_slug": market.slug,
                "tokens": tokens,
                "active": True,
                "closed": False,
                "archived": False,
                "accepting_orders": True,
                "enable_order_book": True,
                "minimum_tick_size": number(price_text(market.tick)),
                "minimum_order_size": market.min_shares // 1_000_000,
                "neg_risk": False,
            }
        )

    async def tick_size(self, request: web.Request) -> web.Response:
        return reply({"minimum_tick_size": number(price_text(self._asked(request).tick))})

    async def neg_risk(self, request: web.Request) -> web.Response:
        self._asked(request)
        return reply({"neg_risk": False})

    async def fee_rate(self, request: web.Request) -> web.Response:
        self._asked(request)
        return reply({"base_fee": 0})

    async def book(self, request: web.Request) -> web.Response:
        self._asked(request)
        return reply(self._venue.announcer.book_summary(request.query["token_id"], now_ms=self._now_ms()))

    async def books(self, request: web.Request) -> web.Response:
        """As the venue: tokens without a book are left out."""
        now_ms = self._now_ms()
        asked = parse_token_ids(parse_json(await request.read()))
        return reply([self._venue.announcer.book_summary(token, now_ms=now_ms) for token in asked if token in self._engine.market_by_token])

    async def price(self, request: web.Request) -> web.Response:
        """BUY asks for the best bid, SELL for the best ask."""
        best_bid, best_ask = self._best(request)
        side = request.query.get("side", "").upper()
        if side not in ("BUY", "SELL"):
            raise BadRequest("Invalid side")
        return reply({"price": price_text((best_bid if side == "BUY" else best_ask) or 0)})

    async def midpoint(self, request: web.Request) -> web.Response:
        best_bid, best_ask = self._both(request)
        return reply({"mid": price_text((best_bid + best_ask) // 2)})

    async def spread(self, request: web.Request) -> web.Response:
        best_bid, best_ask = self._both(request)
        return reply({"spread": price_text(best_ask - best_bid)})

    async def last_trade_price(self, request: web.Request) -> web.Response:
        self._asked(request)
        price, side = self._venue.announcer.last_trade(request.query["token_id"])
        return reply({"price": price, "side": side})

    def _by_condition(self, request: web.Request) -> Market:
        asked = request.match_info["condition_id"]
        market = next((market for market in self._engine.markets if market.condition_id == asked), None)
        if market is None:
            raise BadRequest("market not found", 404)
        return market

    def _asked(self, request: web.Request) -> Market:
        market = self._engine.market_by_token.get(request.query.get("token_id", ""))
        if market is None:
            raise BadRequest(rules.NO_BOOK, 404)
        return market

    def _best(self, request: web.Request) -> tuple[int | None, int | None]:
        market = self._asked(request)
        outcome = market.outcome_index(request.query["token_id"])
        book = self._engine.books[market.condition_id]
        return book.best_bid(outcome), book.best_ask(outcome)

    def _both(self, request: web.Request) -> tuple[int, int]:
        best_bid, best_ask = self._best(request)
        return best_bid or 0, best_ask or PRICE_ONE

    def _token(self, market: Market, outcome: int) -> Json:
        token = market.token_ids[outcome]
        price, _ = self._venue.announcer.last_trade(token)
        return {"token_id": token, "outcome": market.outcomes[outcome], "price": number(price), "winner": False}
