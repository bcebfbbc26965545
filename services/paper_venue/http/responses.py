"""How does the venue answer over HTTP, and how do its refusals look?"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from services.paper_venue.http.auth import Denied
from services.paper_venue.http.requests import BadRequest
from shared.domain.errors import Transient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HEADERS = web.RequestKey("told", dict[str, str])


def reply(payload: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(payload), status=status, content_type="application/json")


def refuse(text: str, status: int = 400) -> web.Response:
    return reply({"error": text}, status)


def set_reply_headers(request: web.Request, headers: dict[str, str]) -> None:
    """Whatever becomes of the request, its answer carries these headers; what was told before is
    replaced.
    """
    request[_HEADERS] = headers


@web.middleware
async def refusal_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal has the venue's shape, whichever way it was raised."""
    answer = await _answer(request, handler)
    answer.headers.update(request.get(_HEADERS, {}))
    return answer


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequest as error:
        return refuse(error.text, error.status)
    except Denied as error:
        return refuse(str(error), 401)
    except Transient as error:
        return refuse(f"the chain cannot be asked now: {error}", 503)
