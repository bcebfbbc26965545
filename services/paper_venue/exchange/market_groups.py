"""Which markets are about one event, and what is the event's number?"""

from collections.abc import Iterable

from services.paper_venue.exchange.orders import Market

_FIRST_NUMBER = 400_000
"""Events are numbered apart from markets, as at the venue."""


def event_key(market: Market) -> str:
    """Markets with one event slug are one event; without one, each is its own."""
    return market.event_slug or market.slug


def markets_by_event(markets: Iterable[Market]) -> dict[str, list[Market]]:
    """Each event's markets by the event's number, both in the order of the markets."""
    by_key: dict[str, list[Market]] = {}
    for market in markets:
        by_key.setdefault(event_key(market), []).append(market)
    return {_number(group[0]): group for group in by_key.values()}


def _number(first: Market) -> str:
    """By the event's first market, which stays what it is when others are listed."""
    return str(_FIRST_NUMBER + int(first.id) % _FIRST_NUMBER)
