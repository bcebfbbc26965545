"""`slipstream history status|archive|prune`: what leaves, on the terminal."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.errors import CommandError
from cli.formatting import build_table
from cli.history.archive import archive, find_archived
from cli.history.open_work import OpenWork, load_open_work
from cli.history.portions import (
    Portion,
    find_due,
    first_day_kept,
    history_transaction,
    load_bytes,
)
from cli.history.prune import delete_empty_rows, prune, sole_run
from cli.history.rules import EMPTY_ROWS, partitioned_tables

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a run is about."""

    now: datetime
    weeks: int
    folder: Path | None
    """Of the archive; None: there is none."""

    @property
    def kept_from(self) -> date:
        return first_day_kept(self.now, weeks=self.weeks)


async def show_status(engine: AsyncEngine, scope: Scope, console: Console) -> None:
    """Print what is old enough to leave, and what keeps it. Raises: Transient; CommandError."""
    async with history_transaction(engine, snapshot=True) as connection:
        due, work = await _load(connection, scope)
        rows = [await _build_row(connection, portion, work, scope) for portion in due]
    title = f"Older than {scope.weeks} weeks, before {scope.kept_from}"
    columns = ("week", "table", ">rows", ">size", "archive", "state")
    console.print(build_table(title, columns, rows))


async def _build_row(
    connection: AsyncConnection, portion: Portion, work: OpenWork, scope: Scope
) -> list[str]:
    content, parts = await find_archived(connection, portion, scope.folder)
    size = await load_bytes(connection, portion)
    hold = work.hold(portion)
    return [
        portion.week,
        portion.table,
        str(content.rows),
        "" if size is None else format_bytes(size),
        _describe_archive(scope, parts=len(parts)),
        f"stays: the week holds {hold}" if hold else "may leave",
    ]


def _describe_archive(scope: Scope, *, parts: int) -> str:
    if scope.folder is None:
        return "not looked at: no --folder"
    return "archived" if parts else "not archived"


def format_bytes(size: int) -> str:
    """In MiB, with one decimal."""
    return f"{size / 2**20:.1f} MiB"


async def run_archive(engine: AsyncEngine, scope: Scope, say: Say) -> bool:
    """Archive everything that may leave. Returns whether nothing of the old weeks was left out.

    Raises: Transient; CommandError.
    """
    folder = _require_folder(scope)

    async def archive_portion(portion: Portion) -> str:
        try:
            manifest = await archive(engine, portion, folder)
        except OSError as error:
            raise CommandError(f"--folder {folder}: {error}") from None
        if manifest is None:
            return "nothing new to archive"
        return (
            f"archived as {manifest.week}/{manifest.file}: {manifest.rows} rows, "
            f"{format_bytes(manifest.bytes)}, read back"
        )

    return await _run(engine, scope, say, archive_portion)


async def run_prune(engine: AsyncEngine, scope: Scope, say: Say) -> bool:
    """Remove everything that may leave. Returns whether all of the old weeks has left.

    Raises: Transient; CommandError.
    """
    is_complete = True

    async def prune_portion(portion: Portion) -> str:
        nonlocal is_complete
        pruned = await prune(engine, portion, scope.folder, kept_from=scope.kept_from)
        is_complete = is_complete and not pruned.stays
        notes = [f"{pruned.rows} rows removed"]
        if pruned.kept:
            notes.append(f"{pruned.kept} are still needed and stay")
        if pruned.later:
            notes.append(f"{pruned.later} are not in the archive yet, and leave after the next one")
        return "; ".join(each for each in (", ".join(notes), pruned.stays) if each)

    nothing_held = await _run(engine, scope, say, prune_portion)
    cutoff = datetime(scope.kept_from.year, scope.kept_from.month, scope.kept_from.day, tzinfo=UTC)
    for table in EMPTY_ROWS:
        say(f"{table}: {await delete_empty_rows(engine, table, cutoff=cutoff)} empty rows removed")
    return nothing_held and is_complete


async def _run(
    engine: AsyncEngine, scope: Scope, say: Say, work: Callable[[Portion], Awaitable[str]]
) -> bool:
    """Do the work on each portion that may leave, and say what was done. Returns whether no week
    is held.
    """
    is_free = True
    async with sole_run(engine):
        async with history_transaction(engine, snapshot=True) as connection:
            due, open_work = await _load(connection, scope)
        if not due:
            say(f"Nothing is older than {scope.weeks} weeks.")
        for portion in due:
            if reason := open_work.hold(portion):
                is_free = False
                say(f"{portion.week} {portion.table}: stays, because the week holds {reason}")
                continue
            say(f"{portion.week} {portion.table}: {await work(portion)}")
    return is_free


async def _load(connection: AsyncConnection, scope: Scope) -> tuple[Sequence[Portion], OpenWork]:
    due = await find_due(connection, partitioned_tables(), kept_from=scope.kept_from)
    return due, await load_open_work(connection, kept_from=scope.kept_from)


def _require_folder(scope: Scope) -> Path:
    if scope.folder is None:
        raise CommandError("--folder is needed: where the archive is to be written")
    return scope.folder
