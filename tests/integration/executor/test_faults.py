"""Whatever the venue does to an order, there is one copy, and the books end as the venue and the
chain have it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.messages.orders import OrderState
from shared.testing.waiting import eventually
from tests.integration.executor.executor_at_venue import (
    ANSWERS_WITHIN_S,
    ExecutorAtVenue,
    executor_at_venue,
)
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

MADE_ALL_THE_SAME: dict[str, dict[str, dict[str, Any]]] = {
    "nothing": {},
    "reset before it arrives": {"reset-before": {"times": 1}},
    "answer dropped": {"drop-reply": {}},
    "answer too late": {"late-reply": {"seconds": str(ANSWERS_WITHIN_S + 2)}},
    "sent twice by a gateway": {"repeated-request": {}},
    "timed out in the engine": {"order-timed-out": {"times": 1}},
    "held before it matches": {"delayed": {"seconds": "3"}},
    "settled at the second attempt": {"retrying": {}},
    "another clock": {"clock-skew": {"seconds": "90"}},
    "answer dropped, and replicas lag behind": {"drop-reply": {}, "stale-reads": {"share": "0.9"}},
    "engine restart": {"restart": {"seconds": "1"}},
}


@pytest.fixture
async def desk(
    venue: PaperVenue, rpc_url: str, migrated_database_url: str
) -> AsyncIterator[ExecutorAtVenue]:
    engine = open_engine(DatabaseSettings.model_validate({"url": migrated_database_url}))
    async with executor_at_venue(venue, rpc_url, engine) as desk:
        yield desk
    await engine.dispose()


async def assert_books_are_the_venues(desk: ExecutorAtVenue, shares: int) -> None:
    """And that everything struck that was to; a clock is simply wrong."""
    assert all(times for fault, times in (await desk.struck()).items() if fault != "clock-skew")
    await desk.faults({})
    assert await desk.filled_at_the_venue() == shares
    assert await eventually(lambda: held(desk, shares), what="the chain has what the books have")


async def held(desk: ExecutorAtVenue, shares: int) -> bool:
    """What a trade's row rounds, the chain does not."""
    return abs(await desk.held_on_chain() - shares) < 10_000


@pytest.mark.parametrize("fault", MADE_ALL_THE_SAME)
async def test_a_copy_is_made_once(desk: ExecutorAtVenue, fault: str) -> None:
    await desk.faults(MADE_ALL_THE_SAME[fault])

    order = await desk.ended(await desk.copies())

    assert order.state is OrderState.CONFIRMED, order.reason
    assert order.shares > 0
    await assert_books_are_the_venues(desk, order.shares)


async def test_the_chain_knows_a_filled_order_by_its_hash(desk: ExecutorAtVenue) -> None:
    order = await desk.ended(await desk.copies())
    (trade,) = await desk.orders.load_trades(order.order_hash)

    assert await desk.handler.chain.fetch_fill(order) == trade.transaction_hash
    assert await desk.handler.chain.fetch_fill(replace(order, order_hash="0x" + "00" * 32)) == ""


async def test_a_partial_fill_behind_a_kill_is_what_was_copied(desk: ExecutorAtVenue) -> None:
    whole = (await desk.ended(await desk.copies(1))).shares
    await desk.faults({"killed-partial": {}})

    order = await desk.ended(await desk.copies(2))

    assert order.state is OrderState.CONFIRMED, order.reason
    assert 0 < order.shares < whole
    await assert_books_are_the_venues(desk, whole + order.shares)


async def test_a_settlement_that_fails_for_good_is_reversed(desk: ExecutorAtVenue) -> None:
    await desk.faults({"failed": {"seconds": "1"}})

    order = await desk.ended(await desk.copies())

    assert (order.state, order.shares, order.usdc, order.fee_usdc) == (OrderState.FAILED, 0, 0, 0)
    assert [report.state for report in desk.said if report.state is OrderState.MATCHED] == [
        OrderState.MATCHED
    ]
    await assert_books_are_the_venues(desk, 0)


@pytest.mark.parametrize(
    ("fault", "reason"), [("geoblock", "region"), ("closed-only", "closed_only")]
)
async def test_what_is_refused_for_who_asks_is_refused_at_once(
    desk: ExecutorAtVenue, fault: str, reason: str
) -> None:
    await desk.faults({fault: {}})

    order = await desk.ended(await desk.copies(), within=0)

    assert order.state is OrderState.REJECTED
    assert order.reason.startswith(reason)
    await assert_books_are_the_venues(desk, 0)


@pytest.mark.parametrize("fault", ["disabled", "cancel-only", "post-only"])
async def test_what_the_venue_takes_at_no_time_is_refused_in_its_words(
    desk: ExecutorAtVenue, fault: str
) -> None:
    await desk.faults({fault: {"seconds": "1"}})

    order = await desk.ended(await desk.copies(lasts=timedelta(seconds=8)))

    assert order.state is OrderState.REJECTED
    assert fault in order.reason.lower()
    await assert_books_are_the_venues(desk, 0)


async def test_a_signer_who_is_too_fast_waits_as_told(desk: ExecutorAtVenue) -> None:
    await desk.faults({"rate-limit-signer": {"seconds": "5"}})

    intents = await asyncio.gather(*(desk.copies(number) for number in range(1, 5)))
    orders = [await desk.ended(intent) for intent in intents]

    assert {order.state for order in orders} == {OrderState.CONFIRMED}
    await assert_books_are_the_venues(desk, sum(order.shares for order in orders))
