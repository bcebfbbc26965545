"""JSON replies over HTTP, and the middleware that turns exceptions into refusals."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from services.paper_venue.http.auth import Denied
from services.paper_venue.http.requests import BadRequest
from shared.domain.errors import Transient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HEADERS = web.RequestKey("reply_headers", dict[str, str])


def reply(payload: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(payload), status=status, content_type="application/json")


def refuse(text: str, status: int = 400) -> web.Response:
    return reply({"error": text}, status)


def set_reply_headers(request: web.Request, headers: dict[str, str]) -> None:
    """Add headers to the request's reply, also if it is refused; replaces those set before."""
    request[_HEADERS] = headers


@web.middleware
async def refusal_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every refusal the venue's shape, whichever exception raised it."""
    response = await _respond(request, handler)
    response.headers.update(request.get(_HEADERS, {}))
    return response


async def _respond(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequest as error:
        return refuse(error.text, error.status)
    except Denied as error:
        return refuse(str(error), 401)
    except Transient as error:
        return refuse(f"the chain node is not available: {error}", 503)
