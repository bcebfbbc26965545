"""The unmodified polymarket-client finds every market and event: by page, by slug and by id."""

from __future__ import annotations

from typing import Any

import pytest
from polymarket import AsyncPublicClient

from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration


async def read_all_pages(paginator: Any) -> list[Any]:
    return [row async for page in paginator for row in page.items]


async def test_markets_are_listed_page_by_page_and_each_is_found_by_slug_and_id(
    venue: PaperVenue,
) -> None:
    async with AsyncPublicClient(environment=venue.environment()) as client:
        markets = await read_all_pages(client.list_markets(page_size=2)) + await read_all_pages(
            client.list_markets(page_size=2, closed=True)
        )
        by_slug = [await client.get_market(slug=market.slug) for market in markets]
        by_id = [await client.get_market(id=market.id) for market in markets]

    assert {market.condition_id for market in markets} >= {
        listed_condition(market) for market in venue.world["markets"]
    }
    assert len({market.id for market in markets}) == len(markets)
    assert (
        [market.id for market in markets]
        == [market.id for market in by_slug]
        == [market.id for market in by_id]
    )


async def test_events_are_listed_page_by_page_with_all_their_markets(venue: PaperVenue) -> None:
    async with AsyncPublicClient(environment=venue.environment()) as client:
        markets = await read_all_pages(client.list_markets()) + await read_all_pages(
            client.list_markets(closed=True)
        )
        events = await read_all_pages(client.list_events(page_size=1)) + await read_all_pages(
            client.list_events(page_size=1, closed=True)
        )
        by_slug = [await client.get_event(slug=event.slug) for event in events]

    assert {market.id for event in events for market in event.markets} == {
        market.id for market in markets
    }
    assert [event.id for event in by_slug] == [event.id for event in events]
    assert {market.events[0].id for market in markets} == {event.id for event in events}


async def test_a_market_is_found_by_its_condition_and_its_token(venue: PaperVenue) -> None:
    market = next(each for each in venue.world["markets"] if each.get("version", "v1") == "v1")
    async with AsyncPublicClient(environment=venue.environment()) as client:
        (by_condition,) = await read_all_pages(
            client.list_markets(condition_ids=[market["condition_id"]])
        )
        (by_token,) = await read_all_pages(
            client.list_markets(clob_token_ids=[market["token_ids"][1]])
        )

    assert by_condition.id == by_token.id
    assert by_condition.outcomes.yes.token_id == market["token_ids"][0]


def listed_condition(market: dict[str, Any]) -> str:
    """Gamma gives v2 conditions without their padding."""
    condition = str(market["condition_id"])
    return condition[:64] if market.get("version") == "v2" else condition
