"""Which page of a list is asked for, and how is the next one named?

A cursor names the last row of its page, never a distance: rows that come in meanwhile neither
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
    """``after``: the sort key of the last row of the page before; None: the first page. ``pins``:
    what the cursor's first request chose.
    """

    limit: int
    after: list[Any] | None
    pins: Json


def asked_page(request: web.Request, endpoint: str) -> Page:
    """The limit of a cursor's first page holds for all that follow. Raises: BadRequest."""
    if "offset" in request.query:
        raise BadRequest("offset is not supported, use cursor")
    text = request.query.get("cursor")
    if text is None:
        return Page(limit=_limit(request), after=None, pins={})
    try:
        cursor = orjson.loads(base64.urlsafe_b64decode(text))
        if cursor["type"] != endpoint:
            raise BadRequest("invalid cursor")
        return Page(
            limit=int(cursor["limit"]), after=list(cursor["after"]), pins=dict(cursor["pins"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest("invalid cursor") from error


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_DEFAULT_LIMIT))
    if not text.isascii() or not text.isdecimal() or int(text) > _MAX_LIMIT:
        raise BadRequest(f"limit must be between 0 and {_MAX_LIMIT}")
    return int(text)


def cut(
    rows: Iterable[T],
    page: Page,
    *,
    endpoint: str,
    key: Callable[[T], Sequence[Any]],
    pins: Json | None = None,
) -> tuple[list[T], Json]:
    """The page's rows out of those that follow its cursor, and its ``pagination``. ``has_more`` is
    exact.
    """
    found: list[T] = []
    has_more = False
    for row in rows:
        if has_more := len(found) >= page.limit:
            break
        found.append(row)
    has_more = has_more and bool(found)
    cursor = (
        {"type": endpoint, "limit": page.limit, "after": list(key(found[-1])), "pins": pins or {}}
        if has_more
        else None
    )
    text = None if cursor is None else base64.urlsafe_b64encode(orjson.dumps(cursor)).decode()
    return found, {"limit": page.limit, "offset": 0, "has_more": has_more, "next_cursor": text}
