"""What does the catalogue say about a market?"""

from collections.abc import Sequence

import orjson
from aiohttp import web

from services.paper_venue.frames import Json
from services.paper_venue.handler import Venue
from services.paper_venue.orders import PRICE_ONE, Market
from services.paper_venue.requests import BadRequest
from services.paper_venue.responses import reply
from services.paper_venue.wire import number, price_text


class Gamma:
    """Market look-ups of the Gamma API, for markets of version v1 (ConditionalTokens)."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/markets", self.markets),
            web.get("/markets/keyset", self.keyset),
            web.get("/markets/slug/{slug}", self.by_slug),
            web.get("/markets/{id:[0-9]+}", self.by_id),
        ]

    async def markets(self, request: web.Request) -> web.Response:
        return reply([self._row(market) for market in self._found(request)])

    async def keyset(self, request: web.Request) -> web.Response:
        return reply({"markets": [self._row(market) for market in self._found(request)], "next_cursor": None})

    async def by_slug(self, request: web.Request) -> web.Response:
        return self._one([market for market in self._venue.engine.markets if market.slug == request.match_info["slug"]])

    async def by_id(self, request: web.Request) -> web.Response:
        return self._one([market for market in self._venue.engine.markets if market.id == request.match_info["id"]])

    def _one(self, found: Sequence[Market]) -> web.Response:
        if not found:
            raise BadRequest("id not found", 404)
        return reply(self._row(found[0]))

    def _found(self, request: web.Request) -> list[Market]:
        """The markets that every given filter names; closed ones do not exist here."""
        if request.query.get("closed") == "true":
            return []
        asked = {name: set(request.query.getall(name, [])) for name in ("id", "slug", "condition_ids", "clob_token_ids")}
        return [market for market in self._venue.engine.markets if _is_asked(market, asked)][: _limit(request)]

    def _row(self, market: Market) -> Json:
        book = self._venue.engine.books[market.condition_id]
        best_bid, best_ask = book.best_bid(0) or 0, book.best_ask(0) or PRICE_ONE
        mid = (best_bid + best_ask) // 2
        price, _ = self._venue.announcer.last_trade(market.token_ids[0])
        return {
            "id": market.id,
            "version": "v1",
            "question": market.question,
            "conditionId": market.condition_id,
            "slug": market.slug,
            "outcomes": _text(market.outcomes),
            "outcomePrices": _text([price_text(mid), price_text(PRICE_ONE - mid)]),
            "active": True,
            "closed": False,
            "archived": False,
            "restricted": False,
            "questionID": market.question_id,
            "enableOrderBook": True,
            "orderPriceMinTickSize": number(price_text(market.tick)),
            "orderMinSize": market.min_shares // 1_000_000,
            "clobTokenIds": _text(market.token_ids),
            "acceptingOrders": True,
            "negRisk": False,
            "spread": number(price_text(best_ask - best_bid)),
            "bestBid": number(price_text(best_bid)),
            "bestAsk": number(price_text(best_ask)),
            "lastTradePrice": number(price),
            "feesEnabled": market.fee_rate > 0,
            "events": [{"id": market.id, "slug": market.event_slug, "title": market.question}],
        }


def _text(values: Sequence[str]) -> str:
    """Gamma writes these lists as JSON inside a string."""
    return orjson.dumps(values).decode()


def _is_asked(market: Market, asked: dict[str, set[str]]) -> bool:
    own = {"id": {market.id}, "slug": {market.slug}, "condition_ids": {market.condition_id}, "clob_token_ids": set(market.token_ids)}
    return all(not wanted or wanted & own[name] for name, wanted in asked.items())


def _limit(request: web.Request) -> int:
    limit = request.query.get("limit", "100")
    if not limit.isdecimal():
        raise BadRequest("limit must be a number", 422)
    return int(limit)
