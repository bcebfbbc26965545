"""``/control/tick`` and ``/control/resolve``: changes to a market while the venue runs."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Protocol

from aiohttp import web

from services.paper_venue.exchange.orders import PRICE_ONE
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply
from services.paper_venue.lifecycle.venue import Venue

OUTCOMES: Mapping[str, tuple[int, int]] = {"yes": (1, 0), "no": (0, 1), "split": (1, 1)}
"""The resolutions of a market, as payout numerators of YES and NO."""
TICKS = ("0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001")


class Resolver(Protocol):
    """Resolves markets on the chain."""

    async def resolve(self, condition_id: str, yes: int, no: int) -> Mapping[str, tuple[int, int]]:
        """Report a market's payouts, and those of other markets that follow from them.

        Returns the payout numerators (yes, no) of all of them by condition id. Raises:
        TransactionReverted, Transient.
        """
        ...


class MarketsApi:
    """Gives markets a finer tick, and resolves them."""

    def __init__(self, venue: Venue, resolver: Resolver, *, now_ms: Callable[[], int]) -> None:
        self._venue = venue
        self._resolver = resolver
        self._now_ms = now_ms

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/control/tick", self.tick),
            web.post("/control/resolve", self.resolve),
        ]

    async def tick(self, request: web.Request) -> web.Response:
        body = await _parse_body(request)
        if body.get("tick") not in TICKS:
            raise BadRequest(f"tick must be one of {', '.join(TICKS)}, as text")
        condition_id, tick = self._parse_market(body), int(Decimal(body["tick"]) * PRICE_ONE)
        if tick >= self._venue.engine.market_by_condition[condition_id].tick:
            raise BadRequest(
                "a tick only becomes finer: resting orders would be off the new grid", 409
            )
        self._venue.on_tick_size_changed(condition_id, tick, now_ms=self._now_ms())
        return reply({"condition_id": condition_id, "tick": body["tick"]})

    async def resolve(self, request: web.Request) -> web.Response:
        """Resolve on the chain first: when the venue publishes it, everybody can redeem."""
        body = await _parse_body(request)
        if body.get("outcome") not in OUTCOMES:
            raise BadRequest(f"outcome must be one of {', '.join(OUTCOMES)}")
        condition_id, (yes, no) = self._parse_market(body), OUTCOMES[body["outcome"]]
        if (
            body["outcome"] == "split"
            and self._venue.engine.market_by_condition[condition_id].neg_risk
        ):
            raise BadRequest("a market of a neg-risk event ends as yes or no")
        payouts = await self._resolver.resolve(condition_id, yes, no)
        for resolved, (of_yes, of_no) in payouts.items():
            self._venue.on_market_resolved(resolved, of_yes, of_no, now_ms=self._now_ms())
        return reply(
            {
                "resolved": {
                    resolved: {"yes": of_yes, "no": of_no}
                    for resolved, (of_yes, of_no) in payouts.items()
                }
            }
        )

    def _parse_market(self, body: Json) -> str:
        """The condition id of an open market. Raises: BadRequest."""
        condition_id = str(body.get("condition_id"))
        engine = self._venue.engine
        if (
            condition_id not in engine.market_by_condition
            or engine.resolution(condition_id) is not None
        ):
            raise BadRequest(
                "condition_id must be that of an open market: /control/world lists all markets"
            )
        return condition_id


async def _parse_body(request: web.Request) -> dict[str, Any]:
    body = parse_json(await request.read())
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body
