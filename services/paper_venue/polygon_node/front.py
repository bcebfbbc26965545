"""One HTTP address of a node: carries JSON-RPC, and what goes wrong on the way."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from services.paper_venue.polygon_node import refusals, views
from services.paper_venue.polygon_node.control import Control
from services.paper_venue.polygon_node.faults import RpcFault, RpcFaults
from services.paper_venue.polygon_node.reader import Reader
from services.paper_venue.polygon_node.refusals import Refused
from shared.domain.errors import Transient

if TYPE_CHECKING:
    from services.paper_venue.polygon_node.node import PolygonNode

Json = dict[str, Any]

PARSE_ERROR = -32700
TOO_MANY_REQUESTS = "Too Many Requests"
TEXT_ERROR = "upstream connect error or disconnect/reset before headers"
JSON_TEXT_ERROR = "internal error"
MAX_BODY = 2**26


class Front:
    """A provider's address. ``faults`` are its own."""

    def __init__(self, node: "PolygonNode", faults: RpcFaults) -> None:
        self.faults = faults
        self.url = ""
        self._reader = Reader(node, faults)
        self._control = Control(node, faults)

    async def start(self, *, host: str, port: int, closing: AsyncExitStack) -> None:
        """Serve until ``closing`` closes. Raises: OSError where the port is taken."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/{path:.*}", self._handle)
        # Cancelled with its connection: an answer that never comes ends when the client gives up.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, host, port).start()
        self.url = f"http://{host}:{runner.addresses[0][1]}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return _reply(_build_error(None, "parse error", PARSE_ERROR))
        calls = body if isinstance(body, list) else [body]
        methods = [str(each.get("method")) for each in calls if isinstance(each, dict)]
        if methods and all(each in self._control.handlers for each in methods):
            return _reply(await self._answer_all(body))
        refusal = self._refuse(request, calls, methods)
        if refusal is not None:
            return refusal
        # Shielded: a client that gives up does not undo what it has asked for.
        answers = await asyncio.shield(asyncio.ensure_future(self._answer_all(body)))
        return await self._deliver(request, answers, methods)

    def _refuse(
        self, request: web.Request, calls: Sequence[Any], methods: Sequence[str]
    ) -> web.StreamResponse | None:
        """What is answered without handling the request; None: it is handled."""
        strike = self.faults.trigger
        limit = self.faults.find_limit(RpcFault.BATCH_LIMIT, *methods)
        if limit is not None and len(calls) > limit:
            strike(RpcFault.BATCH_LIMIT, *methods)
            text = f"batch limit {limit} exceeded"
            return _reply(_build_error(None, text, refusals.INVALID_REQUEST))
        if strike(RpcFault.CLOSED_BEFORE, *methods):
            return _close_connection(request)
        if strike(RpcFault.RATE_LIMITED, *methods):
            error = _build_error(None, TOO_MANY_REQUESTS, HTTPStatus.TOO_MANY_REQUESTS)
            return _reply(error, HTTPStatus.TOO_MANY_REQUESTS)
        if strike(RpcFault.TEXT_BODY, *methods):
            return web.Response(text=TEXT_ERROR, status=HTTPStatus.SERVICE_UNAVAILABLE)
        if strike(RpcFault.JSON_TEXT_BODY, *methods):
            error = _build_error(None, JSON_TEXT_ERROR, refusals.UPSTREAM_AWAY)
            return _reply(json.dumps(error["error"]))
        return None

    async def _deliver(
        self, request: web.Request, answers: Any, methods: Sequence[str]
    ) -> web.StreamResponse:
        delay = self.faults.trigger(RpcFault.DELAY, *methods)
        if delay is not None:
            await asyncio.sleep(float(delay.seconds))
        if self.faults.trigger(RpcFault.CLOSED_AFTER, *methods):
            return _close_connection(request)
        if self.faults.trigger(RpcFault.NO_ANSWER, *methods):
            await asyncio.Event().wait()
        return _reply(answers)

    async def _answer_all(self, body: Any) -> Any:
        if isinstance(body, list):
            return [await self._answer(call) for call in body]
        return await self._answer(body)

    async def _answer(self, call: Any) -> Json:
        if not isinstance(call, Mapping) or not isinstance(call.get("method"), str):
            return _build_error(None, "invalid request", refusals.INVALID_REQUEST)
        number, method, params = call.get("id"), call["method"], call.get("params") or []
        try:
            handler = self._control.handlers.get(method)
            result = await handler(params) if handler else await self._answer_chain(method, params)
        except Refused as error:
            return {"jsonrpc": "2.0", "id": number, "error": error.build_error()}
        except Transient as error:
            return _build_error(number, str(error), refusals.UPSTREAM_AWAY)
        return {"jsonrpc": "2.0", "id": number, "result": result}

    async def _answer_chain(self, method: str, params: Sequence[Any]) -> Any:
        is_finality = method == "eth_getBlockByNumber" and views.names_tag(
            params, views.FINALITY_TAGS
        )
        if is_finality and self.faults.trigger(RpcFault.FINALIZED_NULL, method):
            return None
        return await self._reader.answer(method, params)


def _build_error(number: Any, text: str, code: int) -> Json:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}


def _reply(body: Any, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def _close_connection(request: web.Request) -> web.Response:
    """End the connection without an answer; what is returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
