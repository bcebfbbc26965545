"""Measure what years of old rows cost a copy.

    python -m tools.bench.history [--rows N] [--quick]

The same followers copy the same load in a database without a past, and again once it holds ``N``
old rows of each table, of the same followers, over the past weeks. Writes var/bench/history.json.
It only measures: nothing passes or fails.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table
from sqlalchemy import Table as DatabaseTable
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import tables
from shared.db.engine import engine_scope
from shared.db.partitions import create_partitions
from shared.db.settings import DatabaseSettings
from tools.bench.hops import TRAINING_TIMEOUT_S, build_settings, is_training
from tools.bench.loads import Load
from tools.bench.machine import describe_machine, load_average
from tools.bench.path import LoadResult, TooSlow, run_load, wait_for, warm_up
from tools.bench.systems import Pipeline
from tools.bench.venue import BenchVenue
from tools.stack.errors import StackError
from tools.stack.local import LocalStack
from tools.stack.ports import Ports
from tools.stack.settings import REPOSITORY

RESULT = REPOSITORY / "var" / "bench" / "history.json"
FOLLOWERS = 100
WEEKS = 5
"""Over so many past weeks the old rows are spread."""
COPIED_AT_ONCE = 100
"""Old rows per row that is there, in one statement."""

HISTORY: tuple[DatabaseTable, ...] = (
    tables.fills,
    tables.copy_slices,
    tables.intents,
    tables.verdicts,
    tables.orders,
    tables.order_states,
    tables.trades,
)
"""The tables that grow with each copy."""
INTENT_IDS = frozenset({"intent_id", "exit_id"})
OTHER_IDS = frozenset({"trade_id", "row_id", "order_hash", "transaction_hash"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    rows: int
    """Old rows of each table with one row per copy."""
    copies_per_second: int
    seconds: float

    def build_load(self, name: str) -> Load:
        return Load(
            name=name,
            trades_per_second=self.copies_per_second / FOLLOWERS,
            followers=FOLLOWERS,
            seconds=self.seconds,
        )


FULL = Effort(rows=2_000_000, copies_per_second=200, seconds=45)
"""A load is over before its last trade, which is dated at its start, is too old to be copied."""
QUICK = Effort(rows=20_000, copies_per_second=100, seconds=4)


def build_fill_statement(table: DatabaseTable) -> str:
    """The statement that repeats the table's rows for each number from ``$1`` to ``$2``, with ids
    of their own, and up to ``WEEKS`` weeks older.
    """
    names = [column.name for column in table.columns]
    values = ", ".join(_old_value(table, name) for name in names)
    return f"""
insert into {table.fullname} ({", ".join(names)})
select {values} from bench_rows.{table.name} cross join generate_series($1::int, $2::int) as k
"""  # noqa: S608 - our own tables


def _old_value(table: DatabaseTable, name: str) -> str:
    if name in INTENT_IDS:
        day = f"to_date(substr({name}, 2, 8), 'YYYYMMDD') - {_days_back()}"
        dated = f"'i' || to_char({day}, 'YYYYMMDD') || '-' || substr(md5({name} || k), 1, 24)"
        return f"case when {name} = '' then '' else {dated} end"
    if name in OTHER_IDS:
        return f"md5({name} || k)"
    if table.columns[name].type.python_type is datetime:
        return f"{name} - make_interval(days => {_days_back()})"
    return name


def _days_back() -> str:
    return f"(7 * (k % {WEEKS} + 1))"


async def fill_history(
    engine: AsyncEngine, database_url: str, *, rows: int, console: Console
) -> int:
    """Add about ``rows`` old orders and what belongs to them; return how many orders there are."""
    for weeks in range(1, WEEKS + 1):
        await create_partitions(
            engine,
            [table for table in HISTORY if "partitioned_by" in table.info],
            now=utc_now() - timedelta(weeks=weeks),
        )
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("set synchronous_commit = off")
        await connection.execute("create schema bench_rows")
        times = max(1, rows // await _count(connection, tables.orders))
        for table in HISTORY:
            began = time.perf_counter()
            await connection.execute(
                f"create table bench_rows.{table.name} as table {table.fullname}"
            )
            for first in range(1, times + 1, COPIED_AT_ONCE):
                await connection.execute(
                    build_fill_statement(table),
                    first,
                    min(first + COPIED_AT_ONCE - 1, times),
                    timeout=3600,
                )
            console.print(
                f"{table.fullname}: {await _count(connection, table)} rows, "
                f"{time.perf_counter() - began:.0f} s to fill"
            )
        await connection.execute("drop schema bench_rows cascade")
        await connection.execute("vacuum analyze", timeout=3600)
        await connection.execute("checkpoint", timeout=3600)
        return await _count(connection, tables.orders)
    finally:
        await connection.close()


async def _count(connection: asyncpg.Connection, table: DatabaseTable) -> int:
    rows = await connection.fetchval(f"select count(*) from {table.fullname}")  # noqa: S608
    return int(rows)


async def bench(effort: Effort, console: Console, folder: Path) -> None:
    machine = {
        "at": utc_now().isoformat(timespec="seconds"),
        "load_average_before": load_average(),
        **describe_machine(),
    }
    console.print(f"{machine['cpu']}, {machine['cores']} cores, load average {load_average()}")
    async with (
        LocalStack(build_settings(folder), parts=("kafka", "postgres")) as stack,
        BenchVenue(Ports().reserve_free()) as venue,
        engine_scope(DatabaseSettings.model_validate({"url": stack.database_url})) as engine,
    ):
        await wait_for(
            lambda: not is_training(stack),
            "Kafka's ahead-of-time cache is created",
            within_s=TRAINING_TIMEOUT_S,
        )
        async with Pipeline(stack, venue, folder, sizes=(FOLLOWERS,), now=utc_now) as pipeline:
            await warm_up(pipeline, venue, (FOLLOWERS,))
            measured = [await _measure(effort.build_load("without a past"), pipeline, venue)]
            orders = await fill_history(
                engine, stack.database_url, rows=effort.rows, console=console
            )
            # The first load after the fill warms the caches up, and is not the result.
            measured.append(await _measure(effort.build_load("right after"), pipeline, venue))
            measured.append(await _measure(effort.build_load("with a past"), pipeline, venue))
    console.print(build_table(measured))
    console.print(f"{orders} orders of {FOLLOWERS} followers; load average {load_average()}")
    write(machine, effort, orders, measured)
    console.print(f"written to {RESULT.relative_to(REPOSITORY)}")


async def _measure(load: Load, pipeline: Pipeline, venue: BenchVenue) -> LoadResult:
    return await run_load(load, pipeline, venue)


def build_table(measured: Sequence[LoadResult]) -> Table:
    table = Table(
        "database",
        title="From the leader's frame to the order at the venue",
        title_justify="left",
    )
    for column in ("p50 ms", "p95 ms", "p99 ms", "arrived", "CPU s per 1000", "/ without"):
        table.add_column(column, justify="right")
    base = sum(measured[0].cpu_per_1000.values())
    for row in measured:
        times, cpu = row.result.latency, sum(row.cpu_per_1000.values())
        table.add_row(
            row.load.name,
            *(f"{each:.1f}" for each in (times.p50, times.p95, times.p99)),
            f"{row.result.arrived} of {row.result.expected}",
            f"{cpu:.2f}",
            f"{cpu / base:.2f}",
        )
    return table


def write(
    machine: Mapping[str, object], effort: Effort, orders: int, measured: Sequence[LoadResult]
) -> None:
    results: dict[str, Any] = {
        "machine": machine,
        "effort": asdict(effort),
        "orders": orders,
        "loads": [asdict(row) for row in measured],
    }
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.history",
        description="Measures what years of old rows cost a copy.",
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds, to check that it runs")
    parser.add_argument("--rows", type=int, help=f"old rows (default: {FULL.rows})")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    if options.rows:
        effort = Effort(
            rows=options.rows, copies_per_second=effort.copies_per_second, seconds=effort.seconds
        )
    try:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        uvloop.run(bench(effort, Console(width=160), RESULT.parent))
    except (StackError, TooSlow) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
