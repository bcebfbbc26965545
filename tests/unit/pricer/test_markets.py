"""The cache of markets' trading rules, and whose tick a quote has."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from shared.messages.intents import Quote
from shared.testing.waiting import eventually
from tests.builders import NOON, TOKEN, a_book_seen, a_market, levels, seconds
from tests.unit.pricer.harness import INSTANT, PricerCaches, a_snapshot

FINE = Decimal("0.001")


async def test_a_market_is_fetched_once_per_validity_and_again_after_a_change() -> None:
    pricer = PricerCaches()
    for moment in (NOON, NOON + seconds(600)):
        pricer.clock.now = moment
        assert await pricer.market() == a_market()
    assert pricer.clob.requested == [TOKEN]

    pricer.clock.now += INSTANT
    await pricer.markets.fetch_market(TOKEN)
    pricer.markets.invalidate(TOKEN)
    await pricer.markets.fetch_market(TOKEN)

    assert pricer.clob.requested == [TOKEN] * 3


async def test_a_market_that_changes_during_its_fetch_is_not_cached() -> None:
    pricer = PricerCaches()
    pricer.clob.may_reply.clear()
    request = asyncio.create_task(pricer.markets.fetch_market(TOKEN))
    await eventually(lambda: pricer.clob.requested)

    pricer.markets.invalidate(TOKEN)
    pricer.clob.may_reply.set()
    await request

    await pricer.markets.fetch_market(TOKEN)
    assert pricer.clob.requested == [TOKEN, TOKEN]


async def quoted_tick(pricer: PricerCaches, **intent: object) -> Decimal:
    quote = await pricer.quote(**intent)
    assert isinstance(quote, Quote)
    return quote.tick_size


async def test_the_tick_of_a_book_of_the_channel_wins_over_the_cached_markets() -> None:
    pricer = PricerCaches()
    await pricer.market()
    await pricer.know_book_from_channel()
    pricer.clock.now += seconds(1)
    pricer.quotes.apply(a_snapshot("0.45", "0.55", tick_size=FINE))

    assert await quoted_tick(pricer) == FINE
    # The difference has invalidated the cached market.
    pricer.clob.market = a_market(tick_size=FINE, fee_rate=Decimal("0.07"))
    assert (await pricer.market()).fee_rate == Decimal("0.07")


async def test_the_tick_of_a_fetched_book_wins_too() -> None:
    pricer = PricerCaches()
    pricer.clob.book_tick = FINE

    assert await quoted_tick(pricer) == FINE


async def test_the_tick_of_a_shared_book_wins_if_it_is_newer() -> None:
    pricer = PricerCaches()
    await pricer.market()
    entry = a_book_seen(
        fetched_at=NOON + seconds(1),
        bids=levels(("0.30", 10)),
        asks=levels(("0.70", 10)),
        tick_size=FINE,
    )
    await pricer.shared.put(entry)
    assert await quoted_tick(pricer) == Decimal("0.01")  # it does not say since when

    await pricer.shared.put(entry.model_copy(update={"tick_seen_at": NOON + seconds(1)}))
    assert await quoted_tick(pricer) == FINE


async def test_a_market_that_was_read_after_the_book_keeps_its_tick() -> None:
    """Changes of a book do not name its tick: that is as old as its last snapshot."""
    pricer = PricerCaches()
    await pricer.quotes.fetch_book(TOKEN)
    pricer.quotes.apply(a_snapshot("0.45", "0.55", tick_size=Decimal("0.01")))
    pricer.clock.now += seconds(1)
    pricer.clob.market = a_market(tick_size=FINE)

    assert await quoted_tick(pricer) == FINE


@pytest.mark.parametrize("tick", [None, Decimal("0.01")])
async def test_an_equal_or_unknown_tick_leaves_the_cached_market(tick: Decimal | None) -> None:
    pricer = PricerCaches()
    pricer.clob.book_tick = tick
    await quoted_tick(pricer)
    await quoted_tick(pricer)

    assert pricer.clob.requested == [TOKEN, TOKEN]  # one market, one book


async def test_a_copy_that_is_intended_again_reads_the_market_anew() -> None:
    """It may have been refused for an old tick."""
    pricer = PricerCaches()
    assert await quoted_tick(pricer) == Decimal("0.01")
    pricer.clob.market = a_market(tick_size=FINE)
    pricer.clock.now += seconds(1)

    assert await quoted_tick(pricer, intended_at=pricer.clock.now) == Decimal("0.01")
    assert await quoted_tick(pricer, continues="first", intended_at=pricer.clock.now) == FINE
    # What was read after it was intended is new enough.
    requests = len(pricer.clob.requested)
    await quoted_tick(pricer, continues="first", intended_at=pricer.clock.now)
    assert len(pricer.clob.requested) == requests


async def test_reading_anew_does_not_settle_for_a_request_that_began_before() -> None:
    pricer = PricerCaches()
    pricer.clob.may_reply.clear()
    early = asyncio.create_task(pricer.market())
    await eventually(lambda: pricer.clob.requested)
    pricer.clob.market = replace(a_market(), tick_size=FINE)
    pricer.clock.now += seconds(1)
    late = [asyncio.create_task(pricer.market(read_after=pricer.clock.now)) for _ in range(50)]
    pricer.clob.may_reply.set()

    assert (await early).tick_size == Decimal("0.01")
    assert {market.tick_size for market in await asyncio.gather(*late)} == {FINE}
    assert pricer.clob.requested == [TOKEN, TOKEN]
