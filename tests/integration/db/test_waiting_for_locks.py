"""A statement that has waited for the locks of all rows that it changes does what it does without.

PostgreSQL looks such rows up again. By that, statements that lock rows of a partitioned table in a
lookup for each row have ended a server of PostgreSQL 18 (docs/adr/0013).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import NewOrder, Order, Settlement, Trade
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.handler import Recording
from services.tx_monitor.adapters import PostgresWatches
from services.tx_monitor.adapters.watches import SAVE, WATCHES
from services.tx_monitor.decisions.watches import apply_receipt, build_watch
from shared.db import tables
from shared.db.engine import engine_scope, fetch_rows, transaction
from shared.messages.orders import OrderState, TradeStatus
from shared.messages.transactions import TransactionState
from shared.testing.waiting import eventually
from tests.builders import (
    NOON,
    TRANSACTION,
    a_receipt,
    an_intent,
    an_outcome,
    approved,
    requested,
    resolved,
    seconds,
)
from tests.leases import executor_leases
from tests.locks import is_anything_waiting
from tests.orders import numbered_order
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

T = TypeVar("T")

ROUNDS = 5
COUNT = 30
CHANGE_ALL = {
    "control.leases": "token = token",
    "executor.order_states": "reason = reason",
    "executor.open_orders": "proxy = proxy",
    "executor.trades": "usdc = usdc",
    "preflight.intents": "reason = reason",
    "preflight.reservations": "cap_usdc = cap_usdc",
    "preflight.reservation_sums": "open_usdc = open_usdc",
    "preflight.spending_windows": "usdc_by_hour = usdc_by_hour",
    "tx_monitor.watches": "fills = fills",
    "tx_monitor.open_watches": "request_id = request_id",
}
"""What changes all rows of a table, and nothing in them."""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(patient_settings(migrated_database_url)) as engine:
        yield engine


@asynccontextmanager
async def all_rows_changed(engine: AsyncEngine, table: str) -> AsyncIterator[None]:
    """Meanwhile all rows of the table are locked; at the end they have changed."""
    async with engine.connect() as connection:
        await connection.execute(text(f"update {table} set {CHANGE_ALL[table]}"))
        yield
        await connection.commit()


async def after_waiting(engine: AsyncEngine, table: str, work: Awaitable[T]) -> T:
    """The result of what is begun while all rows of the table are locked. It may wait or not."""
    async with all_rows_changed(engine, table):
        done = asyncio.ensure_future(work)
        await eventually(lambda: _waits_or_is_done(engine, done))
    return await done


async def _waits_or_is_done(engine: AsyncEngine, done: asyncio.Future[T]) -> bool:
    return done.done() or await is_anything_waiting(engine)


def test_every_partitioned_table_that_is_updated_is_among_these() -> None:
    partitioned = {
        table.fullname
        for table in tables.metadata.tables.values()
        if table.dialect_options["postgresql"]["partition_by"]
    }
    assert partitioned - CHANGE_ALL.keys() == {"executor.orders", "preflight.verdicts"}


def build_trade(order: Order) -> Trade:
    return Trade(
        trade_id=f"venue-{order.intent_id}",
        status=TradeStatus.CONFIRMED,
        shares=10_000_000,
        usdc=5_000_000,
        fee_usdc=0,
        transaction_hash=TRANSACTION,
        matched_at=NOON,
    )


def settlements(orders: Sequence[Order]) -> list[Settlement]:
    return [
        Settlement(
            before=order,
            after=replace(order, state=OrderState.CONFIRMED, usdc=5_000_000),
            trades=(build_trade(order),),
        )
        for order in orders
    ]


@pytest.mark.parametrize(
    "table",
    ["control.leases", "executor.order_states", "executor.open_orders", "executor.trades"],
)
async def test_orders_are_saved_and_settled(engine: AsyncEngine, table: str) -> None:
    adapter = PostgresOrders(engine, await executor_leases(engine))
    for number in range(ROUNDS):
        orders = [numbered_order(number * COUNT + each) for each in range(COUNT)]
        new = [
            NewOrder(
                order=order,
                approved=approved(an_intent(intent_id=order.intent_id)),
                traceparent=None,
            )
            for order in orders
        ]
        assert await after_waiting(engine, table, adapter.record_all(new)) == orders
        for order in orders:
            await adapter.save_later(replace(order, state=OrderState.MATCHED), now=NOON)
        await after_waiting(engine, table, adapter.late_saves.flush())
        settled = adapter.settle_all(settlements(orders), now=NOON + seconds(1))
        assert await after_waiting(engine, table, settled) == [True] * COUNT
        results = [
            resolved(intent_id=order.intent_id, proxy=order.proxy, transaction_hash=TRANSACTION)
            for order in orders
        ]
        recorded = asyncio.gather(
            *(adapter.record_settlement(each, now=NOON + seconds(2)) for each in results)
        )
        await after_waiting(engine, table, recorded)

    async with transaction(engine) as connection:
        states = await fetch_rows(connection, "select state from executor.order_states")
        trades = await fetch_rows(connection, "select chain_state from executor.trades")
        still_open = await fetch_rows(connection, "select * from executor.open_orders")
    assert [row.state for row in states] == ["confirmed"] * (ROUNDS * COUNT)
    assert [row.chain_state for row in trades] == [resolved().state.value] * (ROUNDS * COUNT)
    assert still_open == []


@pytest.mark.parametrize("table", [name for name in CHANGE_ALL if name.startswith("preflight.")])
async def test_verdicts_are_recorded_and_settled(engine: AsyncEngine, table: str) -> None:
    verdicts = PostgresVerdicts(engine)
    for number in range(ROUNDS):
        judged = [
            approved(
                an_intent(
                    intent_id=f"i20260101-{number:02d}{each:02d}",
                    proxy=f"0x{each:040x}",
                    follow_id=f"follow-{each}",
                )
            )
            for each in range(COUNT)
        ]
        recorded = verdicts.record_all([Recording(verdict=each) for each in judged])
        assert await after_waiting(engine, table, recorded) == judged
        ends = asyncio.gather(
            *(
                verdicts.settle(
                    an_outcome(intent_id=each.intent_id, proxy=each.intent.proxy),
                    now=NOON + seconds(1),
                )
                for each in judged
            )
        )
        await after_waiting(engine, table, ends)

    async with transaction(engine) as connection:
        ended = await fetch_rows(connection, "select state, settled_at from preflight.intents")
        reserved = await fetch_rows(
            connection, "select intent_id from preflight.reservations where settled_at is null"
        )
        sums = await fetch_rows(connection, "select open_usdc from preflight.reservation_sums")
    assert {(row.state, row.settled_at) for row in ended} == {("confirmed", NOON + seconds(1))}
    assert len(ended) == ROUNDS * COUNT
    assert reserved == []
    assert {row.open_usdc for row in sums} == {0}


async def test_a_watch_that_was_dropped_meanwhile_is_open_again(engine: AsyncEngine) -> None:
    """Two instances save it, while it passes from one to the other."""
    watches = PostgresWatches(engine)
    watch = build_watch(requested())
    await watches.record(watch, now=NOON)
    dropped = {
        "request_id": watch.request_id,
        "state": TransactionState.DROPPED,
        "block_number": None,
        "block_hash": "",
        "fills": "[]",
        "updated_at": NOON,
    }
    async with engine.begin() as connection:
        await fetch_rows(connection, SAVE, **WATCHES.parameters([dropped]))
        mined = asyncio.ensure_future(
            watches.save(apply_receipt(watch, a_receipt()), now=NOON + seconds(1))
        )
        await eventually(lambda: _waits_or_is_done(engine, mined))
    await mined

    assert [each.state for each in await watches.load_open()] == [TransactionState.MINED]


@pytest.mark.parametrize("table", ["tx_monitor.watches", "tx_monitor.open_watches"])
async def test_watches_are_saved(engine: AsyncEngine, table: str) -> None:
    watches = PostgresWatches(engine)
    for number in range(ROUNDS):
        opened = [
            build_watch(requested(request_id=f"i20260101-{number:02d}{each:02d}"))
            for each in range(COUNT)
        ]
        await asyncio.gather(*(watches.record(each, now=NOON) for each in opened))
        final = [
            replace(apply_receipt(each, a_receipt()), state=TransactionState.FINAL)
            for each in opened
        ]
        saved = asyncio.gather(*(watches.save(each, now=NOON + seconds(1)) for each in final))
        await after_waiting(engine, table, saved)

    async with transaction(engine) as connection:
        states = await fetch_rows(connection, "select state from tx_monitor.watches")
        still_open = await fetch_rows(connection, "select * from tx_monitor.open_watches")
    assert [row.state for row in states] == ["final"] * (ROUNDS * COUNT)
    assert still_open == []
