"""Removes what is old enough and archived. Every transaction is short, and may be the last one: a
run that was interrupted is continued by the next.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.errors import CommandError
from cli.history.archive import find_archived
from cli.history.files import Manifest, load_manifests, read_rows, verify
from cli.history.folds import FOLDS
from cli.history.open_work import load_open_work
from cli.history.portions import (
    Portion,
    history_transaction,
    load_columns,
    load_content,
)
from cli.history.rules import EMPTY_ROWS, kept_ids
from shared.db.engine import autocommit, fetch_rows
from shared.db.partitions import key_column
from shared.domain.errors import Transient

LOCK = 7_261_043_121
"""Any constant, for an advisory lock: one run at a time, wherever it was started."""
LOCK_NOT_AVAILABLE = "55P03"
ATTEMPTS = 60
RETRY_AFTER_S = 1.0
"""A busy table is left alone for so long: what waits for a lock has others wait behind it."""
ROWS_PER_BATCH = 1_000
BATCH_PAUSE_S = 0.02

NOT_ARCHIVED = (
    "{portion}: {rows} rows are not in the archive. Run `slipstream history archive` with the same "
    "--folder and --weeks first; --without-archive deletes them for good"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What became of a portion: how many rows left, and why it, or what is left of it, stays."""

    rows: int = 0
    kept: int = 0
    """Rows that something still needs: they stay when their week leaves."""
    later: int = 0
    """Rows that may leave since the archive was written: they leave with the next one."""
    stays: str = ""
    """Empty: nothing of it stays."""


@asynccontextmanager
async def sole_run(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold the lock of all runs, until the end or the loss of the connection.

    Raises: CommandError where another run holds it; Transient.
    """
    async with autocommit(engine) as connection:
        (row,) = await fetch_rows(
            connection, "select pg_try_advisory_lock(:lock) as held", lock=LOCK
        )
        if not row.held:
            raise CommandError(
                "another `slipstream history archive` or `prune` is under way on this database: "
                "wait until it has ended"
            )
        try:
            yield
        finally:
            await fetch_rows(connection, "select pg_advisory_unlock(:lock)", lock=LOCK)


async def prune(
    engine: AsyncEngine, portion: Portion, folder: Path | None, *, kept_from: date
) -> Pruned:
    """Remove the portion. ``folder``: of the archive; None: it need not be archived.

    Raises: CommandError where its tables are too busy, or its archive is damaged; Transient.
    """
    if portion.parent is None:
        return await _prune_rows(engine, portion, folder, kept_from=kept_from)
    if folder is not None:
        for manifest in load_manifests(folder, portion)[-1:]:
            await asyncio.to_thread(verify, folder, manifest)
    for _ in range(ATTEMPTS):
        try:
            async with history_transaction(engine) as connection:
                return await _drop_partition(connection, portion, folder, kept_from=kept_from)
        except (DBAPIError, Transient) as error:
            if not _is_busy(error):
                raise
        await asyncio.sleep(RETRY_AFTER_S)
    raise CommandError(
        f"{portion.relation} could not be dropped: {portion.table} was locked for longer than a "
        f"moment at each of {ATTEMPTS} attempts. Nothing of it was lost; run it again, at a "
        "quieter time"
    )


async def _drop_partition(
    connection: AsyncConnection, portion: Portion, folder: Path | None, *, kept_from: date
) -> Pruned:
    """Until the partition is detached, only writes to itself wait, and nobody makes any."""
    await connection.execute(text(f"lock table {portion.relation} in share mode"))
    content, parts = await find_archived(connection, portion, folder)
    if folder is not None and content.rows and not parts:
        return Pruned(stays=_describe_unarchived(portion, content.rows))
    if reason := await _load_hold(connection, portion, kept_from=kept_from):
        return Pruned(stays=reason)
    if (fold := FOLDS.get(portion.table)) is not None:
        await fold(connection, portion.relation)
    kept = await _detach(connection, portion)
    await connection.execute(text(f"drop table {portion.relation}"))
    return Pruned(rows=content.rows - kept, kept=kept)


async def _detach(connection: AsyncConnection, portion: Portion) -> int:
    """Detach the partition; the rows that are still needed move to the partition ``default``.
    Returns how many they are.
    """
    table = portion.parent
    if table is None:
        raise TypeError(f"{portion.relation} is no partition")
    columns = ", ".join(await load_columns(connection, portion))
    ids = kept_ids(table)
    condition = f"{key_column(table)} in ({ids})" if ids else "false"
    await connection.execute(
        text(
            f"create temporary table kept_rows on commit drop as "
            f"select {columns} from {portion.relation} where {condition}"
        )
    )
    await connection.execute(
        text(f"alter table {table.fullname} detach partition {portion.relation}")
    )
    moved = await connection.execute(
        text(f"insert into {table.fullname} ({columns}) select {columns} from kept_rows")
    )
    return moved.rowcount


async def _prune_rows(
    engine: AsyncEngine, portion: Portion, folder: Path | None, *, kept_from: date
) -> Pruned:
    """Delete the rows in batches: those that the archive has, or all."""
    async with history_transaction(engine) as connection:
        if reason := await _load_hold(connection, portion, kept_from=kept_from):
            return Pruned(stays=reason)
        columns = await load_columns(connection, portion)
    if folder is None:
        return Pruned(rows=await _delete_all(engine, portion))
    manifests, deleted = load_manifests(folder, portion), 0
    left = await _count_rows(engine, portion)
    if left and not manifests:
        return Pruned(stays=_describe_unarchived(portion, left))
    for manifest in reversed(manifests):
        if left:
            deleted += await _delete_archived(engine, portion, folder, manifest, columns)
            left = await _count_rows(engine, portion)
    return Pruned(rows=deleted, later=left)


async def _count_rows(engine: AsyncEngine, portion: Portion) -> int:
    async with history_transaction(engine) as connection:
        return (await load_content(connection, portion)).rows


async def _delete_archived(
    engine: AsyncEngine,
    portion: Portion,
    folder: Path,
    manifest: Manifest,
    columns: dict[str, str],
) -> int:
    await asyncio.to_thread(verify, folder, manifest)
    names = [f"k{number}" for number in range(len(portion.keys))]
    arrays = ", ".join(f"cast(:{name} as text[])" for name in names)
    same = " and ".join(
        f"r.{key} = g.{name}::{columns[key]}" for key, name in zip(portion.keys, names, strict=True)
    )
    statement = _build_delete(
        portion, f"join unnest({arrays}) as g({', '.join(names)}) on {same} where {{condition}}"
    )
    deleted = 0
    rows = read_rows(folder / manifest.week / manifest.file)
    for batch in _split(rows, ROWS_PER_BATCH):
        parameters = {
            name: [str(row[key]) for row in batch]
            for key, name in zip(portion.keys, names, strict=True)
        }
        deleted += await _delete(engine, statement, parameters)
    return deleted


async def _delete_all(engine: AsyncEngine, portion: Portion) -> int:
    statement = _build_delete(portion, f"where {{condition}} limit {ROWS_PER_BATCH}")
    deleted = 0
    while batch := await _delete(engine, statement, {}):
        deleted += batch
    return deleted


def _build_delete(portion: Portion, selection: str) -> str:
    """A row that somebody changes at this moment is left alone, as long as it may not leave."""
    keys = ", ".join(f"r.{key}" for key in portion.keys)
    same = " and ".join(f"t.{key} = l.{key}" for key in portion.keys)
    return f"""
        with leaving as materialized (
            select {keys} from {portion.source} {selection.format(condition=portion.condition)}
            for update of r skip locked
        ), gone as (
            delete from {portion.relation} t using leaving l where {same} returning 1
        )
        select count(*) as n from gone
    """


async def _delete(engine: AsyncEngine, statement: str, parameters: dict[str, Any]) -> int:
    async with history_transaction(engine) as connection:
        (row,) = await fetch_rows(connection, statement, **parameters)
    await asyncio.sleep(BATCH_PAUSE_S)
    return int(row.n)


async def delete_empty_rows(engine: AsyncEngine, table: str, *, cutoff: datetime) -> int:
    """Delete the rows of a table that say nothing any more; return how many. Raises: Transient."""
    statement, deleted = text(EMPTY_ROWS[table]), 0
    parameters: dict[str, Any] = {"limit": ROWS_PER_BATCH}
    if "cutoff" in statement.compile().params:
        parameters["cutoff"] = cutoff
    while True:
        async with history_transaction(engine) as connection:
            batch = (await connection.execute(statement, parameters)).rowcount
        deleted += batch
        if batch < ROWS_PER_BATCH:
            return deleted
        await asyncio.sleep(BATCH_PAUSE_S)


async def _load_hold(connection: AsyncConnection, portion: Portion, *, kept_from: date) -> str:
    work = await load_open_work(connection, kept_from=kept_from)
    reason = work.hold(portion)
    return f"the week holds {reason}" if reason else ""


def _describe_unarchived(portion: Portion, rows: int) -> str:
    return NOT_ARCHIVED.format(portion=f"{portion.table} {portion.week}", rows=rows)


def _is_busy(error: Exception) -> bool:
    """Whether a lock was not to be had soon, or the transaction gave way in a deadlock."""
    cause = error.__cause__ if isinstance(error, Transient) else error
    state = getattr(getattr(cause, "orig", None), "sqlstate", None)
    return state == LOCK_NOT_AVAILABLE or str(state).startswith("40")


def _split(rows: Iterator[dict[str, Any]], size: int) -> Iterator[Sequence[dict[str, Any]]]:
    while batch := tuple(itertools.islice(rows, size)):
        yield batch
