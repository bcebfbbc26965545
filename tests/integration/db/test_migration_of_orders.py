"""Orders, trades and watches of the previous release are in the partitions of their ids."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import VenueReply
from services.tx_monitor.adapters import PostgresWatches
from shared.clock import utc_now
from shared.db import tables
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from shared.messages.orders import FINAL_STATES, OrderState, TradeStatus
from tests.builders import LEADER, NOON, PROXY, TOKEN, TRANSACTION, a_trade, seconds, shares, usdc
from tests.integration.db.rows import insert_row
from tests.leases import executor_leases
from tests.orders import MISTAKEN_OPEN_ORDERS, record_trade
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

PREVIOUS = "0018"
OLD, DATED = "1a" * 16, "i20260105-" + "2b" * 12
"""The ids of two copies: the second as a release wrote it that already knew days."""
DATED_WEEK = "20260105"
NAMES = ("executor.orders", "executor.trades", "tx_monitor.watches")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of a database of the previous release, with an order in each state twice."""
    engine = open_engine(patient_settings(database_url))
    async with engine.begin() as connection:
        await connection.execute(text("create schema control"))
        await connection.run_sync(upgrade_to_previous)
        for number, state in enumerate(OrderState):
            for intent_id in (OLD, DATED):
                await insert_copy(connection, f"{intent_id[:-1]}{number}", state)
    yield engine
    await engine.dispose()


def upgrade_to_previous(connection: Connection) -> None:
    command.upgrade(config(connection), PREVIOUS)


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


async def insert_copy(connection: AsyncConnection, intent_id: str, state: OrderState) -> None:
    await insert_row(
        connection,
        "executor.orders",
        intent_id=intent_id,
        proxy=PROXY,
        order_hash=f"hash of {intent_id}",
        body=f"bytes of {intent_id}",
        side="BUY",
        token_id=TOKEN,
        leader=LEADER,
        leader_price=0,
        limit_price=0,
        fee_rate=0,
        state=state.value,
        reason=f"why {intent_id}",
        shares=shares(10),
        usdc=usdc(5),
        fee_usdc=7,
        traceparent=f"trace of {intent_id}",
        expires_at=NOON,
        title="title",
        outcome="Yes",
        seen_at=NOON,
        intended_at=NOON + seconds(1),
        quoted_at=NOON + seconds(2),
        approved_at=NOON + seconds(3),
        signed_at=NOON + seconds(4),
        posted_at=NOON + seconds(5),
        answered_at=NOON + seconds(6),
        confirmed_at=NOON + seconds(7),
        last_reply="arrived",
        unverified_since=NOON + seconds(8),
        empty_lookups=3,
        alerted_at=NOON + seconds(9),
        requested_shares=4,
    )
    await insert_row(
        connection,
        "executor.trades",
        order_hash=f"hash of {intent_id}",
        trade_id="venue-1",
        intent_id=intent_id,
        proxy=PROXY,
        token_id=TOKEN,
        side="BUY",
        status="FAILED" if state is OrderState.FAILED else "MINED",
        shares=shares(10),
        usdc=usdc(5),
        fee_usdc=7,
        transaction_hash=TRANSACTION,
        chain_state="mined",
        matched_at=NOON,
        updated_at=NOON,
    )
    await insert_row(
        connection,
        "tx_monitor.watches",
        request_id=f"{intent_id}:{TRANSACTION}",
        proxy=PROXY,
        transaction_hash=TRANSACTION,
        purpose="settlement",
        intent_id=intent_id,
        state={"signed": "watched", "matched": "mined", "killed": "dropped"}.get(state, "final"),
        block_number=3,
        block_hash="block",
        fills="[]",
        traceparent="trace",
        requested_at=NOON,
        updated_at=NOON,
    )


async def dump(engine: AsyncEngine) -> dict[str, list[dict[str, Any]]]:
    await engine.dispose()  # what is prepared on its connections is of other tables
    async with transaction(engine) as connection:
        found = {
            name: await fetch_rows(connection, f"select * from {name} order by 1, 2")
            for name in (*NAMES, "executor.positions")
        }
    return {name: [dict(row._mapping) for row in rows] for name, rows in found.items()}


async def test_every_row_is_there_with_all_of_its_values(engine: AsyncEngine) -> None:
    before = await dump(engine)

    await migrate(engine)
    await engine.dispose()  # its connections know the statements of the earlier tables

    assert await find_differences(engine) == ""
    after = await dump(engine)
    async with transaction(engine) as connection:
        orders = await fetch_rows(connection, "select * from executor.orders_with_states")
    by_intent = {order["intent_id"]: order for order in before["executor.orders"]}
    for order in by_intent.values():
        order.pop("intent")
    assert {row.intent_id: dict(row._mapping) for row in orders} == by_intent
    for name in ("tx_monitor.watches", "executor.positions"):
        assert after[name] == before[name]
    assert sorted(after["executor.trades"], key=str) == sorted(
        [
            {column.name: trade[column.name] for column in tables.trades.columns}
            for trade in before["executor.trades"]
        ],
        key=str,
    )


async def test_old_ids_are_in_a_partition_of_their_own_and_others_by_week(
    engine: AsyncEngine,
) -> None:
    await migrate(engine)

    async with transaction(engine) as connection:
        for table in (tables.orders, tables.order_states, tables.trades, tables.watches):
            key = table.info["partitioned_by"]
            rows = await fetch_rows(
                connection,
                f"select distinct left({key}, 1) as first, tableoid::regclass::text as partition "
                f"from {table.fullname} order by 1",
            )
            assert [tuple(row) for row in rows] == [
                ("1", f"{table.fullname}_before"),
                ("i", f"{table.fullname}_{DATED_WEEK}"),
            ]
            partitions = await fetch_rows(
                connection,
                "select inhrelid::regclass::text as name from pg_inherits "
                f"where inhparent = '{table.fullname}'::regclass",
            )
            days = {row.name.rpartition("_")[2] for row in partitions} - {"before", "default"}
            first, last = date.fromisoformat(DATED_WEEK), date.fromisoformat(max(days))
            assert days == {
                f"{first + timedelta(weeks=week):%Y%m%d}"
                for week in range((last - first).days // 7 + 1)
            }
            assert last > utc_now().date() + timedelta(days=7)


async def test_what_is_open_is_followed_and_goes_on(engine: AsyncEngine) -> None:
    await migrate(engine)
    orders = PostgresOrders(engine, await executor_leases(engine))

    still_open = await orders.load_open_orders()
    watches = await PostgresWatches(engine).load_open()

    assert sorted(order.state for order in still_open) == sorted(
        2 * [state for state in OrderState if state not in FINAL_STATES]
    )
    assert {order.last_reply for order in still_open} == {VenueReply.ARRIVED}
    assert sorted(watch.state for watch in watches) == ["mined", "mined", "watched", "watched"]
    async with transaction(engine) as connection:
        assert await fetch_rows(connection, MISTAKEN_OPEN_ORDERS) == []
    old = next(order for order in still_open if order.intent_id.startswith(OLD[:8]))
    confirmed = a_trade(intent_id=old.intent_id, status=TradeStatus.CONFIRMED)
    (trade,) = await record_trade(orders, confirmed)
    assert (trade.status, trade.transaction_hash) == (TradeStatus.CONFIRMED, TRANSACTION)


async def test_a_downgrade_restores_every_row(engine: AsyncEngine) -> None:
    before = await dump(engine)
    await migrate(engine)

    async with engine.begin() as connection:
        await connection.run_sync(downgrade_to_previous)

    assert await dump(engine) == before
    await migrate(engine)
    assert await find_differences(engine) == ""
