"""What the reader of plans reports of statements whose plans are known."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import engine_scope
from tests.integration.db.plans import PLAN_MODES, PlanMode, explain, require_no_history
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

ROWS = 20_000
CREATE = (
    "create schema kept",
    "create table kept.rows (id text primary key, n bigint, at timestamptz) "
    "partition by range (id)",
    "create table kept.rows_before partition of kept.rows for values from (minvalue) to ('i')",
    "create table kept.rows_20261123 partition of kept.rows for values from ('i') to ('j')",
    f"insert into kept.rows select 'i' || n, n, now() from generate_series(1, {ROWS}) as n",
    "analyze kept.rows",
)


@pytest.fixture(params=PLAN_MODES)
def mode(request: pytest.FixtureRequest) -> PlanMode:
    mode: PlanMode = request.param
    return mode


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection]:
    async with (
        engine_scope(patient_settings(database_url)) as engine,
        engine.begin() as connection,
    ):
        for statement in CREATE:
            await connection.execute(text(statement))
        yield connection


async def test_rows_that_are_named_are_read_by_the_index(
    connection: AsyncConnection, mode: PlanMode
) -> None:
    statement = (
        "select r.n from unnest(cast(:ids as text[])) as q(id) join kept.rows r on r.id = q.id"
    )

    plan = await explain(connection, statement, {"ids": ["i17", "i4'2", 'i"\\']}, mode=mode)

    require_no_history(plan, history={"kept.rows"}, max_rows=3)
    assert sum(scan.rows for scan in plan.of_tables({"kept.rows"})) == 1


async def test_a_statement_that_reads_the_whole_table_does_not_pass(
    connection: AsyncConnection, mode: PlanMode
) -> None:
    plan = await explain(
        connection, "select count(*) from kept.rows where n < :least", {"least": 0}, mode=mode
    )

    with pytest.raises(AssertionError, match="reads all of the table"):
        require_no_history(plan, history={"kept.rows"}, max_rows=ROWS)
    with pytest.raises(AssertionError, match="reads more than 10 rows"):
        require_no_history(plan, history=(), max_rows=10)


async def test_a_statement_that_reads_a_whole_index_does_not_pass(
    connection: AsyncConnection, mode: PlanMode
) -> None:
    await connection.execute(text("set local enable_seqscan = off"))

    plan = await explain(connection, "select n from kept.rows order by id", {}, mode=mode)

    with pytest.raises(AssertionError, match="reads a whole index"):
        require_no_history(plan, history={"kept.rows"}, max_rows=ROWS)
