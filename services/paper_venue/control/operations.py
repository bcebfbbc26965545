"""What can be done to this venue while it runs: faults on and off, ticks changed, markets resolved?"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Protocol

from aiohttp import web
from pydantic import ValidationError

from services.paper_venue.exchange.orders import PRICE_ONE
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply
from services.paper_venue.lifecycle.venue import Venue

OUTCOMES: Mapping[str, tuple[int, int]] = {"yes": (1, 0), "no": (0, 1), "split": (1, 1)}
"""How a market ends, as payout numerators of YES and NO."""
TICKS = ("0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001")


class Resolving(Protocol):
    """How markets end on the chain."""

    async def resolve(self, condition_id: str, yes: int, no: int) -> Mapping[str, tuple[int, int]]:
        """Report the payouts, and those that follow from them. Returns all by market. Raises:
        TransactionReverted, Transient.
        """
        ...


class Operation:
    """``/control/faults``, ``/control/tick`` and ``/control/resolve``."""

    def __init__(
        self,
        faults: Faults,
        venue: Venue,
        resolving: Resolving,
        *,
        now_ms: Callable[[], int],
        machine_ms: Callable[[], int],
    ) -> None:
        self._faults = faults
        self._venue = venue
        self._resolving = resolving
        self._now_ms = now_ms
        self._machine_ms = machine_ms

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/control/faults", self.faults),
            web.put("/control/faults", self.set_faults),
            web.patch("/control/faults", self.change_faults),
            web.delete("/control/faults", self.no_faults),
            web.post("/control/tick", self.tick),
            web.post("/control/resolve", self.resolve),
        ]

    async def faults(self, _: web.Request) -> web.Response:
        return reply(self._told())

    async def set_faults(self, request: web.Request) -> web.Response:
        """These and no others are on; how often each struck is counted anew."""
        asked = read_faults(parse_json(await request.read()))
        self._faults.set(
            {fault: strike for fault, strike in asked.items() if strike is not None},
            now_ms=self._machine_ms(),
        )
        return reply(self._told())

    async def change_faults(self, request: web.Request) -> web.Response:
        """These begin anew, or are off where null; all others stay as they are."""
        self._faults.change(
            read_faults(parse_json(await request.read())), now_ms=self._machine_ms()
        )
        return reply(self._told())

    async def no_faults(self, _: web.Request) -> web.Response:
        self._faults.set({}, now_ms=self._machine_ms())
        return reply(self._told())

    async def tick(self, request: web.Request) -> web.Response:
        asked = await self._asked(request)
        if asked.get("tick") not in TICKS:
            raise BadRequest(f"tick must be one of {', '.join(TICKS)}, as text")
        condition_id, tick = self._market(asked), int(Decimal(asked["tick"]) * PRICE_ONE)
        if tick >= self._venue.engine.market_by_condition[condition_id].tick:
            raise BadRequest(
                "a tick only becomes finer: orders that stand would lie off the grid", 409
            )
        self._venue.on_tick_size_changed(condition_id, tick, now_ms=self._now_ms())
        return reply({"condition_id": condition_id, "tick": asked["tick"]})

    async def resolve(self, request: web.Request) -> web.Response:
        """On the chain first: the venue tells what anybody can redeem by."""
        asked = await self._asked(request)
        if asked.get("outcome") not in OUTCOMES:
            raise BadRequest(f"outcome must be one of {', '.join(OUTCOMES)}")
        condition_id, (yes, no) = self._market(asked), OUTCOMES[asked["outcome"]]
        if (
            asked["outcome"] == "split"
            and self._venue.engine.market_by_condition[condition_id].neg_risk
        ):
            raise BadRequest("a market of a neg-risk event ends as yes or no")
        payouts = await self._resolving.resolve(condition_id, yes, no)
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

    async def _asked(self, request: web.Request) -> dict[str, Any]:
        asked = parse_json(await request.read())
        if not isinstance(asked, dict):
            raise BadRequest("the body must be a JSON object")
        return asked

    def _market(self, asked: Json) -> str:
        condition_id = str(asked.get("condition_id"))
        engine = self._venue.engine
        if (
            condition_id not in engine.market_by_condition
            or engine.resolution(condition_id) is not None
        ):
            raise BadRequest(
                "condition_id must be that of an open market: /control/world lists all"
            )
        return condition_id

    def _told(self) -> Json:
        active = {
            fault.value: strike.model_dump(mode="json", exclude_none=True)
            for fault, strike in self._faults.active.items()
        }
        return {
            "faults": active,
            "struck": {
                fault.value: self._faults.strike_counts[fault] for fault in self._faults.active
            },
        }


def read_faults(asked: Any) -> dict[Fault, FaultOptions | None]:
    """Faults by name, each with its strike; None: off. Raises: BadRequest, saying what is allowed."""
    if not isinstance(asked, dict):
        raise BadRequest(
            'the body must be a JSON object of faults by name, such as {"drop-reply": {"share": "0.2"}}'
        )
    return {
        _fault(name): None if strike is None else _strike(name, strike)
        for name, strike in asked.items()
    }


def _fault(name: Any) -> Fault:
    try:
        return Fault(name)
    except ValueError as error:
        raise BadRequest(f"there is no fault {name!r}; there are {', '.join(Fault)}") from error


def _strike(name: str, asked: Any) -> FaultOptions:
    try:
        return FaultOptions.model_validate(asked)
    except ValidationError as error:
        wrong = "; ".join(
            ": ".join((*map(str, each["loc"]), each["msg"])) for each in error.errors()
        )
        raise BadRequest(
            f"{name}: {wrong} (a strike may have {', '.join(FaultOptions.model_fields)})"
        ) from error
