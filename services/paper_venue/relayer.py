"""Which contract wallets stand on the chain? The one question that a client asks the relayer before it trades from a Safe."""

from aiohttp import web

from services.paper_venue.handler import ChainView
from services.paper_venue.requests import BadRequest
from services.paper_venue.responses import reply


class Relayer:
    """The relayer's ``/deployed``; it submits nothing."""

    def __init__(self, chain: ChainView) -> None:
        self._chain = chain

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/deployed", self.deployed)]

    async def deployed(self, request: web.Request) -> web.Response:
        address = request.query.get("address")
        if not address:
            raise BadRequest("address is missing")
        return reply({"deployed": await self._chain.owner_of(address) is not None})
