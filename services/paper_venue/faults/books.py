"""Replies with books and prices that a fault has spoiled."""

from collections.abc import Mapping

import orjson
from aiohttp import web

from services.paper_venue.faults.catalogue import Fault
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.responses import reply

ERROR_BY_PATH: Mapping[str, Fault] = {
    "/book": Fault.BOOK_ERROR,
    "/midpoint": Fault.MIDPOINT_ERROR,
    "/last-trade-price": Fault.LAST_TRADE_ERROR,
}
_SIZE = "1000"
_LEVELS_BY_FAULT: Mapping[Fault, tuple[str, str]] = {
    Fault.GHOST_BOOK: ("0.01", "0.99"),
    Fault.CROSSED_BOOK: ("0.6", "0.4"),
}
"""The only bid and the only ask."""
LEVEL_FAULTS = tuple(_LEVELS_BY_FAULT)


def with_other_levels(response: web.Response, fault: Fault) -> web.Response:
    """The reply to ``/book`` with the fault's levels instead of its own."""
    bid, ask = _LEVELS_BY_FAULT[fault]
    book: Json = orjson.loads(response.body or b"{}")  # type: ignore[arg-type]
    return reply(
        book | {"bids": [{"price": bid, "size": _SIZE}], "asks": [{"price": ask, "size": _SIZE}]}
    )
