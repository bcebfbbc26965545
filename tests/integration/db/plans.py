"""What a statement reads of each table: its plan as PostgreSQL executed it."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

import pytest
from sqlalchemy import Connection, TextClause, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only

from shared.db.direct import DirectConnection
from shared.db.parameters import number_parameters

Observe = Callable[[Any, str, Sequence[Any]], Awaitable[None]]
"""With the driver's connection, the statement, with ``$1`` for a value, and its values."""

SHOWN = (
    "Node Type",
    "Relation Name",
    "Index Name",
    "Index Cond",
    "Recheck Cond",
    "Filter",
    "Actual Rows",
    "Actual Loops",
    "Rows Removed by Filter",
    "Rows Removed by Index Recheck",
    "Rows Removed by Join Filter",
)
"""Of a node, where a test fails."""
GIVEN_ARRAY = re.compile(r"= ANY \(+(\$\d|InitPlan)")
"""A condition by an array that is a parameter of the statement, or a result of a part of it."""
MAX_PER_ROW = 4
"""How many rows a node of a plan may pass for each row of the batch, in a statement whose work
grows with its batch and no faster."""
BELIEVE_EMPTY = """
update pg_class set reltuples = 0, relpages = 1
where relkind = 'r' and relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')
"""
PARTITION = re.compile(r"_(\d{8}|before|default)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a plan, in all its loops together."""

    kind: str
    table: str
    """With its schema; a partition counts as its table. Of a scan of an index alone, its name.
    Empty: it reads none."""
    condition: str
    """Of the index; empty: it has none."""
    rows: int
    """That it read or joined, also those that a filter left out; 0 also where it was planned and
    not executed. PostgreSQL rounds the number per loop.
    """
    loops: int
    """How often it was executed."""

    @property
    def reads_all(self) -> bool:
        """Whether it reads all of a table."""
        return self.table != "" and self.condition == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    statement: str
    nodes: Sequence[Node]
    text: str

    def __str__(self) -> str:
        return f"{self.statement}\n{self.text}"

    @property
    def scans(self) -> list[Node]:
        """The nodes that have read any row of a table or an index."""
        return [node for node in self.nodes if node.table and node.rows > 0]

    def of_tables(self, tables: Collection[str]) -> list[Node]:
        """The scans of these tables."""
        return [scan for scan in self.scans if scan.table in tables]


async def believe_empty(engine: AsyncEngine) -> None:
    """Have the planner believe that all tables are empty, whatever they hold.

    So it does where rows come and go, as of what is open, and statistics were taken when there were
    none; and of a new partition, whose statements were planned before its first row.
    """
    async with engine.begin() as connection:
        await connection.execute(text("delete from pg_statistic"))
        await connection.execute(text(BELIEVE_EMPTY))


async def explain(
    connection: AsyncConnection,
    statement: str | TextClause,
    parameters: Mapping[str, Any],
) -> Plan:
    """Execute a statement as a prepared one and return its plan, which is made as the connection's
    settings say (``shared.db.connecting.PLANNING``): once, for all values.

    What it changes is changed: roll the transaction of the connection back.
    """
    numbered = number_parameters(statement if isinstance(statement, str) else statement.text)
    driver = (await connection.get_raw_connection()).driver_connection
    return await explain_call(driver, numbered.text, numbered.values(parameters))


@contextmanager
def recorded_plans(engine: AsyncEngine) -> Iterator[list[Plan]]:
    """The plans of the statements that the engine executes meanwhile, each with the values and at
    the time of its call. Each is executed twice, and the first time rolled back.
    """
    plans: list[Plan] = []

    async def explain_and_undo(driver: Any, statement: str, values: Sequence[Any]) -> None:
        undone = driver.transaction()  # within a transaction a savepoint
        await undone.start()
        try:
            plans.append(await explain_call(driver, statement, values))
        finally:
            await undone.rollback()

    with observed_statements(engine, explain_and_undo):
        yield plans


@contextmanager
def observed_statements(engine: AsyncEngine, observe: Observe) -> Iterator[None]:
    """Meanwhile ``observe`` is called before each statement of the engine, whether it is executed
    by SQLAlchemy or by the driver alone.
    """
    fetch = DirectConnection.fetch

    async def observed_fetch(
        direct: DirectConnection, statement: str, values: Sequence[Any]
    ) -> Sequence[Any]:
        if direct.engine is engine:
            await observe(direct.driver, statement, values)
        return await fetch(direct, statement, values)

    def on_execute(
        connection: Connection, _cursor: Any, statement: str, values: Sequence[Any], *_: Any
    ) -> None:
        await_only(observe(connection.connection.driver_connection, statement, values))

    event.listen(engine.sync_engine, "before_cursor_execute", on_execute)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DirectConnection, "fetch", observed_fetch)
            yield
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", on_execute)


def require_no_history(
    plan: Plan, *, history: Collection[str], max_rows: int, max_other_rows: int | None = None
) -> None:
    """Assert that the statement has read the tables with history by an index and its condition
    alone, no more than ``max_rows`` rows in each scan of them, and no more than ``max_other_rows``
    in each scan of another table; None: as many.
    """
    for scan in plan.of_tables(history):
        assert scan.kind != "Seq Scan", f"{scan} reads all of the table:\n{plan}"
        assert scan.condition, f"{scan} reads a whole index:\n{plan}"
    for scan in plan.scans:
        most = max_rows if scan.table in history or max_other_rows is None else max_other_rows
        assert scan.rows <= most, f"{scan} reads more than {most} rows:\n{plan}"


def require_linear(plan: Plan, *, batch: int) -> None:
    """Assert that the work of the statement grows no faster than its batch: each node passes at
    most ``MAX_PER_ROW`` rows for each of the ``batch`` rows, in all of its loops; and none that is
    executed for each of them reads a whole table, or looks up all values of an array.
    """
    for node in plan.nodes:
        most = MAX_PER_ROW * batch
        assert node.rows <= most, f"{node} passes more than {most} rows:\n{plan}"
        if node.loops > 1:
            assert not node.reads_all, f"{node} reads all of the table each time:\n{plan}"
            is_array = GIVEN_ARRAY.search(node.condition)
            assert not is_array, f"{node} looks up the whole array each time:\n{plan}"


async def explain_call(driver: Any, statement: str, values: Sequence[Any]) -> Plan:
    """By a connection of asyncpg, in its transaction. ``statement``: with ``$1`` for a value."""
    call = (
        f"execute explained({', '.join(map(_literal, values))})"
        if values
        else ("execute explained")
    )
    await driver.execute(f"prepare explained as {statement}")
    found = await driver.fetchval(f"explain (analyze, verbose, format json) {call}")
    await driver.execute("deallocate explained")
    (explained,) = json.loads(found) if isinstance(found, str) else found
    return Plan(
        statement=statement,
        nodes=list(_read_nodes(explained["Plan"])),
        text="\n".join(_describe(explained["Plan"])),
    )


def _read_nodes(node: Mapping[str, Any]) -> Iterator[Node]:
    is_write = node["Node Type"] == "ModifyTable"
    name = "" if is_write else node.get("Relation Name") or node.get("Index Name") or ""
    schema = f"{node['Schema']}." if name and "Schema" in node else ""
    removed = sum(value for key, value in node.items() if key.startswith("Rows Removed by "))
    yield Node(
        kind=node["Node Type"],
        table=f"{schema}{PARTITION.sub('', name)}",
        condition=node.get("Index Cond") or node.get("Recheck Cond") or "",
        rows=ceil((node["Actual Rows"] + removed) * node["Actual Loops"]),
        loops=node["Actual Loops"],
    )
    for each in node.get("Plans", ()):
        yield from _read_nodes(each)


def _describe(node: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The lines of a node and those below it."""
    shown = {key: node[key] for key in SHOWN if node.get(key)}
    yield f"{'  ' * depth}{shown}"
    for each in node.get("Plans", ()):
        yield from _describe(each, depth + 1)


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    return "'" + _text(value).replace("'", "''") + "'"


def _text(value: Any) -> str:
    """As PostgreSQL reads the value from a text."""
    if isinstance(value, list):
        return "{" + ",".join(_element(each) for each in value) + "}"
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _element(value: Any) -> str:
    if value is None:
        return "null"
    escaped = _text(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
