"""What becomes of a request on its way in, and of its answer on the way out, while a fault is on?"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from services.paper_venue.exchange import rules
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.faults.gate import ClobRequest, Gate, Refusal, parse_order_summaries
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.responses import Handler, refuse, reply

_NO_LINGERING = struct.pack("ii", 1, 0)
_EXCLUDED_PATHS = ("/control/", "/ws/", "/rtds", "/api/")
"""Not the CLOB's."""


class FaultMiddleware:
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
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._faults.active or request.path.startswith(_EXCLUDED_PATHS):
            return await handler(request)
        call = await _summarize(request)
        refusal = self._gate.refusal(call, now_ms=self._now_ms(), machine_ms=self._machine_ms())
        if refusal is not None:
            return _refusal_reply(refusal)
        return await (
            self._handle_order(call, request, handler) if call.places_orders else handler(request)
        )

    async def _handle_order(
        self, call: ClobRequest, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if self._trigger(Fault.RESET_BEFORE, call):
            return _close_connection(request, reset=True)
        if self._trigger(Fault.ORDER_TIMED_OUT, call):
            return refuse(rules.TIMED_OUT, 500)
        if (refused := self._trigger(Fault.ORDER_REFUSED, call)) is not None:
            return refuse(refused.text, rules.http_status_for(refused.text))
        answer = await handler(request)
        if answer.status != 200:
            return answer
        if self._trigger(Fault.REPEATED_REQUEST, call):
            answer = await handler(request)
        if (late := self._trigger(Fault.LATE_REPLY, call)) is not None:
            await self._sleep(float(late.seconds))
        return (
            _close_connection(request, reset=False)
            if self._trigger(Fault.DROP_REPLY, call)
            else answer
        )

    def _trigger(self, fault: Fault, call: ClobRequest) -> FaultOptions | None:
        return self._faults.trigger(fault, wallet=call.maker, signer=call.address)


async def _summarize(request: web.Request) -> ClobRequest:
    return ClobRequest(
        method=request.method,
        path=request.path,
        remote=request.remote or "",
        address=request.headers.get("POLY_ADDRESS"),
        orders=parse_order_summaries(await request.read()) if request.method == "POST" else (),
    )


def _refusal_reply(refusal: Refusal) -> web.Response:
    answer = reply(refusal.body, refusal.status)
    answer.headers.update(refusal.headers)
    return answer


def _close_connection(request: web.Request, *, reset: bool) -> web.Response:
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
