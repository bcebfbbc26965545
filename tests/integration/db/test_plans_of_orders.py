"""No statement of executor or tx-monitor reads rows of closed orders, however many there are."""

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import status
from cli.why import loading
from services.executor.adapters import rows, statements
from services.executor.decisions import NewOrder, Order, Trade
from services.tx_monitor.adapters import watches
from shared.db.engine import engine_scope, fetch_rows, transaction
from shared.db.group_commit import MAX_GROUP_SIZE
from shared.db.leases import Lease
from shared.domain.ids import intent_id
from shared.messages.orders import OrderState, TradeStatus
from tests.builders import NOON, TRANSACTION, an_intent, approved, resolved, settled
from tests.integration.db.order_history import FIRST_DAY, HISTORY, OPEN_ORDERS, insert_history
from tests.integration.db.plans import (
    Plan,
    believe_empty,
    explain,
    require_linear,
    require_no_history,
)
from tests.leases import executor_leases
from tests.orders import an_order
from tests.patience import patient_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Statements = Mapping[str, tuple[str | TextClause, Mapping[str, Any]]]
"""By name: the SQL and its parameters."""
TABLES = {table.fullname for table in HISTORY}


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(patient_settings(migrated_database_url)) as engine:
        await insert_history(engine)
        yield engine


async def fetch_ids(engine: AsyncEngine, query: str) -> list[str]:
    async with transaction(engine) as connection:
        return [row[0] for row in await fetch_rows(connection, query)]


async def require_plans_without_history(
    engine: AsyncEngine, statements: Statements, *, max_rows: int
) -> None:
    """``max_rows``: how many rows are named, or open."""
    for statement, parameters in statements.values():
        plan = await explain_and_roll_back(engine, statement, parameters)
        require_no_history(plan, history=TABLES, max_rows=max_rows)
        require_linear(plan, batch=max_rows)


async def explain_and_roll_back(
    engine: AsyncEngine,
    statement: str | TextClause,
    parameters: Mapping[str, Any],
) -> Plan:
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))  # begins the transaction
        plan = await explain(connection, statement, parameters)
        await connection.rollback()
    return plan


def executor_statements(
    orders: Sequence[Order], new: Sequence[Order], hashes: Sequence[str], leases: Sequence[Lease]
) -> Statements:
    """``orders``: recorded ones; the parameters as ``PostgresOrders`` makes them. Each is written
    under one of the leases.
    """
    ids = [order.intent_id for order in orders]
    trade = Trade(
        trade_id="venue-1",
        status=TradeStatus.CONFIRMED,
        shares=1,
        usdc=1,
        fee_usdc=0,
        matched_at=NOON,
    )
    updated = list(zip(orders, cycle(leases), strict=False))
    settlements = [
        rows.SettlementUpdate(
            resolved(
                intent_id=each,
                transaction_hash=TRANSACTION,
                fills=(settled(order_hash="0x", shares=1, usdc=1),),
            ),
            at=NOON,
            lease=lease,
        )
        for each, lease in zip(ids, cycle(leases), strict=False)
    ]
    return {
        "record orders": (
            statements.RECORD_ORDERS,
            statements.with_lease(statements.NEW_ORDERS).parameters(
                [
                    rows.build_new_order_row(
                        rows.OrderInsert(
                            NewOrder(
                                order=order,
                                approved=approved(an_intent(intent_id=order.intent_id)),
                                traceparent=None,
                            ),
                            lease,
                        )
                    )
                    for order, lease in zip(new, cycle(leases), strict=False)
                ]
            ),
        ),
        "load orders": (statements.LOAD_ORDERS, {"intent_ids": ids}),
        "save orders": (
            statements.SAVE_ORDERS,
            rows.build_save_parameters(
                [rows.OrderUpdate(order, NOON, lease) for order, lease in updated]
            ),
        ),
        "settle orders": (
            statements.SAVE_ORDERS,
            rows.build_save_parameters(
                [rows.OrderUpdate(order, NOON, lease, (trade,)) for order, lease in updated]
            ),
        ),
        "load orders by hash": (
            statements.LOAD_ORDERS_BY_HASH,
            {"order_hashes": list(hashes)},
        ),
        "load trades": (statements.LOAD_TRADES, {"intent_ids": ids}),
        "lock leases": (
            statements.LOCK_LEASES,
            statements.LEASES.parameters([rows.build_lease_row(lease) for _, lease in updated]),
        ),
        "record settlements": (
            statements.RECORD_SETTLEMENTS,
            rows.build_settlement_parameters(settlements),
        ),
    }


async def test_statements_read_what_they_name_and_what_is_open(engine: AsyncEngine) -> None:
    """Also where the planner believes that each table is empty."""
    await check_all(engine)
    await believe_empty(engine)
    await check_all(engine)


async def check_all(engine: AsyncEngine) -> None:
    await require_plans_without_history(
        engine,
        {
            "open orders": (statements.LOAD_OPEN_ORDERS, {}),
            "open watches": (watches.LOAD_OPEN, {}),
            "status": (status.OPEN_ORDERS, {}),
        },
        max_rows=OPEN_ORDERS,
    )
    await check_executor(engine)
    await check_tx_monitor(engine)
    await check_lookups(engine)


async def check_executor(engine: AsyncEngine) -> None:
    leases = (await executor_leases(engine)).held
    still_open, closed = (
        await fetch_states(engine, "matched"),
        await fetch_states(engine, "confirmed"),
    )
    hashes = await fetch_ids(
        engine, f"select order_hash from executor.orders limit {MAX_GROUP_SIZE}"
    )
    half = MAX_GROUP_SIZE // 2
    ended = [an_order(intent_id=each, state=OrderState.CONFIRMED) for each in still_open[:-half]]
    begun = [an_order(intent_id=each, state=OrderState.MATCHED) for each in closed[:half]]
    new = [
        an_order(intent_id=new_id(number), order_hash=f"0x{number:064x}")
        for number in range(MAX_GROUP_SIZE)
    ]
    for size in (1, MAX_GROUP_SIZE):
        await require_plans_without_history(
            engine,
            executor_statements([*ended, *begun][:size], new[:size], hashes[:size], leases),
            max_rows=MAX_GROUP_SIZE,
        )


async def fetch_states(engine: AsyncEngine, state: str) -> list[str]:
    return await fetch_ids(
        engine,
        f"select intent_id from executor.order_states where state = '{state}' "
        f"order by intent_id desc limit {MAX_GROUP_SIZE}",
    )


def new_id(number: int) -> str:
    return intent_id(trade=str(number), from_shares=0, follow_id="follow", intended_at=FIRST_DAY)


async def check_tx_monitor(engine: AsyncEngine) -> None:
    known = await fetch_ids(
        engine,
        f"select request_id from tx_monitor.open_watches limit {MAX_GROUP_SIZE}",
    )
    row = {
        "proxy": "p",
        "transaction_hash": TRANSACTION,
        "purpose": "settlement",
        "intent_id": "i",
        "state": "final",
        "block_number": 1,
        "block_hash": "b",
        "fills": "[]",
        "traceparent": None,
        "requested_at": NOON,
        "updated_at": NOON,
    }
    for size in (1, MAX_GROUP_SIZE):
        ids = known[:size]
        new = [row | {"request_id": f"{each}:new"} for each in ids]
        changed = [row | {"request_id": each} for each in ids]
        await require_plans_without_history(
            engine,
            {
                "record": (watches.RECORD, watches.NEW_WATCHES.parameters(new)),
                "load": (watches.LOAD, {"ids": ids}),
                "save": (watches.SAVE, watches.WATCHES.parameters(changed)),
                "close": (watches.CLOSE, {"ids": ids}),
            },
            max_rows=MAX_GROUP_SIZE,
        )


async def check_lookups(engine: AsyncEngine) -> None:
    """By what no partition is known of: their indexes are read, and of their rows one."""
    (order_hash,) = await fetch_ids(engine, "select order_hash from executor.orders limit 1")
    (known,) = await fetch_ids(engine, "select intent_id from executor.trades limit 1")
    for statement, parameters in (
        ("select intent_id from executor.orders where order_hash = :hash", {"hash": order_hash}),
        (loading.ORDERS, {"ids": [known]}),
    ):
        plan = await explain_and_roll_back(engine, statement, parameters)
        read = plan.of_tables(TABLES)
        assert [scan.rows for scan in read] == [1] * len(read)
        assert all(scan.condition for scan in read), plan.text
