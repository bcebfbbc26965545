"""Pages of the Data API: parses a request's page, cuts it out, and builds the cursor of the next.

A cursor names the last row of its page, never an offset: rows that are added meanwhile neither
repeat nor hide others.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from aiohttp import web

from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest

T = TypeVar("T")

_DEFAULT_LIMIT = 100
_MAX_LIMIT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``after``: the sort key of the previous page's last row; None: this is the first page.
    ``pins``: what the first page's request chose, by parameter.
    """

    limit: int
    after: list[Any] | None
    pins: Json


def parse_page(request: web.Request, endpoint: str) -> Page:
    """Parse the page of a request. The first page's limit holds for all that follow.

    Raises: BadRequest.
    """
    if "offset" in request.query:
        raise BadRequest("offset is not supported, use cursor")
    text = request.query.get("cursor")
    if text is None:
        return Page(limit=_parse_limit(request), after=None, pins={})
    try:
        cursor = orjson.loads(base64.urlsafe_b64decode(text))
        if cursor["type"] != endpoint:
            raise BadRequest("invalid cursor")
        return Page(
            limit=int(cursor["limit"]), after=list(cursor["after"]), pins=dict(cursor["pins"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest("invalid cursor") from error


def _parse_limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_DEFAULT_LIMIT))
    if not text.isascii() or not text.isdecimal() or int(text) > _MAX_LIMIT:
        raise BadRequest(f"limit must be between 0 and {_MAX_LIMIT}")
    return int(text)


def take_page(
    rows: Iterable[T],
    page: Page,
    *,
    endpoint: str,
    key: Callable[[T], Sequence[Any]],
    pins: Json | None = None,
) -> tuple[list[T], Json]:
    """The page's rows, and its ``pagination`` field. ``rows`` are those after the page's cursor;
    ``key``: a row's sort key.
    """
    taken: list[T] = []
    has_more = False
    for row in rows:
        if has_more := len(taken) >= page.limit:
            break
        taken.append(row)
    has_more = has_more and bool(taken)
    cursor = (
        {"type": endpoint, "limit": page.limit, "after": list(key(taken[-1])), "pins": pins or {}}
        if has_more
        else None
    )
    text = None if cursor is None else base64.urlsafe_b64encode(orjson.dumps(cursor)).decode()
    return taken, {"limit": page.limit, "offset": 0, "has_more": has_more, "next_cursor": text}
