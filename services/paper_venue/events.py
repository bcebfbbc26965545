"""Which markets are about one event, and what is the event's number?"""

from collections.abc import Iterable, Sequence

from services.paper_venue.orders import Market

_EVENT_NUMBERS = 400_000
"""Events are numbered apart from markets, as at the venue."""


def event_key(market: Market) -> str:
    """Markets with one event slug are one event; without one, each is its own."""
    return market.event_slug or market.slug


def event_id(markets: Iterable[Market], market: Market) -> str:
    """The event's number: that of its first market, moved."""
    first = next(each for each in markets if event_key(each) == event_key(market))
    return str(_EVENT_NUMBERS + int(first.id) % _EVENT_NUMBERS)


def markets_by_event(markets: Sequence[Market]) -> dict[str, list[Market]]:
    """Each event's markets by the event's number, both in the order of the markets."""
    found: dict[str, list[Market]] = {}
    for market in markets:
        found.setdefault(event_id(markets, market), []).append(market)
    return found


def markets_of_event(markets: Sequence[Market], number: str) -> list[Market]:
    return markets_by_event(markets).get(number, [])
