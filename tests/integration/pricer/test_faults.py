"""Each branch of a quote, caused by the venue's own faults."""

from decimal import Decimal
from typing import Any

import pytest
from polymarket import AsyncSecureClient

from shared.domain.books import BookFault
from shared.messages.intents import Missing, NoQuote, Quote
from shared.observe import metrics
from shared.testing.waiting import eventually
from tests.integration.paper_venue.venue import PaperVenue
from tests.integration.pricer.pricer_at_venue import SETTINGS, PricerAtVenue, pricer_at

pytestmark = pytest.mark.integration

NOT_CURRENT_S = SETTINGS.max_book_age.seconds + 1
NOT_LAST_BOOK_S = SETTINGS.max_last_book_age.seconds + 1


def count_unusable(fault: BookFault) -> float:
    labels = {"fault": fault.value}
    return metrics.REGISTRY.get_sample_value("slipstream_books_unusable_total", labels) or 0.0


def count_texts() -> float:
    labels = {"feed": "market", "kind": "text"}
    return metrics.REGISTRY.get_sample_value("slipstream_feed_frames_total", labels) or 0.0


async def trade(client: AsyncSecureClient, venue: PaperVenue) -> Any:
    return await client.place_market_order(
        asset_id=venue.token(), side="BUY", amount="2", max_price="0.99", order_type="FAK"
    )


async def add_bid(client: AsyncSecureClient, venue: PaperVenue, price: Decimal) -> None:
    await client.place_limit_order(asset_id=venue.token(), side="BUY", price=str(price), size="10")


async def test_one_500_costs_no_quote(venue: PaperVenue) -> None:
    async with pricer_at(venue) as pricer:
        await pricer.set_faults("book-error", times=1)

        assert await pricer.source() == "rest"
        assert (await pricer.fetch_strikes())["book-error"] == 1


async def test_without_a_book_each_source_follows_in_turn(venue: PaperVenue) -> None:
    async with venue.client("eoa") as (client, _), pricer_at(venue) as pricer:
        await trade(client, venue)
        assert await pricer.source() == "rest"

        await pricer.set_faults("book-error")
        pricer.age(NOT_CURRENT_S)
        assert await pricer.source() == "last_book"

        pricer.age(NOT_LAST_BOOK_S)
        assert await pricer.source() == "midpoint"

        await pricer.set_faults("book-error", "midpoint-error")
        pricer.age(NOT_CURRENT_S)
        assert await pricer.source() == "last_trade"

        await pricer.set_faults("book-error", "midpoint-error", "last-trade-error")
        pricer.age(NOT_CURRENT_S)
        quote = await pricer.quote(leader_price=Decimal("0.37"))
        assert isinstance(quote, Quote)
        assert (quote.source.value, quote.best) == ("leader", Decimal("0.37"))
        assert quote.bound is not None

        pricer.age(SETTINGS.max_bound_age.seconds)
        assert await pricer.quote() == NoQuote(missing=Missing.UNAVAILABLE)

        await pricer.set_faults()
        assert await pricer.source() == "rest"


@pytest.mark.parametrize("fault", [BookFault.GHOST, BookFault.CROSSED])
async def test_a_book_that_is_no_price_is_passed_over(venue: PaperVenue, fault: BookFault) -> None:
    async with pricer_at(venue) as pricer:
        assert await pricer.source() == "rest"
        before = count_unusable(fault)
        await pricer.set_faults(f"{fault.value}-book")
        pricer.age(NOT_CURRENT_S)

        assert await pricer.source() == "last_book"
        assert count_unusable(fault) == before + 1

    async with pricer_at(venue) as pricer:
        await pricer.set_faults(f"{fault.value}-book", "midpoint-error")
        assert await pricer.quote() == NoQuote(missing=Missing.UNAVAILABLE)


async def test_a_silent_socket_is_made_up_for_by_rest(venue: PaperVenue) -> None:
    async with pricer_at(venue, with_feed=True) as pricer:
        await wait_for_socket(pricer)
        await pricer.set_faults("silent-socket")
        pricer.age(NOT_CURRENT_S)

        assert await pricer.source() == "rest"


async def test_a_new_tick_is_quoted_from_the_book(venue: PaperVenue) -> None:
    """The cached market is older, and no ``tick_size_change`` was heard."""
    market = await venue.find_market_to_resolve()
    async with pricer_at(venue, token=market["token_ids"][0]) as pricer:
        before = await pricer.quote()
        await venue.control("tick", {"condition_id": market["condition_id"], "tick": "0.0001"})
        pricer.age(NOT_CURRENT_S)
        after = await pricer.quote()

        assert isinstance(before, Quote)
        assert isinstance(after, Quote)
        assert before.tick_size > after.tick_size == Decimal("0.0001")
        cached = await pricer.markets.fetch_market(pricer.token)
        assert not isinstance(cached, Missing)
        assert cached.rules.tick_size == Decimal("0.0001")


async def test_a_missed_change_is_found_by_the_best_prices_of_the_next(venue: PaperVenue) -> None:
    async with (
        venue.client("eoa") as (client, _),
        pricer_at(venue, with_feed=True) as pricer,
    ):
        await wait_for_socket(pricer)
        before = count_unusable(BookFault.DIVERGED)
        book = await pricer.clob.fetch_book(pricer.token)
        between = (book.bids[0].price + book.asks[0].price) / 2
        tick = (await pricer.clob.fetch_market(pricer.token)).tick_size
        best = between.quantize(tick)
        assert book.bids[0].price < best < book.asks[0].price, "the spread has room for a bid"
        await pricer.set_faults("changes-missing", times=1)
        await add_bid(client, venue, best)
        await pricer.set_faults()
        await add_bid(client, venue, tick)

        await eventually(
            lambda: count_unusable(BookFault.DIVERGED) > before, within=60, what="the difference"
        )

        # The snapshot that is requested has both. As long as one was requested a moment ago, it is
        # the next quote that requests it.
        async def has_both() -> bool:
            pricer.age(NOT_CURRENT_S)
            await pricer.quote()
            tracked = pricer.quotes.peek(pricer.token)
            return tracked is not None and best in {level.price for level in tracked.book.bids()}

        await eventually(has_both, within=60, what="the snapshot")


async def test_a_text_of_the_channel_leaves_the_books(venue: PaperVenue) -> None:
    async with (
        venue.client("eoa") as (client, _),
        pricer_at(venue, with_feed=True) as pricer,
    ):
        await wait_for_socket(pricer)
        before = count_texts()
        await pricer.set_faults("channel-text", times=1)
        await add_bid(client, venue, Decimal("0.02"))
        await eventually(lambda: count_texts() > before, within=60, what="the text")

        tracked = pricer.quotes.peek(pricer.token)
        assert tracked is not None
        assert tracked.book.is_known
        assert pricer.parked == []


async def wait_for_socket(pricer: PricerAtVenue) -> None:
    """Until the token's book comes from the market channel."""

    async def is_from_socket() -> bool:
        pricer.age(NOT_CURRENT_S)
        await pricer.quote()
        tracked = pricer.quotes.peek(pricer.token)
        return tracked is not None and tracked.book.is_known

    await eventually(is_from_socket, within=60, what="a book of the channel")
