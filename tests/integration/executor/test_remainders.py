"""Which exits have something left, and is it told once?"""

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
    LEADER,
    NOON,
    OTHER_PROXY,
    PROXY,
    TOKEN,
    an_intent,
    approved,
    controls,
    seconds,
    shares,
)
from tests.fakes import FixedControls

pytestmark = pytest.mark.integration

ASKED = shares(10)
AFTER = seconds(5)
LOOKS = 20


async def exited(
    orders: PostgresOrders,
    number: int,
    *,
    side: Side = Side.SELL,
    proxy: str = PROXY,
    **became: Any,
) -> Order:
    """Record the order of an exit, and what became of it."""
    intent = an_intent(intent_id=f"{number:032x}", side=side, proxy=proxy)
    sells = side is Side.SELL
    verdict = approved(
        intent,
        order_type=OrderType.FAK if sells else OrderType.FOK,
        usdc=0 if sells else intent.usdc,
        shares=ASKED if sells else 0,
        expires_at=NOON + seconds(60),
    )
    order = Order(
        intent_id=intent.intent_id, proxy=proxy, leader=LEADER, order_hash=f"0x{number:064x}", body="bytes", side=side, token_id=TOKEN,
        state=OrderState.SIGNED, fee_rate=verdict.quote.fee_rate, expires_at=verdict.expires_at, signed_at=NOON,
    )  # fmt: skip
    await orders.record(order, verdict)
    ended = replace(order, **became)
    await orders.save(ended, now=NOON)
    return ended


async def test_only_final_exits_that_sold_less_than_they_were_to_have_something_left(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    confirmed: dict[str, Any] = {"state": OrderState.CONFIRMED}
    await exited(orders, 1, **confirmed, shares=shares(4))
    await exited(orders, 2, state=OrderState.KILLED, last_reply=VenueReply.KILLED)
    await exited(orders, 3, **confirmed, shares=ASKED)
    await exited(orders, 4, **confirmed, shares=ASKED - shares("0.09"))
    await exited(orders, 5, side=Side.BUY, **confirmed, shares=shares(4))
    await exited(orders, 6, state=OrderState.KILLED, last_reply=VenueReply.NO_REPLY)
    for number, state in enumerate(
        set(OrderState) - {OrderState.CONFIRMED, OrderState.KILLED}, start=7
    ):
        await exited(orders, number, state=state, shares=shares(4))

    found = await load_unfinished_exits(engine, now=NOON)

    assert [
        (int(each.order.intent_id, 16), each.requested_shares - each.order.shares) for each in found
    ] == [(1, shares(6)), (2, ASKED)]
    assert await load_unfinished_exits(engine, now=NOON + seconds(60)) == []


class Listener:
    """Hears what a feed publishes."""

    def __init__(self) -> None:
        self.heard: list[CopyIntended] = []
        self.looks = 0

    async def publish(self, message: Message) -> None:
        assert isinstance(message, CopyIntended)
        self.heard.append(message)

    def clock(self) -> datetime:
        """Two readings for each look of the feed's, at least."""
        self.looks += 1
        return NOON + AFTER


async def listened(
    engine: AsyncEngine, *, owns: Callable[[str], bool] = lambda _: True, mode: Mode = Mode.ACTIVE
) -> list[CopyIntended]:
    listener, controls_book = Listener(), FixedControls(controls(modes={GLOBAL: mode}))
    feed = RemainderFeed(
        engine,
        controls_book,
        owns=owns,
        now=listener.clock,
        poll_interval=seconds(0),
        delay=AFTER,
    )
    running = asyncio.create_task(feed(listener.publish))
    await eventually(lambda: listener.looks >= LOOKS, what="looks of the feed")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return listener.heard


async def test_what_is_left_is_told_once_and_after_a_restart_by_the_same_name(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    order = await exited(orders, 1, state=OrderState.CONFIRMED, shares=shares(4))

    first, again = await listened(engine), await listened(engine)

    assert [(told.intent_id, told.intent.shares, told.intent.continues) for told in first] == [
        (remainder_id(order.intent_id), shares(6), order.intent_id)
    ]
    assert [told.message_id for told in again] == [told.message_id for told in first]


@pytest.mark.parametrize(("mode", "told"), [(Mode.HALTED, 0), (Mode.REDUCING, 1)])
async def test_while_halted_it_waits_and_an_exit_it_is_while_reducing(
    engine: AsyncEngine, orders: PostgresOrders, mode: Mode, told: int
) -> None:
    await exited(orders, 1, state=OrderState.CONFIRMED, shares=shares(4))

    assert len(await listened(engine, mode=mode)) == told


async def test_the_exits_of_other_instances_are_left_to_them(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await exited(orders, 1, state=OrderState.CONFIRMED, shares=shares(4))
    theirs = await exited(
        orders, 2, proxy=OTHER_PROXY, state=OrderState.CONFIRMED, shares=shares(4)
    )

    told = await listened(engine, owns=lambda proxy: proxy == OTHER_PROXY)

    assert [each.intent.continues for each in told] == [theirs.intent_id]
