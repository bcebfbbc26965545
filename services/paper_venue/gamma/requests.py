"""Parses query strings to Gamma into filters.

A parameter that this catalogue cannot filter by is refused, not ignored.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web

from services.paper_venue.exchange.orders import condition_key
from services.paper_venue.gamma.rows import MarketState, tag_id
from services.paper_venue.http.requests import BadRequest

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 500
_PAGING: Final = frozenset({"limit", "offset", "after_cursor", "ascending", "order", "closed"})
_TAGS: Final = frozenset({"include_tag"})
_IGNORED: Final = frozenset(
    {
        "archived",
        "active",
        "locale",
        "decimalized",
        "include_chat",
        "include_template",
        "include_children",
    }
    | {"include_best_lines", "related_tags", "tag_match"}
)
"""Parameters without effect: every market here has the same value, or none has what they add."""


def _unchanged(value: str) -> str:
    return value


@dataclass(frozen=True, slots=True)
class Filter:
    """The values of a market that a parameter is compared with, and how the parameter is parsed."""

    values: Callable[[MarketState], Sequence[str]]
    parse: Callable[[str], str] = _unchanged


MARKET_FILTERS: Final = {
    "id": Filter(lambda state: [state.market.id]),
    "slug": Filter(lambda state: [state.market.slug]),
    "condition_ids": Filter(
        lambda state: [condition_key(state.market.condition_id)], condition_key
    ),
    "clob_token_ids": Filter(lambda state: state.market.token_ids),
    "position_ids": Filter(lambda state: state.market.token_ids),
    "question_ids": Filter(lambda state: [state.market.question_id]),
    "request_ids": Filter(lambda state: [condition_key(state.market.condition_id)], condition_key),
    "version": Filter(lambda state: [state.market.version]),
    "uma_resolution_status": Filter(lambda state: ["resolved"] if state.is_closed else []),
    "resolution_status": Filter(lambda state: ["resolved" if state.is_closed else "active"]),
    "tag_id": Filter(lambda state: list(map(tag_id, state.market.tags))),
}
EVENT_FILTERS: Final = {
    "id": Filter(lambda state: [state.event_id]),
    "slug": Filter(lambda state: [state.market.event_slug or state.market.slug]),
    "version": Filter(lambda state: [state.market.version]),
    "tag_id": Filter(lambda state: list(map(tag_id, state.market.tags))),
    "tag_slug": Filter(lambda state: state.market.tags),
    "series_id": Filter(lambda _: []),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The requested rows, their order and page. ``closed``: only resolved ones, else only open."""

    requested: dict[str, frozenset[str]]
    filters: dict[str, Filter]
    closed: bool
    ascending: bool
    limit: int
    offset: int
    after: int | None
    with_tags: bool
    """Whether the rows of markets have their tags; those of events always have them."""

    @classmethod
    def parse(cls, request: web.Request, filters: dict[str, Filter]) -> Self:
        """Raises: BadRequest."""
        unsupported = set(request.query) - set(filters) - _PAGING - _TAGS - _IGNORED
        if unsupported:
            raise BadRequest(
                f"the paper venue cannot filter by {', '.join(sorted(unsupported))}", 422
            )
        if request.query.get("order", "id") != "id":
            raise BadRequest("the paper venue can only order by id", 422)
        return cls(
            requested={
                name: _parse_values(request, name, each)
                for name, each in filters.items()
                if name in request.query
            },
            filters=filters,
            closed=request.query.get("closed", "false").lower() == "true",
            ascending=request.query.get("ascending", "true").lower() != "false",
            limit=_parse_whole_number(request, "limit", _DEFAULT_LIMIT, maximum=_MAX_LIMIT),
            offset=_parse_whole_number(request, "offset", 0, maximum=10**9),
            after=_parse_cursor(request),
            with_tags=request.query.get("include_tag", "false").lower() == "true",
        )

    def matches(self, state: MarketState) -> bool:
        return all(
            values & set(self.filters[name].values(state))
            for name, values in self.requested.items()
        )

    def is_after_cursor(self, number: int) -> bool:
        """Whether a row with this id comes after the cursor."""
        return self.after is None or (
            number > self.after if self.ascending else number < self.after
        )


def build_cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"id:{number}".encode()).decode()


def _parse_cursor(request: web.Request) -> int | None:
    text = request.query.get("after_cursor")
    if text is None:
        return None
    try:
        return int(base64.urlsafe_b64decode(text).decode().removeprefix("id:"))
    except ValueError as error:
        raise BadRequest("invalid after_cursor", 422) from error


def _parse_values(request: web.Request, name: str, chosen: Filter) -> frozenset[str]:
    """The values of a parameter: it may be repeated, or list them with commas."""
    return frozenset(
        chosen.parse(part.strip())
        for text in request.query.getall(name)
        for part in text.split(",")
    )


def _parse_whole_number(request: web.Request, name: str, default: int, *, maximum: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdecimal():
        raise BadRequest(f"{name} must be a number", 422)
    return min(int(text), maximum)
