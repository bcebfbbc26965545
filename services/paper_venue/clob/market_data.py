"""The CLOB's public market data: books and prices."""

from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from services.paper_venue.clob.requests import parse_token_ids
from services.paper_venue.exchange import rules
from services.paper_venue.exchange.formatting import price_text
from services.paper_venue.exchange.orders import PRICE_ONE, Market
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply
from services.paper_venue.lifecycle.venue import Venue

_SIDES = ("BUY", "SELL")


class MarketData:
    """Books and prices, without authentication.

    Lists omit tokens without a book, as the venue's do.
    """

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
            web.get("/book", self.book),
            web.post("/books", self.books),
            web.get("/price", self.price),
            web.get("/prices", self.prices),
            web.post("/prices", self.prices),
            web.get("/midpoint", self.midpoint),
            web.get("/midpoints", self.midpoints),
            web.post("/midpoints", self.midpoints),
            web.get("/spread", self.spread),
            web.post("/spreads", self.spreads),
            web.get("/last-trade-price", self.last_trade_price),
            web.get("/last-trades-prices", self.last_trades_prices),
            web.post("/last-trades-prices", self.last_trades_prices),
        ]

    async def ok(self, _: web.Request) -> web.Response:
        return reply("OK")

    async def time(self, _: web.Request) -> web.Response:
        return reply(self._now_ms() // 1000)

    async def version(self, _: web.Request) -> web.Response:
        return reply({"version": 2})

    async def book(self, request: web.Request) -> web.Response:
        return reply(
            self._venue.publisher.book_summary(self._token(request), now_ms=self._now_ms())
        )

    async def books(self, request: web.Request) -> web.Response:
        now_ms = self._now_ms()
        return reply(
            [
                self._venue.publisher.book_summary(token, now_ms=now_ms)
                for token in await self._tokens(request)
            ]
        )

    async def price(self, request: web.Request) -> web.Response:
        """``side`` BUY returns the best bid, SELL the best ask."""
        return reply(
            {"price": self._price(self._token(request), _parse_side(request.query.get("side", "")))}
        )

    async def prices(self, request: web.Request) -> web.Response:
        """For each token, the requested sides; without a side, both."""
        prices: dict[str, Json] = {}
        for token, side in await _requested_prices(request):
            if self._has_book(token):
                sides = (_parse_side(side),) if side else _SIDES
                prices.setdefault(token, {}).update(
                    {name: self._price(token, name) for name in sides}
                )
        return reply(prices)

    async def midpoint(self, request: web.Request) -> web.Response:
        return reply({"mid": self._midpoint(self._token(request))})

    async def midpoints(self, request: web.Request) -> web.Response:
        return reply({token: self._midpoint(token) for token in await self._tokens(request)})

    async def spread(self, request: web.Request) -> web.Response:
        return reply({"spread": self._spread(self._token(request))})

    async def spreads(self, request: web.Request) -> web.Response:
        return reply({token: self._spread(token) for token in await self._tokens(request)})

    async def last_trade_price(self, request: web.Request) -> web.Response:
        price, side = self._venue.publisher.last_trade(self._token(request))
        return reply({"price": price, "side": side})

    async def last_trades_prices(self, request: web.Request) -> web.Response:
        """Tokens that have not traded are omitted, as they have no side."""
        last_trades = (
            (token, *self._venue.publisher.last_trade(token))
            for token in await self._tokens(request)
        )
        return reply(
            [
                {"token_id": token, "price": price, "side": side}
                for token, price, side in last_trades
                if side
            ]
        )

    def _token(self, request: web.Request) -> str:
        token = request.query.get("token_id", "")
        if not self._has_book(token):
            raise BadRequest(rules.NO_BOOK, 404)
        return token

    async def _tokens(self, request: web.Request) -> Iterable[str]:
        return [token for token in await _requested_tokens(request) if self._has_book(token)]

    def _has_book(self, token: str) -> bool:
        """Whether the token exists and its market is not resolved."""
        market = self._engine.market_by_token.get(token)
        return market is not None and self._engine.resolution(market.condition_id) is None

    def _price(self, token: str, side: str) -> str:
        best_bid, best_ask = self._best(token)
        return price_text((best_bid if side == "BUY" else best_ask) or 0)

    def _midpoint(self, token: str) -> str:
        best_bid, best_ask = self._best_or_bounds(token)
        return price_text((best_bid + best_ask) // 2)

    def _spread(self, token: str) -> str:
        best_bid, best_ask = self._best_or_bounds(token)
        return price_text(best_ask - best_bid)

    def _best_or_bounds(self, token: str) -> tuple[int, int]:
        """Best bid and ask; 0 and 1 USDC where there is none."""
        best_bid, best_ask = self._best(token)
        return best_bid or 0, best_ask or PRICE_ONE

    def _best(self, token: str) -> tuple[int | None, int | None]:
        market: Market = self._engine.market_by_token[token]
        book, outcome = self._engine.books[market.condition_id], market.outcome_index(token)
        return book.best_bid(outcome), book.best_ask(outcome)


def _parse_side(text: str) -> str:
    if text.upper() not in _SIDES:
        raise BadRequest("Invalid side")
    return text.upper()


async def _requested_tokens(request: web.Request) -> list[str]:
    """The token ids in the body of a POST, or in a GET's comma-separated ``token_ids``."""
    if request.method == "POST":
        return parse_token_ids(parse_json(await request.read()))
    return [token for token in request.query.get("token_ids", "").split(",") if token]


async def _requested_prices(request: web.Request) -> list[tuple[str, str]]:
    """(token, side) pairs; an empty side means both. Raises: BadRequest."""
    if request.method == "POST":
        payload = parse_json(await request.read())
        return list(zip(parse_token_ids(payload), map(_requested_side, payload), strict=True))
    tokens = await _requested_tokens(request)
    sides = [side for side in request.query.get("sides", "").split(",") if side]
    if sides and len(sides) != len(tokens):
        raise BadRequest("sides must be as many as token_ids")
    return list(zip(tokens, sides or [""] * len(tokens), strict=True))


def _requested_side(row: Any) -> str:
    return str(row.get("side") or "") if isinstance(row, dict) else ""
