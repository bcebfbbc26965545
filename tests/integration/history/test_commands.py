"""The commands as an operator runs them, on a database and without a cluster."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from cli.following import run_with_database
from cli.main import app
from cli.settings import find_system
from shared.db.engine import fetch_rows, transaction
from tests.integration.history.rows import load_intents, record_entry, sell_all

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(migrated_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    monkeypatch.setenv("STACK_FOLDER", str(tmp_path / "no-stack"))
    monkeypatch.setenv("HISTORY_FOLDER", str(tmp_path / "archive"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    return tmp_path / "archive"


async def history(*arguments: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["history", *arguments]))


async def test_what_is_old_is_shown_archived_and_pruned(engine: AsyncEngine, folder: Path) -> None:
    await record_entry(engine, 1)
    await sell_all(engine, 1)

    before = await history("status")
    assert "2025-12-29  preflight.intents" in before.stdout
    assert "not archived" in before.stdout
    assert (await history("prune", "--dry-run", "--without-broker")).stdout == before.stdout
    assert len(await load_intents(engine)) == 1

    refused = await history("prune", "--without-broker")
    assert refused.exit_code == 1
    assert "Run `slipstream history archive`" in refused.stdout

    assert (await history("archive", "--without-broker")).exit_code == 0
    assert (folder / "2025-12-29" / "preflight.intents.1.json").exists()
    pruned = await history("prune", "--without-broker")
    assert (pruned.exit_code, await load_intents(engine)) == (0, {})
    assert "2025-12-29 preflight.intents: 1 rows removed" in pruned.stdout


async def test_a_week_that_is_held_ends_the_commands_with_an_error(
    engine: AsyncEngine, folder: Path
) -> None:
    await record_entry(engine, 1, settled=False)

    assert "1 copies without a final order" in (await history("status")).stdout
    for command in ("archive", "prune"):
        result = await history(command, "--without-broker")
        assert result.exit_code == 1
        assert "stays, because the week holds" in result.stdout
    assert len(await load_intents(engine)) == 1


async def test_a_statement_on_a_whole_week_has_no_limit_of_time(folder: Path) -> None:
    async def load_limit(engine: AsyncEngine) -> str:
        async with transaction(engine) as connection:
            (row,) = await fetch_rows(connection, "show statement_timeout")
        return str(row.statement_timeout)

    settings = find_system().database_settings()
    assert await asyncio.to_thread(run_with_database, settings, load_limit) == "0"


async def test_the_topics_are_asked_for_before_anything_leaves(
    engine: AsyncEngine, folder: Path
) -> None:
    result = await history("prune")

    assert result.exit_code == 1
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in result.stderr
