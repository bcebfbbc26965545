"""What the reader of plans reports of statements whose plans are known."""

from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db.engine import engine_scope
from tests.integration.db.plans import (
    believe_empty,
    explain,
    require_linear,
    require_no_history,
)
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


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(patient_settings(database_url)) as engine:
        yield engine


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.begin() as connection:
        for statement in CREATE:
            await connection.execute(text(statement))
        yield connection


async def test_rows_that_are_named_are_read_by_the_index(
    connection: AsyncConnection,
) -> None:
    statement = (
        "select r.n from unnest(cast(:ids as text[])) as q(id) join kept.rows r on r.id = q.id"
    )

    plan = await explain(connection, statement, {"ids": ["i17", "i4'2", 'i"\\']})

    require_no_history(plan, history={"kept.rows"}, max_rows=3)
    require_linear(plan, batch=3)
    assert sum(scan.rows for scan in plan.of_tables({"kept.rows"})) == 1


async def test_a_statement_that_reads_the_whole_table_does_not_pass(
    connection: AsyncConnection,
) -> None:
    plan = await explain(
        connection, "select count(*) from kept.rows where n < :least", {"least": 0}
    )

    with pytest.raises(AssertionError, match="reads all of the table"):
        require_no_history(plan, history={"kept.rows"}, max_rows=ROWS)
    with pytest.raises(AssertionError, match="reads more than 10 rows"):
        require_no_history(plan, history=(), max_rows=10)


async def test_a_statement_that_reads_a_whole_index_does_not_pass(
    connection: AsyncConnection,
) -> None:
    plan = await explain(connection, "select n from kept.rows order by id", {})

    with pytest.raises(AssertionError, match="reads a whole index"):
        require_no_history(plan, history={"kept.rows"}, max_rows=ROWS)


QUADRATIC = {
    "an array beside a join": (
        "select r.n from unnest(cast(:ids as text[])) as q(id) cross join lateral (select * from "
        "kept.rows where id = q.id and id = any(cast(:ids as text[])) offset 0) r",
        "looks up the whole array each time",
    ),
    "a join of what has no index": (
        "with given as materialized (select * from unnest(cast(:ids as text[])) as q(id)) "
        "select from given a join given b on a.id < b.id",
        "passes more than 400 rows",
    ),
    "a table for each row": (
        "select from unnest(cast(:ids as text[])) as q(id) cross join lateral "
        "(select * from kept.few where few.id || q.id = '-' offset 0) few",
        "reads all of the table each time",
    ),
}
"""By its fault: a statement whose work grows with the square of its batch, and what is said."""


@pytest.mark.parametrize(("statement", "message"), QUADRATIC.values(), ids=QUADRATIC)
async def test_a_statement_that_is_quadratic_in_its_batch_does_not_pass(
    connection: AsyncConnection, statement: str, message: str
) -> None:
    await connection.execute(text("create table kept.few (id text primary key)"))
    for forced in ("enable_hashjoin", "enable_mergejoin", "enable_material"):
        await connection.execute(text(f"set local {forced} = off"))

    plan = await explain(connection, statement, {"ids": ids(100)})

    with pytest.raises(AssertionError, match=message):
        require_linear(plan, batch=100)


def ids(count: int) -> Sequence[str]:
    return [f"i{number}" for number in range(1, count + 1)]


async def test_a_plan_may_rest_on_statistics_of_an_empty_table(engine: AsyncEngine) -> None:
    """So a statement can be tried with them."""
    statement = "select from kept.rows where n > 0"
    async with engine.begin() as connection:
        for each in CREATE:
            await connection.execute(text(each))
    before = await expect_rows(engine, statement)
    await believe_empty(engine)
    after = await expect_rows(engine, statement)

    assert before > ROWS / 2
    assert after <= 2  # one of each partition


async def expect_rows(engine: AsyncEngine, statement: str) -> int:
    async with engine.connect() as connection:
        explained = await connection.scalar(text(f"explain (format json) {statement}"))
    rows: int = explained[0]["Plan"]["Plan Rows"]
    return rows
