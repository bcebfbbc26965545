"""The feed that keeps the books current from frames of the market channel."""

from datetime import timedelta
from typing import Any

import pytest

from shared.messages.dead_letters import FrameParked
from shared.messages.intents import QuoteSource
from shared.testing.waiting import eventually
from tests.builders import TOKEN, seconds
from tests.unit.pricer.harness import RunningFeed, a_change_frame, a_frame, best, counted

RESUBSCRIBED = [
    {"operation": "unsubscribe", "assets_ids": [TOKEN]},
    {"operation": "subscribe", "assets_ids": [TOKEN]},
]


async def test_a_requested_token_is_subscribed_on_the_open_channel() -> None:
    async with RunningFeed() as running:
        await running.pricer.quotes.fetch_book("12")

        await eventually(
            lambda: {"operation": "subscribe", "assets_ids": ["12"]} in running.channel.sent
        )


async def test_a_changing_book_is_shared_at_most_once_per_interval() -> None:
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"), a_frame("0.42"))
        first = running.pricer.shared.entries[TOKEN]
        running.pricer.clock.now += timedelta(milliseconds=500)
        await running.receive(a_frame("0.43"))

        assert b'"0.41"' in first
        assert b'"0.43"' in running.pricer.shared.entries[TOKEN]


async def test_an_unreadable_frame_is_parked_and_invalidates_every_book() -> None:
    """The frame may have been a change: books without it are wrong until their next snapshot."""
    change = {
        "event_type": "price_change",
        "price_changes": [{"price": "0.7", "size": "1", "side": "BUY"}],
    }
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"), change)
        running.pricer.clock.now += seconds(1)

        (parked,) = running.parked
        assert isinstance(parked, FrameParked)
        assert "asset_id" in parked.reason
        assert (await running.pricer.book()).source is not QuoteSource.SOCKET


async def test_a_new_socket_invalidates_the_books() -> None:
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"), None)

        assert (await running.pricer.book()).source is not QuoteSource.SOCKET


async def test_a_text_of_the_venue_is_counted_and_leaves_the_books() -> None:
    before = counted("feed_frames", feed="market", kind="text")
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"), "INVALID OPERATION")

        assert (await running.pricer.book()).source is QuoteSource.SOCKET
        assert running.parked == []
    assert counted("feed_frames", feed="market", kind="text") == before + 1


async def test_unreadable_json_requests_all_snapshots_again() -> None:
    async with RunningFeed() as running:
        running.pricer.clock.now += seconds(1)
        await running.receive(a_frame("0.41"), "{")

        await eventually(lambda: running.channel.sent[-2:] == RESUBSCRIBED)
        await running.receive(a_frame("0.42"))
        assert best(await running.pricer.book()) == ("0.42", "0.9")


async def test_an_unreadable_event_that_names_its_token_voids_that_book_alone() -> None:
    async with RunningFeed() as running:
        await running.pricer.quotes.fetch_book("12")
        running.pricer.clock.now += seconds(1)
        await running.receive(
            a_frame("0.41"), a_frame("0.51", token_id="12"), a_change_frame({"price": "7"})
        )

        assert (await running.pricer.book("12")).source is QuoteSource.SOCKET
        assert (await running.pricer.book()).source is not QuoteSource.SOCKET
        (parked,) = running.parked
        assert isinstance(parked, FrameParked)
        assert "price" in parked.reason
        await eventually(lambda: running.channel.sent[-2:] == RESUBSCRIBED)


@pytest.mark.parametrize(
    ("changes", "agrees"),
    [
        ([{"price": "0.42", "best_bid": "0.42", "best_ask": "0.9"}], True),
        ([{"price": "0.40", "best_bid": "0.42", "best_ask": "0.9"}], False),
        ([{"price": "0.40", "best_bid": "0.41", "best_ask": "0.8"}], False),
        ([{"price": "0.41", "size": "0", "best_bid": "0", "best_ask": "0.9"}], True),
        # The best levels are those after all changes of the frame.
        (
            [
                {"price": "0.42", "best_bid": "0.43", "best_ask": "0.9"},
                {"price": "0.43", "best_bid": "0.43", "best_ask": "0.9"},
            ],
            True,
        ),
        (
            [
                {"price": "0.42", "best_bid": "0.42", "best_ask": "0.9"},
                {"price": "0.43", "best_bid": "0.44", "best_ask": "0.9"},
            ],
            False,
        ),
        ([{"price": "0.42"}], True),
    ],
)
async def test_a_book_with_other_best_levels_than_the_venue_names_is_unknown(
    changes: list[dict[str, Any]], agrees: bool
) -> None:
    before = counted("books_unusable", fault="diverged")
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"))
        running.pricer.shared.entries.clear()
        running.pricer.clock.now += seconds(3)
        await running.receive(a_change_frame(*changes))

        source = (await running.pricer.book()).source
        assert (source is QuoteSource.SOCKET) is agrees
        assert counted("books_unusable", fault="diverged") == before + (not agrees)
        assert (TOKEN in running.pricer.shared.entries) is agrees
        if not agrees:
            await eventually(lambda: running.channel.sent[-2:] == RESUBSCRIBED)
            await running.receive(a_frame("0.43"))
            assert best(await running.pricer.book()) == ("0.43", "0.9")


async def test_a_snapshot_after_a_change_in_the_same_frame_settles_it() -> None:
    diverging = a_change_frame({"price": "0.40", "best_bid": "0.44", "best_ask": "0.9"})
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"))
        await running.receive_array(diverging, a_frame("0.44"))

        assert best(await running.pricer.book()) == ("0.44", "0.9")


async def test_a_tick_change_has_the_market_read_again() -> None:
    async with RunningFeed() as running:
        await running.pricer.market()
        requests = len(running.pricer.clob.requested)
        await running.receive({"event_type": "tick_size_change", "asset_id": TOKEN})
        await running.pricer.market()

        assert len(running.pricer.clob.requested) == requests + 1


async def test_frames_that_stay_unreadable_do_not_become_a_flood_of_subscriptions() -> None:
    async with RunningFeed() as running:
        running.pricer.clock.now += seconds(1)
        await running.receive(*["{"] * 20)
        await eventually(lambda: running.channel.sent[-2:] == RESUBSCRIBED)

        assert running.channel.sent == RESUBSCRIBED


async def test_a_snapshot_that_does_not_come_is_requested_again() -> None:
    async with RunningFeed() as running:
        await running.pricer.book()
        running.pricer.clock.now += seconds(1)
        await running.pricer.book()

        await eventually(lambda: running.channel.sent == RESUBSCRIBED)
