"""What becomes of a request on its way in, and of its answer on the way out, while a fault is on?"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from services.paper_venue.exchange import rules
from services.paper_venue.faults.catalogue import Fault, Faults, Strike
from services.paper_venue.faults.gate import Call, Gate, Refusal, wanted_orders
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.responses import Handler, refuse, reply

_NO_LINGERING = struct.pack("ii", 1, 0)
_APART = ("/control/", "/ws/", "/rtds", "/api/")
"""Not the CLOB's."""


class Interference:
    """A middleware outside of all others: it sees requests as they come and answers as they would
    go.
    """

    def __init__(
        self,
        faults: Faults,
        *,
        now_ms: Callable[[], int],
        machine_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._faults = faults
        self._gate = Gate(faults)
        self._now_ms = now_ms
        self._machine_ms = machine_ms
        self._sleep = sleep

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/geoblock", self.geoblock)]

    async def geoblock(self, request: web.Request) -> web.Response:
        blocked = Fault.GEOBLOCK in self._faults.active
        country, region = ("US", "NY") if blocked else ("IE", "L")
        answer: Json = {
            "blocked": blocked,
            "country": country,
            "region": region,
            "ip": request.remote,
        }
        return reply(answer)

    @web.middleware
    async def meddle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._faults.active or request.path.startswith(_APART):
            return await handler(request)
        call = await _call(request)
        refusal = self._gate.refusal(call, now_ms=self._now_ms(), machine_ms=self._machine_ms())
        if refusal is not None:
            return _answer(refusal)
        return await (self._place(call, request, handler) if call.places else handler(request))

    async def _place(
        self, call: Call, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if self._strikes(Fault.RESET_BEFORE, call):
            return _hang_up(request, reset=True)
        if self._strikes(Fault.ORDER_TIMED_OUT, call):
            return refuse(rules.TIMED_OUT, 500)
        if (refused := self._strikes(Fault.ORDER_REFUSED, call)) is not None:
            return refuse(refused.text, rules.status_of(refused.text))
        answer = await handler(request)
        if answer.status != 200:
            return answer
        if self._strikes(Fault.REPEATED_REQUEST, call):
            answer = await handler(request)
        if (late := self._strikes(Fault.LATE_REPLY, call)) is not None:
            await self._sleep(float(late.seconds))
        return _hang_up(request, reset=False) if self._strikes(Fault.DROP_REPLY, call) else answer

    def _strikes(self, fault: Fault, call: Call) -> Strike | None:
        return self._faults.strike(fault, wallet=call.maker, signer=call.address)


async def _call(request: web.Request) -> Call:
    return Call(
        method=request.method,
        path=request.path,
        remote=request.remote or "",
        address=request.headers.get("POLY_ADDRESS"),
        orders=wanted_orders(await request.read()) if request.method == "POST" else (),
    )


def _answer(refusal: Refusal) -> web.Response:
    answer = reply(refusal.body, refusal.status)
    answer.headers.update(refusal.headers)
    return answer


def _hang_up(request: web.Request, *, reset: bool) -> web.Response:
    """End the connection without an answer; what is returned goes nowhere. A reset is seen as such:
    nothing is left to linger.
    """
    transport = request.transport
    if transport is not None and reset:
        line: socket.socket = transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()
