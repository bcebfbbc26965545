"""What a statement reads of each table: its plan as PostgreSQL executed it."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, TextClause, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only

from shared.db.direct import DirectConnection
from shared.db.parameters import number_parameters

PlanMode = Literal["custom", "generic"]
"""A prepared statement is planned for the values of one call, or once for the values of all calls;
PostgreSQL chooses by itself after five calls."""
PLAN_MODES: tuple[PlanMode, ...] = ("custom", "generic")

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
)
"""Of a node, where a test fails."""
PARTITION = re.compile(r"_(\d{8}|before|default)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One node of a plan that reads a table or an index, in all its loops together."""

    kind: str
    table: str
    """With its schema; a partition counts as its table. Of a scan of an index alone, its name."""
    condition: str
    """Of the index; empty: it has none."""
    rows: int
    """That it read, also those that a filter left out; 0 also where it was planned and not
    executed. PostgreSQL rounds the number per loop.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    statement: str
    scans: Sequence[Scan]
    text: str

    def __str__(self) -> str:
        return f"{self.statement}\n{self.text}"

    def of_tables(self, tables: Collection[str]) -> list[Scan]:
        """The scans that have read any row: a partition without rows is read in any way."""
        return [scan for scan in self.scans if scan.table in tables and scan.rows > 0]


async def explain(
    connection: AsyncConnection,
    statement: str | TextClause,
    parameters: Mapping[str, Any],
    *,
    mode: PlanMode,
) -> Plan:
    """Execute a statement as a prepared one and return its plan.

    What it changes is changed: roll the transaction of the connection back.
    """
    numbered = number_parameters(statement if isinstance(statement, str) else statement.text)
    driver = (await connection.get_raw_connection()).driver_connection
    return await explain_call(driver, numbered.text, numbered.values(parameters), mode=mode)


@contextmanager
def recorded_plans(engine: AsyncEngine, *, mode: PlanMode) -> Iterator[list[Plan]]:
    """The plans of the statements that the engine executes meanwhile, each with the values and at
    the time of its call. Each is executed twice, and the first time rolled back.
    """
    plans: list[Plan] = []

    async def explain_and_undo(driver: Any, statement: str, values: Sequence[Any]) -> None:
        undone = driver.transaction()  # within a transaction a savepoint
        await undone.start()
        try:
            plans.append(await explain_call(driver, statement, values, mode=mode))
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


async def explain_call(
    driver: Any, statement: str, values: Sequence[Any], *, mode: PlanMode
) -> Plan:
    """By a connection of asyncpg, in its transaction. ``statement``: with ``$1`` for a value."""
    call = (
        f"execute explained({', '.join(map(_literal, values))})"
        if values
        else ("execute explained")
    )
    await driver.execute(f"set local plan_cache_mode = force_{mode}_plan")
    await driver.execute(f"prepare explained as {statement}")
    found = await driver.fetchval(f"explain (analyze, verbose, format json) {call}")
    await driver.execute("deallocate explained")
    (explained,) = json.loads(found) if isinstance(found, str) else found
    return Plan(
        statement=statement,
        scans=list(_read_scans(explained["Plan"])),
        text="\n".join(_describe(explained["Plan"])),
    )


def _read_scans(node: Mapping[str, Any]) -> Iterator[Scan]:
    name = node.get("Relation Name") or node.get("Index Name")
    if name is not None and node["Node Type"] != "ModifyTable":
        removed = node.get("Rows Removed by Filter", 0) + node.get(
            "Rows Removed by Index Recheck", 0
        )
        schema = f"{node['Schema']}." if "Schema" in node else ""
        yield Scan(
            kind=node["Node Type"],
            table=f"{schema}{PARTITION.sub('', name)}",
            condition=node.get("Index Cond") or node.get("Recheck Cond") or "",
            rows=ceil((node["Actual Rows"] + removed) * node["Actual Loops"]),
        )
    for each in node.get("Plans", ()):
        yield from _read_scans(each)


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
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _element(value: Any) -> str:
    if value is None:
        return "null"
    escaped = _text(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
