"""Rewards, rebates, order scoring and notifications.

This venue pays none and sends none: every reply is the empty one that the clients can parse.
"""

from aiohttp import web

from services.paper_venue.clob.authenticator import Authenticator
from services.paper_venue.clob.pagination import build_page
from services.paper_venue.clob.requests import parse_order_ids
from services.paper_venue.exchange import rules
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply

_PAGE_SIZE = 100


class Rewards:
    """Public lists of what is rewarded, and an API key's lists of what was paid."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/rewards/markets/current", self.public_page),
            web.get("/rewards/markets/multi", self.public_page),
            web.get("/rewards/markets/{condition_id}", self.public_page),
            web.get("/rebates/current", self.public_list),
            web.get("/rewards/user", self.private_page),
            web.get("/rewards/user/markets", self.private_page),
            web.get("/rewards/user/total", self.private_list),
            web.get("/rewards/user/percentages", self.percentages),
            web.get("/notifications", self.private_list),
            web.delete("/notifications", self.drop_notifications),
            web.get("/order-scoring", self.is_scoring),
            web.post("/orders-scoring", self.are_scoring),
        ]

    async def public_page(self, request: web.Request) -> web.Response:
        return reply(build_page([], request.query.get("next_cursor"), limit=_PAGE_SIZE))

    async def public_list(self, _: web.Request) -> web.Response:
        return reply([])

    async def private_page(self, request: web.Request) -> web.Response:
        await self._authenticator.authenticate_key(request)
        return await self.public_page(request)

    async def private_list(self, request: web.Request) -> web.Response:
        await self._authenticator.authenticate_key(request)
        return reply([])

    async def percentages(self, request: web.Request) -> web.Response:
        await self._authenticator.authenticate_key(request)
        return reply({})

    async def drop_notifications(self, request: web.Request) -> web.Response:
        await self._authenticator.authenticate_key(request)
        return reply("OK")

    async def is_scoring(self, request: web.Request) -> web.Response:
        await self._authenticator.authenticate_key(request)
        if not request.query.get("order_id"):
            raise BadRequest(rules.INVALID_PAYLOAD)
        return reply({"scoring": False})

    async def are_scoring(self, request: web.Request) -> web.Response:
        await self._authenticator.authenticate_key(request)
        return reply(dict.fromkeys(parse_order_ids(parse_json(await request.read())), False))
