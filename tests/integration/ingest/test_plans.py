"""No statement of the path of a leader's trade reads what is long over."""

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
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import LEADER, NOON, TOKEN, a_fill, seconds
from tests.integration.db.plans import (
    PLAN_MODES,
    PlanMode,
    explain_call,
    observed_statements,
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
"""The values of the first call of each statement."""


@pytest.fixture(scope="module", params=PLAN_MODES)
def mode(request: pytest.FixtureRequest) -> PlanMode:
    mode: PlanMode = request.param
    return mode


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
        executed.setdefault(statement, values)

    with observed_statements(engine, remember):
        yield executed


def a_size(fill: LeaderFillSeen) -> CopySize:
    return CopySize(
        trade_id=fill.trade_id,
        sequence=0,
        follow_id="follow-1",
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


async def test_a_trade_is_handled_without_reading_what_is_over(
    engine: AsyncEngine, mode: PlanMode
) -> None:
    trades = PostgresTrades(engine)
    from_socket = a_fill()
    from_chain = a_fill(source=FillSource.CHAIN, transaction_hash="0x" + "b" * 64)
    unsettled = UnsettledTradesCheck(
        engine,
        leaders=lambda: {LEADER},
        now=lambda: NOON,
        after=seconds(60),
        check_interval=timedelta(minutes=1),
    )

    with executed_statements(engine) as executed:
        for fill in (from_socket, from_chain):
            await trades.load(fill)
            await trades.load_sizes(fill, {"follow-1"}, of_others=frozenset())
            await trades.load_others(fill)
        await trades.record(from_socket, as_decided(from_socket), [a_size(from_socket)])
        await unsettled.check()

    assert {table for table in HISTORY if table in " ".join(executed)} == set(HISTORY)
    for statement, values in executed.items():
        async with engine.connect() as connection:
            await connection.exec_driver_sql("select")  # begins the transaction
            driver = (await connection.get_raw_connection()).driver_connection
            plan = await explain_call(driver, statement, values, mode=mode)
            require_no_history(plan, history=HISTORY, max_rows=MAX_ROWS)
            await connection.rollback()
