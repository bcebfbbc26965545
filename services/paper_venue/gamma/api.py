"""Gamma's HTTP API: the catalogue of markets and events."""

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from services.paper_venue.exchange.book import Book
from services.paper_venue.exchange.market_groups import event_key, markets_by_event
from services.paper_venue.exchange.orders import PRICE_ONE, Market
from services.paper_venue.gamma.requests import (
    EVENT_FILTERS,
    MARKET_FILTERS,
    Selection,
    build_cursor,
)
from services.paper_venue.gamma.rows import MarketState, event_row, market_row, tag_rows
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest
from services.paper_venue.http.responses import reply
from services.paper_venue.lifecycle.venue import Venue

Event = Sequence[MarketState]
Events = Mapping[str, Event]
"""The markets of each event by the event's id, in the order of the markets."""


class GammaApi:
    """Serves markets of both versions, and the events that group them."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._engine = venue.engine

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/markets", self.markets),
            web.get("/markets/keyset", self.markets_keyset),
            web.get("/markets/slug/{slug}", self.market_by_slug),
            web.get("/markets/{id:[0-9]+}", self.market_by_id),
            web.get("/events", self.events),
            web.get("/events/keyset", self.events_keyset),
            web.get("/events/slug/{slug}", self.event_by_slug),
            web.get("/events/{id:[0-9]+}", self.event_by_id),
        ]

    async def markets(self, request: web.Request) -> web.Response:
        selection, events = Selection.parse(request, MARKET_FILTERS), self._events()
        page = _select_markets(events, selection)[selection.offset :][: selection.limit]
        return reply([_build_market(state, events, selection) for state in page])

    async def markets_keyset(self, request: web.Request) -> web.Response:
        selection, events = Selection.parse(request, MARKET_FILTERS), self._events()
        matching = [
            state
            for state in _select_markets(events, selection)
            if selection.is_after_cursor(int(state.market.id))
        ]
        page = matching[: selection.limit]
        next_cursor = (
            build_cursor(int(page[-1].market.id)) if page and len(matching) > len(page) else None
        )
        return reply(
            {
                "markets": [_build_market(state, events, selection) for state in page],
                "next_cursor": next_cursor,
            }
        )

    async def market_by_slug(self, request: web.Request) -> web.Response:
        return self._one_market(request, lambda market: market.slug == request.match_info["slug"])

    async def market_by_id(self, request: web.Request) -> web.Response:
        return self._one_market(request, lambda market: market.id == request.match_info["id"])

    async def events(self, request: web.Request) -> web.Response:
        selection = Selection.parse(request, EVENT_FILTERS)
        return reply(
            [
                _build_event(event)
                for event in _select_events(self._events(), selection)[selection.offset :][
                    : selection.limit
                ]
            ]
        )

    async def events_keyset(self, request: web.Request) -> web.Response:
        selection = Selection.parse(request, EVENT_FILTERS)
        matching = [
            event
            for event in _select_events(self._events(), selection)
            if selection.is_after_cursor(int(event[0].event_id))
        ]
        page = matching[: selection.limit]
        next_cursor = (
            build_cursor(int(page[-1][0].event_id)) if page and len(matching) > len(page) else None
        )
        return reply(
            {"events": [_build_event(event) for event in page], "next_cursor": next_cursor}
        )

    async def event_by_slug(self, request: web.Request) -> web.Response:
        return self._one_event(
            lambda event: event_key(event[0].market) == request.match_info["slug"]
        )

    async def event_by_id(self, request: web.Request) -> web.Response:
        return self._one_event(lambda event: event[0].event_id == request.match_info["id"])

    def _one_market(self, request: web.Request, matches: Callable[[Market], bool]) -> web.Response:
        selection, events = Selection.parse(request, {}), self._events()
        for state in _all_markets(events):
            if matches(state.market):
                return reply(_build_market(state, events, selection))
        raise BadRequest("id not found", 404)

    def _one_event(self, matches: Callable[[Event], bool]) -> web.Response:
        for event in self._events().values():
            if matches(event):
                return reply(_build_event(event))
        raise BadRequest("id not found", 404)

    def _events(self) -> Events:
        by_event = markets_by_event(self._engine.markets)
        return {
            number: [self._state(market, number) for market in markets]
            for number, markets in by_event.items()
        }

    def _state(self, market: Market, event: str) -> MarketState:
        book = self._engine.books[market.condition_id]
        price, _ = self._venue.publisher.last_trade(market.token_ids[0])
        return MarketState(
            market=market,
            event_id=event,
            best_bid=book.best_bid(0),
            best_ask=book.best_ask(0),
            last_price=price,
            liquidity=_liquidity(book),
            payouts=self._engine.resolution(market.condition_id),
        )


def _liquidity(book: Book) -> int:
    """The value of all resting orders at their own prices, in micro-USDC."""
    return sum(level.price * level.shares for level in (*book.bids(0), *book.asks(0))) // PRICE_ONE


def _all_markets(events: Events) -> list[MarketState]:
    return [state for event in events.values() for state in event]


def _select_markets(events: Events, selection: Selection) -> list[MarketState]:
    """The matching markets in the requested order; resolved ones only if requested."""
    matching = [
        state
        for state in _all_markets(events)
        if state.is_closed == selection.closed and selection.matches(state)
    ]
    return sorted(matching, key=lambda state: int(state.market.id), reverse=not selection.ascending)


def _select_events(events: Events, selection: Selection) -> list[Event]:
    """The matching events in the requested order. An event is closed when all its markets are."""
    matching = [
        event
        for event in events.values()
        if all(state.is_closed for state in event) == selection.closed
        and any(selection.matches(state) for state in event)
    ]
    return sorted(
        matching, key=lambda event: int(event[0].event_id), reverse=not selection.ascending
    )


def _build_market(state: MarketState, events: Events, selection: Selection) -> Json:
    tags = {"tags": tag_rows([state])} if selection.with_tags else {}
    return market_row(state) | tags | {"events": [event_row(events[state.event_id])]}


def _build_event(event: Event) -> Json:
    markets = [market_row(state) for state in event]
    return event_row(event) | {"tags": tag_rows(event), "markets": markets}
