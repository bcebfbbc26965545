"""No statement of the path of a leader's trade reads what is long over."""

from asyncio import gather
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters import PostgresTrades
from services.ingest.adapters.unsettled import UnsettledTradesCheck
from services.ingest.decisions import (
    CopySize,
    CopySlice,
    FillRow,
    Reconciliation,
    SizeState,
    list_prices,
    row_key,
)
from shared.db.engine import engine_scope, transaction
from shared.db.group_commit import MAX_GROUP_SIZE
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import LEADER, NOON, TOKEN, a_fill, seconds
from tests.integration.db.plans import (
    believe_empty,
    explain_call,
    observed_statements,
    require_linear,
    require_no_history,
)
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

OLD_TRADES = 100_000
HISTORY = ("ingest.fills", "ingest.copy_slices", "ingest.copy_sizes")
MAX_ROWS = 1_000
"""Read in one scan: the leader's trades of the last minutes, and what belongs to them."""

FILL = (
    f"""
    insert into ingest.fills (trade_id, source, row_id, shares, seen_at, leader, transaction_hash,
                              token_id, side, filled_at)
    select md5('trade' || n), source, 'row-' || n % 100, 100, at, '{LEADER}', md5('tx' || n),
           '{TOKEN}', 'BUY', at
    from generate_series(1, {OLD_TRADES}) as n,
         lateral (select cast(:now as timestamptz) - n * interval '1 minute' as at) as times,
         unnest(array['rtds', 'chain']) as source
    """,
    f"""
    insert into ingest.copy_slices (trade_id, from_shares, to_shares, source, row_id,
                                    controls_version, intended_at, sequence)
    select md5('trade' || n), 0, 100, 'rtds', 'row-' || n % 100, 1,
           cast(:now as timestamptz) - n * interval '1 minute', 0
    from generate_series(1, {OLD_TRADES}) as n
    """,
    f"""
    insert into ingest.copy_slices (trade_id, from_shares, to_shares, source, row_id,
                                    controls_version, intended_at, sequence, resent_of)
    select md5('trade' || n), 100, 200, 'rtds', 'row', 1,
           cast(:now as timestamptz) - n * interval '1 minute', 1, md5('trade' || n + 1)
    from generate_series(1, {OLD_TRADES}, 10) as n
    """,
    f"""
    insert into ingest.copy_sizes (trade_id, sequence, follow_id, token_id, number, state, usdc,
                                   carried_usdc, accrued_usdc, let_go_usdc, lots)
    select md5('trade' || n), 0, 'follow-1', '{TOKEN}', {OLD_TRADES} - n, '{SizeState.CARRIED}',
           0, 0, 0, 0, '[]'
    from generate_series(1, {OLD_TRADES}) as n
    """,
)
"""One trade a minute for months, of one leader and token: the last ones are recent."""

Executed = dict[str, Sequence[Any]]
"""The values of the largest call of each statement."""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(patient_settings(migrated_database_url)) as engine:
        async with transaction(engine) as connection:
            for statement in FILL:
                await connection.execute(
                    text(statement), {"now": NOON} if ":now" in statement else {}
                )
            for table in HISTORY:
                await connection.execute(text(f"analyze {table}"))
        yield engine


@contextmanager
def executed_statements(engine: AsyncEngine) -> Iterator[Executed]:
    executed: Executed = {}

    async def remember(_driver: Any, statement: str, values: Sequence[Any]) -> None:
        if count_values(values) >= count_values(executed.get(statement, ())):
            executed[statement] = values

    with observed_statements(engine, remember):
        yield executed


def count_values(values: Sequence[Any]) -> int:
    return sum(len(each) for each in values if isinstance(each, list))


def a_size(fill: LeaderFillSeen) -> CopySize:
    return CopySize(
        trade_id=fill.trade_id,
        sequence=0,
        follow_id=f"follow-of-{fill.trade_id}",
        token_id=TOKEN,
        number=OLD_TRADES,
        state=SizeState.CARRIED,
        usdc=0,
        carried_usdc=0,
        accrued_usdc=0,
        let_go_usdc=0,
        lots=(),
        equities=None,
    )


def as_decided(fill: LeaderFillSeen) -> Reconciliation:
    whole = CopySlice(
        sequence=0,
        from_shares=0,
        to_shares=fill.shares,
        caused_by=row_key(fill),
        controls_version=1,
        intended_at=NOON,
    )
    row = FillRow(
        shares=fill.shares,
        filled_at=fill.filled_at,
        awaits_confirmation=False,
        prices=list_prices(fill),
    )
    return Reconciliation(row=row, slices=(whole,))


async def test_trades_are_handled_without_reading_what_is_over(engine: AsyncEngine) -> None:
    """Alone and many at once; also where the planner believes that each table is empty."""
    one = await handle([a_fill()], engine)
    many = await handle([another_fill(number) for number in range(MAX_GROUP_SIZE)], engine)

    await require_plans(engine, one)
    await require_plans(engine, many)
    await believe_empty(engine)
    await require_plans(engine, many)


def another_fill(number: int) -> LeaderFillSeen:
    return a_fill(
        leader=LEADER if number == 0 else f"0x{number:040x}", transaction_hash=f"0x{number:064x}"
    )


async def handle(from_socket: Sequence[LeaderFillSeen], engine: AsyncEngine) -> Executed:
    """What is executed for these fills, and the check of what is unsettled."""
    trades = PostgresTrades(engine)
    from_chain = [
        each.model_copy(update={"source": FillSource.CHAIN, "transaction_hash": "0x" + "b" * 64})
        for each in from_socket
    ]
    unsettled = UnsettledTradesCheck(
        engine,
        leaders=lambda: {LEADER},
        now=lambda: NOON,
        after=seconds(60),
        check_interval=timedelta(minutes=1),
    )
    with executed_statements(engine) as executed:
        for fills in (from_socket, from_chain):
            await gather(*(trades.load(fill) for fill in fills))
            await gather(
                *(
                    trades.load_sizes(fill, {f"follow-{number}"}, of_others=frozenset())
                    for number, fill in enumerate(fills, start=1)
                )
            )
            await trades.load_others(fills[0])
        await gather(
            *(trades.record(fill, as_decided(fill), [a_size(fill)]) for fill in from_socket)
        )
        await unsettled.check()
    assert {table for table in HISTORY if table in " ".join(executed)} == set(HISTORY)
    return executed


async def require_plans(engine: AsyncEngine, executed: Executed) -> None:
    for statement, values in executed.items():
        async with engine.connect() as connection:
            await connection.exec_driver_sql("select")  # begins the transaction
            driver = (await connection.get_raw_connection()).driver_connection
            plan = await explain_call(driver, statement, values)
            await connection.rollback()
        require_no_history(plan, history=HISTORY, max_rows=MAX_ROWS)
        require_linear(plan, batch=MAX_GROUP_SIZE)
