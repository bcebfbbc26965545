"""Which exits have a remainder, and that each remainder is published once."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.remainders import RemainderFeed, load_unfinished_exits
from services.executor.decisions import Order, VenueReply
from shared.domain.follows import GLOBAL, Mode
from shared.domain.ids import remainder_id
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyIntended, OrderType
from shared.messages.orders import OrderState
from shared.testing.waiting import eventually
from tests.builders import (
    NOON,
    OTHER_PROXY,
    PROXY,
    an_intent,
    approved,
    controls,
    seconds,
    shares,
)
from tests.fakes import FixedControls
from tests.orders import numbered_order

pytestmark = pytest.mark.integration

REQUESTED = shares(10)
DELAY = seconds(5)
MIN_CLOCK_READINGS = 20


async def record_exit(
    orders: PostgresOrders,
    number: int,
    *,
    side: Side = Side.SELL,
    proxy: str = PROXY,
    **outcome: Any,
) -> Order:
    """Record an order and its outcome."""
    intent = an_intent(intent_id=f"{number:032x}", side=side, proxy=proxy)
    sells = side is Side.SELL
    verdict = approved(
        intent,
        order_type=OrderType.FAK if sells else OrderType.FOK,
        usdc=0 if sells else intent.usdc,
        shares=REQUESTED if sells else 0,
        expires_at=NOON + seconds(60),
    )
    order = numbered_order(
        number,
        proxy=proxy,
        side=side,
        fee_rate=verdict.quote.fee_rate,
        expires_at=verdict.expires_at,
    )
    await orders.record(order, verdict)
    ended = replace(order, **outcome)
    await orders.save(ended, now=NOON)
    return ended


async def test_only_final_exits_that_sold_less_than_requested_have_a_remainder(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    confirmed: dict[str, Any] = {"state": OrderState.CONFIRMED}
    await record_exit(orders, 1, **confirmed, shares=shares(4))
    await record_exit(orders, 2, state=OrderState.KILLED, last_reply=VenueReply.KILLED)
    await record_exit(orders, 3, **confirmed, shares=REQUESTED)
    await record_exit(orders, 4, **confirmed, shares=REQUESTED - shares("0.09"))
    await record_exit(orders, 5, side=Side.BUY, **confirmed, shares=shares(4))
    await record_exit(orders, 6, state=OrderState.KILLED, last_reply=VenueReply.NO_REPLY)
    for number, state in enumerate(
        set(OrderState) - {OrderState.CONFIRMED, OrderState.KILLED}, start=7
    ):
        await record_exit(orders, number, state=state, shares=shares(4))

    unfinished = await load_unfinished_exits(engine, now=NOON)

    assert [
        (int(each.order.intent_id, 16), each.requested_shares - each.order.shares)
        for each in unfinished
    ] == [(1, shares(6)), (2, REQUESTED)]
    assert await load_unfinished_exits(engine, now=NOON + seconds(60)) == []


class Recorder:
    """Keeps what a feed publishes, and counts how often it reads the clock."""

    def __init__(self) -> None:
        self.published: list[CopyIntended] = []
        self.clock_readings = 0

    async def publish(self, message: Message) -> None:
        assert isinstance(message, CopyIntended)
        self.published.append(message)

    def clock(self) -> datetime:
        """Read at least twice in each poll."""
        self.clock_readings += 1
        return NOON + DELAY


async def published_by_feed(
    engine: AsyncEngine, *, owns: Callable[[str], bool] = lambda _: True, mode: Mode = Mode.ACTIVE
) -> list[CopyIntended]:
    recorder = Recorder()
    feed = RemainderFeed(
        engine,
        FixedControls(controls(modes={GLOBAL: mode})),
        owns=owns,
        now=recorder.clock,
        poll_interval=seconds(0),
        delay=DELAY,
    )
    running = asyncio.create_task(feed(recorder.publish))
    await eventually(
        lambda: recorder.clock_readings >= MIN_CLOCK_READINGS, what="polls of the feed"
    )
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return recorder.published


async def test_a_remainder_is_published_once_and_after_a_restart_with_the_same_id(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    order = await record_exit(orders, 1, state=OrderState.CONFIRMED, shares=shares(4))

    first, again = await published_by_feed(engine), await published_by_feed(engine)

    assert [(each.intent_id, each.intent.shares, each.intent.continues) for each in first] == [
        (remainder_id(order.intent_id), shares(6), order.intent_id)
    ]
    assert [each.message_id for each in again] == [each.message_id for each in first]


@pytest.mark.parametrize(("mode", "published"), [(Mode.HALTED, 0), (Mode.REDUCING, 1)])
async def test_a_remainder_waits_while_halted_and_is_published_while_reducing(
    engine: AsyncEngine, orders: PostgresOrders, mode: Mode, published: int
) -> None:
    await record_exit(orders, 1, state=OrderState.CONFIRMED, shares=shares(4))

    assert len(await published_by_feed(engine, mode=mode)) == published


async def test_the_remainders_of_other_instances_are_not_published(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await record_exit(orders, 1, state=OrderState.CONFIRMED, shares=shares(4))
    theirs = await record_exit(
        orders, 2, proxy=OTHER_PROXY, state=OrderState.CONFIRMED, shares=shares(4)
    )

    published = await published_by_feed(engine, owns=lambda proxy: proxy == OTHER_PROXY)

    assert [each.intent.continues for each in published] == [theirs.intent_id]
