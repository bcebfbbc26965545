"""Groups markets by the event that they belong to, and numbers the events."""

from collections.abc import Iterable

from services.paper_venue.exchange.orders import Market

_FIRST_NUMBER = 400_000
"""Event numbers are not market numbers, as at the real venue."""


def event_key(market: Market) -> str:
    """The event's slug; a market without an event slug is an event of its own, by its own slug."""
    return market.event_slug or market.slug


def markets_by_event(markets: Iterable[Market]) -> dict[str, list[Market]]:
    """Markets by their event's number; events and markets keep the order of ``markets``."""
    by_key: dict[str, list[Market]] = {}
    for market in markets:
        by_key.setdefault(event_key(market), []).append(market)
    return {_number(group[0]): group for group in by_key.values()}


def _number(first: Market) -> str:
    """Derived from the event's first market, so it is stable when markets are added."""
    return str(_FIRST_NUMBER + int(first.id) % _FIRST_NUMBER)
