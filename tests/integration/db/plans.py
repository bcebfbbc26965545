"""What a statement reads of each table: its plan as PostgreSQL executed it."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncConnection

PlanMode = Literal["custom", "generic"]
"""A prepared statement is planned for the values of one call, or once for the values of all calls;
PostgreSQL chooses by itself after five calls."""
PLAN_MODES: tuple[PlanMode, ...] = ("custom", "generic")

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
    """That it read, also those that a filter left out. PostgreSQL rounds the number per loop."""
    loops: int
    """0: it was planned, and not executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    scans: Sequence[Scan]
    text: str

    def of_tables(self, tables: Collection[str]) -> list[Scan]:
        return [scan for scan in self.scans if scan.table in tables and scan.loops > 0]


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
    clause = text(statement) if isinstance(statement, str) else statement
    # The declared type has no annotations in this version of SQLAlchemy.
    compiled = clause.compile(dialect=dialect())  # type: ignore[no-untyped-call]
    names = compiled.positiontup or []
    values = ", ".join(_literal(parameters[name]) for name in dict.fromkeys(names))
    await _run(connection, f"set local plan_cache_mode = force_{mode}_plan")
    await _run(connection, f"prepare explained as {compiled.string}")
    call = f"execute explained({values})" if names else "execute explained"
    rows = await _run(connection, f"explain (analyze, verbose, format json) {call}")
    await _run(connection, "deallocate explained")
    found = rows[0][0]
    (explained,) = json.loads(found) if isinstance(found, str) else found
    return Plan(
        scans=list(_read_scans(explained["Plan"])), text=json.dumps(explained["Plan"], indent=1)
    )


def require_no_history(plan: Plan, *, history: Collection[str], max_rows: int) -> None:
    """Assert that the statement has read the tables with history by an index and its condition
    alone, and no more than ``max_rows`` rows in each scan of any table.
    """
    for scan in plan.of_tables(history):
        assert scan.kind != "Seq Scan", f"{scan} reads all of the table:\n{plan.text}"
        assert scan.condition, f"{scan} reads a whole index:\n{plan.text}"
    for scan in plan.scans:
        assert scan.rows <= max_rows, f"{scan} reads more than {max_rows} rows:\n{plan.text}"


async def _run(connection: AsyncConnection, statement: str) -> Sequence[Any]:
    """Not by way of SQLAlchemy's cache of prepared statements, and without parameters."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if driver is None:
        raise RuntimeError("the connection is closed")
    rows: Sequence[Any] = await driver.fetch(statement)
    return rows


def _read_scans(node: Mapping[str, Any]) -> Iterator[Scan]:
    loops = node["Actual Loops"]
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
            rows=round((node["Actual Rows"] + removed) * loops),
            loops=loops,
        )
    for each in node.get("Plans", ()):
        yield from _read_scans(each)


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
