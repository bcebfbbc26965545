"""Writes what is old enough to leave into the archive, and reads it back."""

import asyncio
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.history.files import (
    FORMAT,
    Manifest,
    PartWriter,
    load_manifests,
    measure,
    part_path,
    save_manifest,
    verify,
)
from cli.history.portions import (
    Content,
    Portion,
    history_transaction,
    load_columns,
    load_content,
)
from shared.clock import utc_now
from shared.db.engine import fetch_rows
from shared.observe.tracing import installed_version

ROWS_PER_FETCH = 2_000
SCHEMA_REVISION = "select version_num from control.alembic_version"


async def archive(engine: AsyncEngine, portion: Portion, folder: Path) -> Manifest | None:
    """Write the portion into a new part and read it back; return its manifest. None: it is empty,
    or the newest part holds just the same.

    Raises: Transient; CommandError where what was written cannot be read back; OSError.
    """
    known = load_manifests(folder, portion)
    part = known[-1].part + 1 if known else 1
    path = part_path(folder, portion, part)
    async with history_transaction(engine, snapshot=True) as connection:
        content = await load_content(connection, portion)
        if content.rows == 0 or (known and known[-1].content == content):
            return None
        columns = await load_columns(connection, portion)
        (schema,) = await fetch_rows(connection, SCHEMA_REVISION)
        with PartWriter(path) as writer:
            await _write_rows(connection, portion, columns, writer)
            await asyncio.to_thread(writer.finish)
    size, sha256 = await asyncio.to_thread(measure, path)
    manifest = Manifest(
        format=FORMAT,
        table=portion.table,
        week=portion.week,
        part=part,
        file=path.name,
        rows=content.rows,
        bytes=size,
        sha256=sha256,
        digest=content.digest,
        key=portion.keys,
        columns=columns,
        release=installed_version(),
        schema_revision=schema.version_num,
        archived_at=utc_now().isoformat(),
    )
    await asyncio.to_thread(verify, folder, manifest)
    save_manifest(folder, manifest)
    return manifest


async def find_archived(
    connection: AsyncConnection, portion: Portion, folder: Path | None
) -> tuple[Content, list[Manifest]]:
    """What the portion holds now, and the parts that hold it: none where the newest one does not
    hold just the same. Raises: Transient; CommandError.
    """
    content = await load_content(connection, portion)
    known = load_manifests(folder, portion) if folder is not None else []
    return content, known if known and known[-1].content == content else []


async def _write_rows(
    connection: AsyncConnection, portion: Portion, columns: dict[str, str], writer: PartWriter
) -> None:
    """A number with a fraction is written as text, because readers of JSON round it."""
    selected = ", ".join(
        f"r.{name}::text as {name}" if type_.startswith("numeric") else f"r.{name}"
        for name, type_ in columns.items()
    )
    statement = text(
        f"select row_to_json(a)::text as line from (select {selected} from {portion.source} "
        f"where {portion.condition} order by {', '.join(f'r.{key}' for key in portion.keys)}) a"
    )
    rows = await connection.stream(statement, execution_options={"yield_per": ROWS_PER_FETCH})
    async for group in rows.partitions():
        await asyncio.to_thread(writer.write, [row.line for row in group])
