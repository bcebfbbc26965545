"""Which part of a list is asked for? A cursor is the base64 of an offset: ``MA==`` is the start,
``LTE=`` (-1) the end.
"""

import base64
from collections.abc import Iterable
from itertools import islice

from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest

_END = "LTE="


def build_page(rows: Iterable[Json], cursor: str | None, *, limit: int) -> Json:
    """One page in the venue's envelope. Raises: BadRequest when it is no cursor."""
    offset = _offset(cursor)
    found = list(islice(rows, offset, offset + limit + 1)) if offset >= 0 else []
    following = (
        base64.b64encode(str(offset + limit).encode()).decode() if len(found) > limit else _END
    )
    return {
        "data": found[:limit],
        "next_cursor": following,
        "limit": limit,
        "count": len(found[:limit]),
    }


def _offset(cursor: str | None) -> int:
    try:
        return int(base64.b64decode(cursor or "MA==", validate=True))
    except ValueError as error:
        raise BadRequest("Invalid cursor") from error
