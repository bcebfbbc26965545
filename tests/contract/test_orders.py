"""What every store of orders does, the fake and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import Order, VenueReply
from services.executor.handler import Orders
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.domain.money import Side
from shared.messages.orders import OrderState, TradeReported, TradeStatus
from shared.messages.transactions import TransactionState
from tests.builders import (
    LEADER,
    NOON,
    ORDER_HASH,
    PROXY,
    TOKEN,
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

BOUGHT = approved().intent_id


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def orders(request: pytest.FixtureRequest) -> AsyncIterator[Orders]:
    if request.param == "fake":
        yield FakeOrders()
        return
    engine = open_engine(
        DatabaseSettings.model_validate({"url": request.getfixturevalue("migrated_database_url")})
    )
    yield PostgresOrders(engine, await executor_leases(engine))
    await engine.dispose()


def an_order(**overrides: Any) -> Order:
    base = Order(
        intent_id=BOUGHT, proxy=PROXY, leader=LEADER, order_hash=ORDER_HASH, body='{"signed":"bytes"}', side=Side.BUY, token_id=TOKEN,
        state=OrderState.SIGNED, fee_rate=approved().quote.fee_rate, expires_at=approved().expires_at, signed_at=NOON,
    )  # fmt: skip
    return replace(base, **overrides)


def numbered(number: int) -> Order:
    return an_order(intent_id=f"{number:032x}", order_hash=f"0x{number:064x}")


async def recorded(orders: Orders, order: Order) -> Order:
    return await orders.record(order, approved(an_intent(intent_id=order.intent_id)))


async def booked(orders: Orders, *trades: TradeReported) -> tuple[TradeReported, ...]:
    standing: tuple[TradeReported, ...] = ()
    for trade in trades:
        standing = await orders.record_trade(trade, now=NOON)
    return standing


def told(trade: TradeReported) -> tuple[object, ...]:
    return (
        trade.trade_id,
        trade.status,
        trade.shares,
        trade.usdc,
        trade.fee_usdc,
        trade.transaction_hash,
    )


async def test_the_first_order_of_an_intent_stands_and_only_the_first_is_given_back_itself(
    orders: Orders,
) -> None:
    first, second = (
        an_order(),
        an_order(body="other bytes", order_hash="0x" + "ee" * 32, signed_at=NOON + seconds(1)),
    )

    assert await recorded(orders, first) is first
    again = await recorded(orders, second)
    assert again == first
    assert again is not second


async def test_an_order_is_loaded_as_it_was_kept(orders: Orders) -> None:
    await recorded(orders, an_order())

    assert await orders.load(BOUGHT) == an_order()
    assert await orders.load("nobody") is None


async def test_what_became_of_an_order_is_kept_and_its_bytes_and_first_sending_never_change(
    orders: Orders,
) -> None:
    await recorded(orders, an_order())
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

    assert await orders.load(BOUGHT) == an_order(
        state=OrderState.MATCHED, reason="Lost", posted_at=NOON, shares=1, usdc=2, fee_usdc=3
    )


async def test_what_is_known_of_an_order_without_an_outcome_is_kept_and_the_first_alert_stands(
    orders: Orders,
) -> None:
    await recorded(orders, an_order())
    doubted = an_order(
        state=OrderState.UNKNOWN,
        last_reply=VenueReply.KILLED,
        unverified_since=NOON,
        empty_lookups=1,
        alerted_at=NOON,
    )

    await orders.save(doubted, now=NOON)
    assert await orders.load(BOUGHT) == doubted

    await orders.save(
        replace(doubted, unverified_since=None, empty_lookups=0, alerted_at=NOON + seconds(9)),
        now=NOON,
    )
    assert await orders.load(BOUGHT) == replace(doubted, unverified_since=None, empty_lookups=0)


async def test_each_caller_of_a_large_group_gets_its_own_order(orders: Orders) -> None:
    given = [numbered(number) for number in range(1, 501)]

    assert await asyncio.gather(*(recorded(orders, order) for order in given)) == given
    assert await asyncio.gather(*(orders.load(order.intent_id) for order in given)) == given


async def test_trades_only_move_on_and_a_repetition_changes_nothing(orders: Orders) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)

    (standing,) = await booked(
        orders, a_trade(), mined, a_trade(), a_trade(status=TradeStatus.RETRYING), mined
    )

    assert told(standing) == told(mined)


@pytest.mark.parametrize("final", [TradeStatus.CONFIRMED, TradeStatus.FAILED])
@pytest.mark.parametrize("later", list(TradeStatus))
async def test_a_final_status_stands(
    orders: Orders, final: TradeStatus, later: TradeStatus
) -> None:
    (standing,) = await booked(orders, a_trade(status=final), a_trade(status=later, shares=1))

    assert (standing.status, standing.shares) == (final, shares(10))


async def test_a_trade_that_goes_out_again_is_kept_with_its_newest_transaction(
    orders: Orders,
) -> None:
    again = "0x" + "2b" * 32
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    retrying = a_trade(status=TradeStatus.RETRYING, transaction_hash=TRANSACTION)

    assert told(*(await booked(orders, a_trade(), mined, retrying))) == told(retrying)
    (standing,) = await booked(orders, a_trade(status=TradeStatus.MINED, transaction_hash=again))
    assert (standing.status, standing.transaction_hash) == (TradeStatus.MINED, again)
    (standing,) = await booked(
        orders, a_trade(status=TradeStatus.MATCHED), a_trade(status=TradeStatus.MINED)
    )
    assert (standing.status, standing.transaction_hash) == (TradeStatus.MINED, again)


async def test_the_chains_word_on_a_transaction_that_was_replaced_changes_nothing(
    orders: Orders,
) -> None:
    again = "0x" + "2b" * 32
    newest = a_trade(status=TradeStatus.MINED, transaction_hash=again)
    await booked(orders, a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION), newest)

    await orders.record_settlement(resolved(fills=(settled(shares=7, usdc=5, fee_usdc=1),)), now=NOON)

    assert told(*(await orders.load_trades(ORDER_HASH))) == told(newest)


async def test_the_trades_of_an_order_that_has_none_are_none(orders: Orders) -> None:
    await booked(orders, a_trade())

    assert await orders.load_trades("0x" + "ee" * 32) == ()
    assert len(await orders.load_trades(ORDER_HASH)) == 1


async def test_all_trades_of_the_order_and_of_no_other_come_back(orders: Orders) -> None:
    await booked(orders, a_trade(order_hash="0x" + "ee" * 32, trade_id="venue-1"))

    standing = await booked(
        orders,
        a_trade(trade_id="venue-1"),
        a_trade(trade_id="venue-2"),
        a_trade(trade_id="venue-1"),
    )

    assert [trade.trade_id for trade in standing] == ["venue-1", "venue-2"]


async def test_a_group_of_trades_with_repetitions_is_booked_once_each(orders: Orders) -> None:
    trades = [a_trade(trade_id=f"venue-{number % 50}") for number in range(200)]

    await asyncio.gather(*(orders.record_trade(trade, now=NOON) for trade in trades))

    assert len(await booked(orders, a_trade(trade_id="venue-0"))) == 50


async def test_what_the_chain_settled_replaces_what_the_venue_rounded(orders: Orders) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await booked(orders, mined, a_trade(order_hash="0x" + "ee" * 32, transaction_hash=TRANSACTION))

    await orders.record_settlement(resolved(fills=(settled(shares=7, usdc=5, fee_usdc=1),)), now=NOON)

    (ours,) = await booked(orders, mined)
    (other,) = await booked(orders, a_trade(order_hash="0x" + "ee" * 32))
    assert (ours.shares, ours.usdc, ours.fee_usdc) == (7, 5, 1)
    assert (other.shares, other.usdc) == (shares(10), usdc(5))


async def test_an_order_that_a_transaction_fills_twice_is_booked_by_the_sum(orders: Orders) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await booked(orders, mined)

    await orders.record_settlement(
        resolved(
            fills=(settled(shares=7, usdc=5, fee_usdc=1), settled(shares=3, usdc=2, fee_usdc=1))
        ),
        now=NOON,
    )

    (standing,) = await booked(orders, mined)
    assert (standing.shares, standing.usdc, standing.fee_usdc) == (10, 7, 2)


async def test_two_trades_of_an_order_in_one_transaction_are_not_each_given_the_whole(
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
    await booked(orders, *halves)

    await orders.record_settlement(resolved(fills=(settled(),)), now=NOON)

    assert sum(trade.shares for trade in await booked(orders, halves[0])) == shares(10)


@pytest.mark.parametrize(
    "state", [TransactionState.WATCHED, TransactionState.REVERTED, TransactionState.FINAL_REVERTED]
)
async def test_a_transaction_that_settled_nothing_leaves_the_figures(
    orders: Orders, state: TransactionState
) -> None:
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await booked(orders, mined)

    await orders.record_settlement(resolved(state=state, fills=()), now=NOON)

    (standing,) = await booked(orders, mined)
    assert told(standing) == told(mined)
