"""Builds pages of a list. A cursor is the base64 of an offset: ``MA==`` is the start, ``LTE=``
(-1) the end.
"""

import base64
from collections.abc import Iterable
from itertools import islice

from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest

_END = "LTE="


def build_page(rows: Iterable[Json], cursor: str | None, *, limit: int) -> Json:
    """One page in the venue's envelope; ``cursor`` None or empty: the first. Raises: BadRequest if
    the cursor is invalid.
    """
    offset = _parse_cursor(cursor)
    taken = list(islice(rows, offset, offset + limit + 1)) if offset >= 0 else []
    next_cursor = (
        base64.b64encode(str(offset + limit).encode()).decode() if len(taken) > limit else _END
    )
    return {
        "data": taken[:limit],
        "next_cursor": next_cursor,
        "limit": limit,
        "count": len(taken[:limit]),
    }


def _parse_cursor(cursor: str | None) -> int:
    try:
        return int(base64.b64decode(cursor or "MA==", validate=True))
    except ValueError as error:
        raise BadRequest("Invalid cursor") from error
