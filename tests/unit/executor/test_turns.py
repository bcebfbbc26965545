"""Many orders at once take turns to be sent, and each is looked at again when it has its turn."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace

import pytest

from services.executor.decisions import Order
from services.executor.handler import Handler
from services.executor.handler.turns import MAX_POSTS, Turns
from shared.domain.errors import Transient
from shared.domain.follows import Mode
from shared.messages.intents import IntentApproved
from shared.polymarket.replies import Reply
from shared.streams.routes import Outcome, Received
from shared.testing.waiting import eventually
from tests.builders import approved
from tests.unit.executor.fakes import Crash, FakeVenue
from tests.unit.executor.harness import ExecutorHarness


class SlowVenue(FakeVenue):
    """The executor's venue from now on; it replies to no order until it is told to."""

    def __init__(self, executor: ExecutorHarness) -> None:
        super().__init__(executor.orders.orders, Crash())
        self.replies = asyncio.Event()
        self.posting = self.most = 0
        executor.venue = self

    async def post_order(self, order: Order) -> Reply:
        self.posting += 1
        self.most = max(self.most, self.posting)
        await self.replies.wait()
        self.posting -= 1
        return await super().post_order(order)


def build_batch(count: int) -> list[Received[IntentApproved]]:
    message = approved()
    return [
        Received(
            message=message.model_copy(
                update={
                    "message_id": f"{number}:approved",
                    "intent": message.intent.model_copy(update={"intent_id": f"intent-{number}"}),
                }
            ),
            traceparent=None,
        )
        for number in range(count)
    ]


def start_all(outcomes: Sequence[Outcome]) -> list[asyncio.Future[Sequence[object]]]:
    return [asyncio.ensure_future(each) for each in outcomes if isinstance(each, Awaitable)]


async def start_posts(
    handler: Handler, venue: SlowVenue, count: int
) -> list[asyncio.Future[Sequence[object]]]:
    """Approve so many intents; returns once as many orders are sent as may be at once."""
    posts = start_all(await handler.on_intents_approved(build_batch(count)))
    await eventually(lambda: venue.posting == min(count, MAX_POSTS))
    return posts


async def test_no_more_orders_are_sent_at_once_than_have_connections() -> None:
    executor = ExecutorHarness()
    venue, handler = SlowVenue(executor), executor.handler
    posts = await start_posts(handler, venue, 3 * MAX_POSTS)

    venue.replies.set()
    await asyncio.gather(*posts)

    assert venue.most == MAX_POSTS
    assert len(executor.venue.posted) == len(posts) == 3 * MAX_POSTS


async def test_nothing_is_signed_while_earlier_orders_wait_for_their_turn() -> None:
    executor = ExecutorHarness()
    venue, handler = SlowVenue(executor), executor.handler
    posts = await start_posts(handler, venue, MAX_POSTS + 1)
    next_batch = asyncio.ensure_future(
        handler.on_intents_approved(build_batch(MAX_POSTS + 2)[MAX_POSTS + 1 :])
    )
    await asyncio.wait({next_batch}, timeout=0.05)
    recorded = set(executor.orders.orders)

    venue.replies.set()
    posts += start_all(await next_batch)
    await asyncio.gather(*posts)

    new = f"intent-{MAX_POSTS + 1}"
    assert new not in recorded
    assert new in executor.orders.orders


@pytest.mark.parametrize("change", ["halted", "expired"])
async def test_an_order_whose_time_or_mode_is_over_at_its_turn_is_not_sent(change: str) -> None:
    executor = ExecutorHarness()
    venue, handler = SlowVenue(executor), executor.handler
    posts = await start_posts(handler, venue, MAX_POSTS + 1)

    if change == "halted":
        executor.set_mode(Mode.HALTED)
    else:
        executor.clock.now = approved().expires_at
    venue.replies.set()
    await asyncio.gather(*posts)

    assert len(executor.venue.posted) == MAX_POSTS
    assert executor.orders.orders[f"intent-{MAX_POSTS}"].posted_at is None


async def test_an_order_without_a_turn_in_time_is_sent_later() -> None:
    executor = ExecutorHarness()
    venue = SlowVenue(executor)
    handler = replace(executor.handler, turns=Turns(posts=1, wait_s=0.01))
    first, second = build_batch(2)
    post = asyncio.ensure_future(handler.on_intent_approved(first.message))
    await eventually(lambda: venue.posting == 1)

    with pytest.raises(Transient, match="no turn"):
        await handler.on_intent_approved(second.message)
    venue.replies.set()
    await post
    await handler.on_intent_approved(second.message)

    assert len(executor.venue.posted) == 2
