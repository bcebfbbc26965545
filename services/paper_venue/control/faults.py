"""``/control/faults``: which faults are on, and turning them on and off."""

from collections.abc import Callable
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply


class FaultsApi:
    """Shows and changes the venue's faults. ``machine_ms``: a clock that no fault moves."""

    def __init__(self, faults: Faults, *, machine_ms: Callable[[], int]) -> None:
        self._faults = faults
        self._machine_ms = machine_ms

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/control/faults", self.faults),
            web.put("/control/faults", self.set_faults),
            web.patch("/control/faults", self.change_faults),
            web.delete("/control/faults", self.clear_faults),
        ]

    async def faults(self, _: web.Request) -> web.Response:
        return reply(self._build_state())

    async def set_faults(self, request: web.Request) -> web.Response:
        """Turn these on and all others off; their strikes are counted from 0 again."""
        requested = parse_faults(parse_json(await request.read()))
        self._faults.set(
            {fault: strike for fault, strike in requested.items() if strike is not None},
            now_ms=self._machine_ms(),
        )
        return reply(self._build_state())

    async def change_faults(self, request: web.Request) -> web.Response:
        """Turn these on anew, or off where null; all others stay as they are."""
        requested = parse_faults(parse_json(await request.read()))
        self._faults.change(requested, now_ms=self._machine_ms())
        return reply(self._build_state())

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._faults.set({}, now_ms=self._machine_ms())
        return reply(self._build_state())

    def _build_state(self) -> Json:
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


def parse_faults(body: Any) -> dict[Fault, FaultOptions | None]:
    """Parse faults by name, each with its strike; None: off.

    Raises: BadRequest, saying what is allowed.
    """
    if not isinstance(body, dict):
        raise BadRequest(
            "the body must be a JSON object of faults by name,"
            ' such as {"drop-reply": {"share": "0.2"}}'
        )
    return {
        _parse_fault(name): None if strike is None else _parse_strike(name, strike)
        for name, strike in body.items()
    }


def _parse_fault(name: Any) -> Fault:
    try:
        return Fault(name)
    except ValueError as error:
        raise BadRequest(f"there is no fault {name!r}; there are {', '.join(Fault)}") from error


def _parse_strike(name: str, fields: Any) -> FaultOptions:
    try:
        return FaultOptions.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            ": ".join((*map(str, each["loc"]), each["msg"])) for each in error.errors()
        )
        raise BadRequest(
            f"{name}: {problems} (a strike may have {', '.join(FaultOptions.model_fields)})"
        ) from error
