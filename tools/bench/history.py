"""Measure what years of old rows cost a copy.

    python -m tools.bench.history [--rows N ...] [--quick]

The same followers copy the same load in a database without a past, and again once it holds ``N``
old rows of each table, of the same followers, over the past weeks. Keeps all results in var/bench
and draws the plots. It only measures: nothing passes or fails.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import uvloop
from rich.console import Console
from sqlalchemy import Table as DatabaseTable
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import tables
from shared.db.engine import engine_scope
from shared.db.partitions import create_partitions
from shared.db.settings import DatabaseSettings
from tools.bench import plots
from tools.bench.bench_stack import BenchStack, open_bench_stack
from tools.bench.goals import WITH_PAST, WITHOUT_PAST
from tools.bench.loads import HISTORY, SECONDS, Load, parse_loads
from tools.bench.options import add_pipeline_options, build_variant
from tools.bench.path import LoadResult, TooSlow, run_load, warm_up
from tools.bench.report import build_ratio_table, print_measured
from tools.bench.results import Run, build_rows
from tools.bench.systems import Pipeline, Variant
from tools.stack.errors import StackError

FULL_ROWS, QUICK_ROWS = 2_000_000, 5_000
QUICK_SECONDS = 4.0
WEEKS = 5
"""Over so many past weeks the old rows are spread."""
COPIED_AT_ONCE = 100
"""Old rows per row that is there, in one statement."""

FILLED: tuple[DatabaseTable, ...] = (
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
            [table for table in FILLED if "partitioned_by" in table.info],
            now=utc_now() - timedelta(weeks=weeks),
        )
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("set synchronous_commit = off")
        await connection.execute("create schema bench_rows")
        times = max(1, rows // await _count(connection, tables.orders))
        for table in FILLED:
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


async def measure_history(
    bench: BenchStack, load: Load, variant: Variant, *, rows: int, console: Console
) -> list[LoadResult]:
    """The load in a database without a past, right after it was filled with so many old rows of
    each table, and again. A first one without a past, which is left out, and the first one after
    the fill warm the caches up: neither is the result.

    Raises: TooSlow.
    """
    database_url = bench.stack.database_url
    measured: list[LoadResult] = []

    async def run(pipeline: Pipeline, name: str) -> None:
        measured.append(await run_load(replace(load, name=name), pipeline, bench.venue))
        print_measured(console, HISTORY, measured[-1])

    async with (
        engine_scope(DatabaseSettings.model_validate({"url": database_url})) as engine,
        Pipeline(bench, [load.audience], variant) as pipeline,
    ):
        await warm_up(pipeline, bench.venue, [load.audience])
        await run_load(load, pipeline, bench.venue)
        await run(pipeline, WITHOUT_PAST)
        await fill_history(engine, database_url, rows=rows, console=console)
        await run(pipeline, "right after it was filled")
        await run(pipeline, WITH_PAST)
    return measured


async def bench_history(options: argparse.Namespace, console: Console, run: Run) -> None:
    """Every number of old rows in a database of its own."""
    runs: list[dict[str, Any]] = []
    for rows in options.rows:
        async with open_bench_stack(run.file.parent) as bench:
            measured = await measure_history(
                bench, options.load, build_variant(options), rows=rows, console=console
            )
        console.print(build_ratio_table(f"With {rows} old copies", measured))
        runs.append({"rows": rows, "loads": build_rows(measured)})
        run.write(histories=runs)


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.history",
        description="Measures what years of old rows cost a copy.",
    )
    add_pipeline_options(parser)
    parser.add_argument(
        "--rows", type=int, nargs="+", help=f"old copies, one or more (default: {FULL_ROWS})"
    )
    options = parser.parse_args(arguments)
    options.rows = options.rows or [QUICK_ROWS if options.quick else FULL_ROWS]
    (options.load,) = parse_loads(HISTORY, seconds=QUICK_SECONDS if options.quick else SECONDS)
    return options


def main() -> None:
    options = parse_options(sys.argv[1:])
    console = Console(width=160)
    run = Run(HISTORY, quick=options.quick)
    console.print(run.describe())
    try:
        uvloop.run(bench_history(options, console, run))
    except (StackError, TooSlow) as error:
        sys.exit(str(error))
    run.finish(console)
    plots.draw(run, console)


if __name__ == "__main__":
    main()
