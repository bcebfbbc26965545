"""The contract of the executor's store of orders, for the fake and for PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import (
    NewOrder,
    Order,
    RecordedOrder,
    Settlement,
    Trade,
    VenueReply,
)
from services.executor.handler import Orders
from shared.db.engine import open_engine
from shared.messages.orders import OrderState, TradeReported, TradeStatus
from shared.messages.transactions import TransactionState
from tests.builders import (
    NOON,
    ORDER_HASH,
    TRANSACTION,
    a_trade,
    an_intent,
    approved,
    resolved,
    seconds,
    settled,
    shares,
    usdc,
)
from tests.fakes import FakeOrders
from tests.leases import executor_leases
from tests.orders import an_order, numbered_order, record_trade
from tests.patience import patient_settings

INTENT_ID = approved().intent_id
OTHER_HASH = "0x" + "ee" * 32
OTHER_INTENT = "2b" * 16
OTHER_TRANSACTION = "0x" + "2b" * 32


@pytest.fixture(
    params=[
        "fake",
        pytest.param("postgres", marks=pytest.mark.integration),
        pytest.param("postgres with memory", marks=pytest.mark.integration),
    ]
)
async def orders(request: pytest.FixtureRequest) -> AsyncIterator[Orders]:
    if request.param == "fake":
        yield FakeOrders()
        return
    engine = open_engine(patient_settings(request.getfixturevalue("migrated_database_url")))
    leases = await executor_leases(engine)
    orders = PostgresOrders(engine, leases)
    if request.param == "postgres with memory":
        await orders.load_leases([(lease.partition, lease.token) for lease in leases.held])
    yield orders
    await engine.dispose()


async def record(orders: Orders, order: Order) -> Order:
    return await orders.record(order, approved(an_intent(intent_id=order.intent_id)))


async def record_trades(orders: Orders, *reports: TradeReported) -> tuple[Trade, ...]:
    """Record the trades as reported; return all of the last one's order."""
    for report in reports:
        await record_trade(orders, report)
    return await orders.load_trades(reports[-1].intent_id)


def another_trade(**overrides: Any) -> TradeReported:
    """Of another order."""
    return a_trade(intent_id=OTHER_INTENT, order_hash=OTHER_HASH, **overrides)


def a_recorded_trade(**overrides: Any) -> Trade:
    base = Trade(
        trade_id="venue-1",
        status=TradeStatus.MATCHED,
        shares=shares(10),
        usdc=usdc(5),
        fee_usdc=0,
        matched_at=NOON,
    )
    return replace(base, **overrides)


def fields(trade: Trade | TradeReported) -> tuple[object, ...]:
    return (
        trade.trade_id,
        trade.status,
        trade.shares,
        trade.usdc,
        trade.fee_usdc,
        trade.transaction_hash,
    )


async def test_the_first_order_of_an_intent_is_kept_and_only_the_first_is_returned_itself(
    orders: Orders,
) -> None:
    first = an_order()
    second = an_order(body="other", order_hash=OTHER_HASH, signed_at=NOON + seconds(1))

    assert await record(orders, first) is first
    again = await record(orders, second)
    assert again == first
    assert again is not second


async def test_an_order_is_loaded_as_it_was_recorded(orders: Orders) -> None:
    await record(orders, an_order())

    assert await orders.load(INTENT_ID) == an_order()
    assert await orders.load("nobody") is None


async def test_the_outcome_of_an_order_is_saved_but_its_bytes_and_first_post_never_change(
    orders: Orders,
) -> None:
    await record(orders, an_order())
    sent = an_order(
        state=OrderState.UNKNOWN, reason="Lost", posted_at=NOON, body="never", order_hash="never"
    )

    await orders.save(sent, now=NOON)
    await orders.save(
        replace(
            sent,
            state=OrderState.MATCHED,
            shares=1,
            usdc=2,
            fee_usdc=3,
            posted_at=NOON + seconds(9),
        ),
        now=NOON,
    )

    assert await orders.load(INTENT_ID) == an_order(
        state=OrderState.MATCHED, reason="Lost", posted_at=NOON, shares=1, usdc=2, fee_usdc=3
    )


async def test_the_progress_of_an_open_order_is_saved_but_its_first_alert_never_changes(
    orders: Orders,
) -> None:
    await record(orders, an_order())
    unverified = an_order(
        state=OrderState.UNKNOWN,
        last_reply=VenueReply.KILLED,
        unverified_since=NOON,
        empty_lookups=1,
        alerted_at=NOON,
    )

    await orders.save(unverified, now=NOON)
    assert await orders.load(INTENT_ID) == unverified

    await orders.save(
        replace(unverified, unverified_since=None, empty_lookups=0, alerted_at=NOON + seconds(9)),
        now=NOON,
    )
    assert await orders.load(INTENT_ID) == replace(
        unverified, unverified_since=None, empty_lookups=0
    )


async def test_each_caller_of_a_large_group_gets_its_own_order(orders: Orders) -> None:
    given = [numbered_order(number) for number in range(1, 501)]

    assert await asyncio.gather(*(record(orders, order) for order in given)) == given
    assert await asyncio.gather(*(orders.load(order.intent_id) for order in given)) == given


async def test_the_status_of_a_trade_never_moves_back_and_a_repeated_report_changes_nothing(
    orders: Orders,
) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)

    (recorded,) = await record_trades(
        orders, a_trade(), mined, a_trade(), a_trade(status=TradeStatus.RETRYING), mined
    )

    assert fields(recorded) == fields(mined)


@pytest.mark.parametrize("final", [TradeStatus.CONFIRMED, TradeStatus.FAILED])
@pytest.mark.parametrize("later", list(TradeStatus))
async def test_a_final_status_never_changes(
    orders: Orders, final: TradeStatus, later: TradeStatus
) -> None:
    (recorded,) = await record_trades(
        orders, a_trade(status=final), a_trade(status=later, shares=1)
    )

    assert (recorded.status, recorded.shares) == (final, shares(10))


async def test_a_trade_whose_settlement_is_retried_has_its_newest_transaction(
    orders: Orders,
) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    retrying = a_trade(status=TradeStatus.RETRYING, transaction_hash=TRANSACTION)

    (recorded,) = await record_trades(orders, a_trade(), mined, retrying)
    assert fields(recorded) == fields(retrying)
    (recorded,) = await record_trades(
        orders, a_trade(status=TradeStatus.MINED, transaction_hash=OTHER_TRANSACTION)
    )
    assert (recorded.status, recorded.transaction_hash) == (TradeStatus.MINED, OTHER_TRANSACTION)
    (recorded,) = await record_trades(
        orders, a_trade(status=TradeStatus.MATCHED), a_trade(status=TradeStatus.MINED)
    )
    assert (recorded.status, recorded.transaction_hash) == (TradeStatus.MINED, OTHER_TRANSACTION)


async def test_the_settlement_of_a_replaced_transaction_changes_nothing(
    orders: Orders,
) -> None:
    newest = a_trade(status=TradeStatus.MINED, transaction_hash=OTHER_TRANSACTION)
    await record_trades(
        orders, a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION), newest
    )

    await orders.record_settlement(
        resolved(fills=(settled(shares=7, usdc=5, fee_usdc=1),)), now=NOON
    )

    (recorded,) = await orders.load_trades(INTENT_ID)
    assert fields(recorded) == fields(newest)


async def test_an_order_without_trades_has_none(orders: Orders) -> None:
    await record_trades(orders, a_trade())

    assert await orders.load_trades(OTHER_INTENT) == ()
    assert len(await orders.load_trades(INTENT_ID)) == 1


async def test_all_trades_of_the_order_and_of_no_other_are_returned(orders: Orders) -> None:
    await record_trades(orders, another_trade())

    recorded = await record_trades(
        orders,
        a_trade(trade_id="venue-1"),
        a_trade(trade_id="venue-2"),
        a_trade(trade_id="venue-1"),
    )

    assert [trade.trade_id for trade in recorded] == ["venue-1", "venue-2"]


async def test_trades_of_an_order_that_are_recorded_at_once_are_all_recorded(
    orders: Orders,
) -> None:
    order = an_order(state=OrderState.MATCHED)
    await record(orders, order)
    trades = [a_recorded_trade(trade_id=f"venue-{number % 50:02}") for number in range(200)]

    await asyncio.gather(*(orders.settle(order, [trade], now=NOON) for trade in trades))

    assert await orders.load_trades(INTENT_ID) == tuple(trades[:50])


async def test_a_trade_and_what_follows_of_it_for_its_order_are_recorded_together(
    orders: Orders,
) -> None:
    order = an_order(state=OrderState.MATCHED, shares=shares(10))
    await record(orders, order)
    assert await orders.load_trades(INTENT_ID) == ()
    first, second = a_recorded_trade(), a_recorded_trade(trade_id="venue-2", shares=3)
    exact = replace(
        first, status=TradeStatus.CONFIRMED, shares=7, usdc=5, fee_usdc=1, chain_state="final"
    )

    await orders.settle(order, [first, second], now=NOON)
    ended = replace(order, state=OrderState.CONFIRMED, shares=7)
    await orders.settle(ended, [exact], now=NOON)

    assert await orders.load(INTENT_ID) == ended
    assert await orders.load_trades(INTENT_ID) == (exact, second)


async def test_orders_are_found_by_their_hashes_with_their_trades(orders: Orders) -> None:
    matched, ended = an_order(state=OrderState.MATCHED), numbered_order(7)
    for order in (matched, ended):
        await record(orders, order)
    await orders.settle(matched, [a_recorded_trade()], now=NOON)
    ended = replace(ended, state=OrderState.KILLED)
    await orders.save(ended, now=NOON)

    found = await orders.load_by_hash([ORDER_HASH, ended.order_hash, OTHER_HASH])

    assert sorted(found, key=lambda each: each.order.state) == [
        RecordedOrder(order=ended, trades=()),
        RecordedOrder(order=matched, trades=(a_recorded_trade(),)),
    ]


async def test_what_is_saved_later_is_loaded_at_once_and_never_undoes_what_follows(
    orders: Orders,
) -> None:
    await record(orders, an_order())
    matched = an_order(state=OrderState.MATCHED, shares=shares(10), posted_at=NOON)

    await orders.save_later(matched, now=NOON)
    assert await orders.load(INTENT_ID) == matched
    (found,) = await orders.load_by_hash([ORDER_HASH])
    assert found.order == matched

    ended = replace(matched, state=OrderState.CONFIRMED)
    await orders.settle(ended, [a_recorded_trade()], now=NOON)
    assert await orders.load(INTENT_ID) == ended


async def test_each_of_many_orders_and_settlements_has_its_own_result(orders: Orders) -> None:
    given = [numbered_order(number) for number in range(1, 301)]
    new = [
        NewOrder(
            order=order, approved=approved(an_intent(intent_id=order.intent_id)), traceparent=None
        )
        for order in given
    ]
    await record(orders, replace(given[0]))

    recorded = await orders.record_all(new)

    assert recorded == given
    assert recorded[0] is not given[0]
    assert all(one is other for one, other in zip(recorded[1:], given[1:], strict=True))
    settlements = [
        Settlement(
            before=order,
            after=replace(order, state=OrderState.CONFIRMED),
            trades=(a_recorded_trade(),),
        )
        for order in given
    ]
    assert await orders.settle_all(settlements, now=NOON) == [True] * len(given)
    assert await orders.load(given[-1].intent_id) == settlements[-1].after
    assert await orders.load_trades(given[-1].intent_id) == (a_recorded_trade(),)


async def test_an_open_order_is_found_at_once_where_it_is_known(orders: Orders) -> None:
    await record(orders, an_order())

    assert orders.find_open(OTHER_HASH) is None
    assert orders.find_open(ORDER_HASH) in (RecordedOrder(order=an_order(), trades=()), None)

    await orders.save(an_order(state=OrderState.KILLED), now=NOON)
    assert orders.find_open(ORDER_HASH) is None


async def test_the_amounts_of_the_chain_replace_the_rounded_ones_of_the_venue(
    orders: Orders,
) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await record_trades(orders, mined, another_trade(transaction_hash=TRANSACTION))

    await orders.record_settlement(
        resolved(fills=(settled(shares=7, usdc=5, fee_usdc=1),)), now=NOON
    )

    (ours,) = await record_trades(orders, mined)
    (other,) = await record_trades(orders, another_trade())
    assert (ours.shares, ours.usdc, ours.fee_usdc) == (7, 5, 1)
    assert (other.shares, other.usdc) == (shares(10), usdc(5))


async def test_the_settlement_of_one_order_says_nothing_of_another_in_the_same_transaction(
    orders: Orders,
) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    other = another_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await record_trades(orders, mined, other)

    await orders.record_settlement(
        resolved(fills=(settled(shares=7), settled(order_hash=OTHER_HASH, shares=8))), now=NOON
    )

    assert [trade.shares for trade in await orders.load_trades(INTENT_ID)] == [7]
    assert [trade.shares for trade in await orders.load_trades(OTHER_INTENT)] == [shares(10)]


async def test_an_order_that_a_transaction_fills_twice_has_the_sum(orders: Orders) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await record_trades(orders, mined)

    await orders.record_settlement(
        resolved(
            fills=(settled(shares=7, usdc=5, fee_usdc=1), settled(shares=3, usdc=2, fee_usdc=1))
        ),
        now=NOON,
    )

    (recorded,) = await record_trades(orders, mined)
    assert (recorded.shares, recorded.usdc, recorded.fee_usdc) == (10, 7, 2)


async def test_two_trades_of_an_order_in_one_transaction_do_not_each_get_the_whole_fill(
    orders: Orders,
) -> None:
    halves = [
        a_trade(
            trade_id=f"venue-{n}",
            shares=shares(5),
            status=TradeStatus.MINED,
            transaction_hash=TRANSACTION,
        )
        for n in (1, 2)
    ]
    await record_trades(orders, *halves)

    await orders.record_settlement(resolved(fills=(settled(),)), now=NOON)

    assert sum(trade.shares for trade in await record_trades(orders, halves[0])) == shares(10)


@pytest.mark.parametrize(
    "state", [TransactionState.WATCHED, TransactionState.REVERTED, TransactionState.FINAL_REVERTED]
)
async def test_a_transaction_that_settled_nothing_leaves_the_amounts_unchanged(
    orders: Orders, state: TransactionState
) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await record_trades(orders, mined)

    await orders.record_settlement(resolved(state=state, fills=()), now=NOON)

    (recorded,) = await record_trades(orders, mined)
    assert fields(recorded) == fields(mined)
