"""The HTTP middleware that injects faults into requests to the CLOB and their replies."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from services.paper_venue.exchange import rules
from services.paper_venue.faults.account_faults import AccountFaults
from services.paper_venue.faults.books import ERROR_BY_PATH, LEVEL_FAULTS, with_other_levels
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.faults.gate import ClobRequest, Gate, Refusal, parse_order_summaries
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.responses import Handler, refuse, reply

_NO_LINGERING = struct.pack("ii", 1, 0)
"""``SO_LINGER`` on, for 0 seconds: closing sends a reset."""
INTERNAL_ERROR = "internal server error"
"""The text is ours."""
_EXCLUDED_PATHS = ("/control/", "/ws/", "/rtds", "/api/")
"""Paths that are not the CLOB's."""


class FaultMiddleware:
    """The outermost middleware: it sees requests as received and replies as they would be sent."""

    def __init__(
        self,
        faults: Faults,
        keys: ApiKeyStore,
        *,
        now_ms: Callable[[], int],
        machine_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._faults = faults
        self._gate = Gate(faults)
        self._accounts = AccountFaults(faults, keys)
        self._now_ms = now_ms
        self._machine_ms = machine_ms
        self._sleep = sleep

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/geoblock", self.geoblock)]

    async def geoblock(self, request: web.Request) -> web.Response:
        blocked = Fault.GEOBLOCK in self._faults.active
        country, region = ("US", "NY") if blocked else ("IE", "L")
        body: Json = {
            "blocked": blocked,
            "country": country,
            "region": region,
            "ip": request.remote,
        }
        return reply(body)

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._faults.active or request.path.startswith(_EXCLUDED_PATHS):
            return await handler(request)
        clob_request = await _summarize(request)
        refusal = self._gate.refusal(
            clob_request, now_ms=self._now_ms(), machine_ms=self._machine_ms()
        ) or self._accounts.refusal(clob_request)
        if refusal is not None:
            return _refusal_reply(refusal)
        if clob_request.places_orders:
            return await self._handle_order(clob_request, request, handler)
        response = await self._answer(clob_request, request, handler)
        self._accounts.on_answered(clob_request, response.status)
        return response

    async def _answer(
        self, clob_request: ClobRequest, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if clob_request.method == "GET" and clob_request.path in ERROR_BY_PATH:
            return await self._handle_price(clob_request, request, handler)
        return await handler(request)

    async def _handle_price(
        self, clob_request: ClobRequest, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if self._trigger(ERROR_BY_PATH[clob_request.path], clob_request):
            return refuse(INTERNAL_ERROR, 500)
        response = await handler(request)
        if clob_request.path != "/book" or not isinstance(response, web.Response):
            return response
        fault = next((each for each in LEVEL_FAULTS if self._trigger(each, clob_request)), None)
        return response if fault is None else with_other_levels(response, fault)

    async def _handle_order(
        self, clob_request: ClobRequest, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if self._trigger(Fault.RESET_BEFORE, clob_request):
            return _close_connection(request, reset=True)
        if self._trigger(Fault.ORDER_TIMED_OUT, clob_request):
            return refuse(rules.TIMED_OUT, 500)
        if (refused := self._trigger(Fault.ORDER_REFUSED, clob_request)) is not None:
            return refuse(refused.text, rules.http_status_for(refused.text))
        response = await handler(request)
        if response.status != 200:
            return response
        if self._trigger(Fault.REPEATED_REQUEST, clob_request):
            response = await handler(request)
        if (late := self._trigger(Fault.LATE_REPLY, clob_request)) is not None:
            await self._sleep(float(late.seconds))
        return (
            _close_connection(request, reset=False)
            if self._trigger(Fault.DROP_REPLY, clob_request)
            else response
        )

    def _trigger(self, fault: Fault, clob_request: ClobRequest) -> FaultOptions | None:
        return self._faults.trigger(fault, wallet=clob_request.maker, signer=clob_request.address)


async def _summarize(request: web.Request) -> ClobRequest:
    return ClobRequest(
        method=request.method,
        path=request.path,
        remote=request.remote or "",
        address=request.headers.get("POLY_ADDRESS"),
        api_key=request.headers.get("POLY_API_KEY", ""),
        query=dict(request.query),
        orders=parse_order_summaries(await request.read()) if request.method == "POST" else (),
    )


def _refusal_reply(refusal: Refusal) -> web.Response:
    response = (
        web.Response(text=refusal.page, status=refusal.status, content_type="text/html")
        if refusal.page
        else reply(refusal.body, refusal.status)
    )
    response.headers.update(refusal.headers)
    return response


def _close_connection(request: web.Request, *, reset: bool) -> web.Response:
    """Close the connection without a reply (the returned one is never sent); ``reset``: by a TCP
    reset.
    """
    transport = request.transport
    if transport is not None and reset:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()
