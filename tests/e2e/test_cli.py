"""An operator's and a newcomer's commands, typed as they type them, on real parts."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from shared.db.controls import load_controls
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings
from shared.domain.follows import GLOBAL, Controls, Mode, leader_scope
from shared.domain.money import MICROS
from shared.testing.waiting import eventually
from tests.builders import LEADER, PROXY
from tests.integration.stack.processes import alive, with_descendants
from tools.stack.settings import REPOSITORY
from tools.stack.state import read_state

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SLIPSTREAM = [sys.executable, "-c", "from cli.main import main; main()"]
PATIENCE = 600


async def slipstream(*words: str, **variables: str) -> tuple[int, str]:
    """Exit status, and all that was printed."""
    process = await start(*words, **variables)
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def start(*words: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *SLIPSTREAM,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200", **variables},
    )


async def controls(database_url: str) -> Controls:
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url}))
    try:
        return await load_controls(engine)
    finally:
        await engine.dispose()


async def test_follow_list_pause_and_unfollow(database_url: str) -> None:
    where = {"DATABASE_URL": database_url}

    assert (await slipstream("db", "migrate", **where))[0] == 0
    code, told = await slipstream(
        "follow",
        LEADER,
        "--into",
        PROXY,
        "--fixed",
        "25",
        "--max",
        "40",
        "--slippage",
        "1.5",
        **where,
    )
    assert code == 0, told

    standing = await controls(database_url)
    (follow,) = (
        follow for leader in standing.follows_by_leader for follow in standing.follows_for(leader)
    )
    assert (follow.fixed_usdc, follow.max_usdc, follow.max_slippage_bps) == (
        25 * MICROS,
        40 * MICROS,
        Decimal(150),
    )
    listed = (await slipstream("follows", **where))[1]
    assert follow.leader in listed
    assert "25 USDC" in listed

    await slipstream("pause", "--leader", LEADER, "--exits-only", **where)
    await slipstream("pause", **where)
    await slipstream("resume", **where)
    modes = (await controls(database_url)).mode_by_scope
    assert modes == {leader_scope(follow.leader): Mode.REDUCING, GLOBAL: Mode.ACTIVE}
    assert "reducing" in (await slipstream("status", **where))[1]

    assert (await slipstream("unfollow", LEADER, "--from", PROXY, **where))[0] == 0
    assert (await controls(database_url)).follows_by_leader == {}
    again, told = await slipstream("unfollow", LEADER, "--from", PROXY, **where)
    assert (again, "does not follow" in told) == (1, True), told


async def test_a_database_without_tables_is_told_with_what_to_do(database_url: str) -> None:
    code, told = await slipstream("follows", DATABASE_URL=database_url)

    assert (code, "slipstream db migrate" in told) == (1, True), told


async def test_topics_are_shown_applied_and_then_as_declared(kafka: str) -> None:
    where = {"KAFKA_BOOTSTRAP_SERVERS": kafka}

    assert (await slipstream("topics", "apply", **where))[0] == 0
    code, told = await slipstream("topics", **where)

    assert code == 0, told
    assert "copy-intents" in told
    assert "missing" not in told


async def confirmed_copies(database_url: str) -> int:
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url}))
    try:
        async with transaction(engine) as connection:
            return int(
                (
                    await fetch_rows(
                        connection,
                        "select count(*) as n from executor.orders where state = 'confirmed'",
                    )
                )[0].n
            )
    finally:
        await engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDemo:
    process: asyncio.subprocess.Process
    folder: Path

    async def ended(self) -> tuple[int, str]:
        printed, _ = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        assert self.process.returncode is not None
        return self.process.returncode, printed.decode()


@asynccontextmanager
async def demo(folder: Path, *words: str) -> AsyncIterator[RunningDemo]:
    """A small demo in a folder of its own; killed at the end if it still runs."""
    process = await start(
        "demo",
        "--followers",
        "4",
        "--folder",
        str(folder / "demo"),
        *words,
        STACK_FOLDER=str(folder / "stack"),
    )
    try:
        yield RunningDemo(process=process, folder=folder)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_demo_copies_everything_and_every_check_holds(tmp_path: Path) -> None:
    async with demo(tmp_path, "--trades", "12") as running:
        code, told = await running.ended()

    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert code == 0, told
    assert (summary["held"], summary["leader_trades_seen"]) == (True, 12)
    assert summary["copies"]["confirmed"] > 0
    assert [check["name"] for check in summary["checks"] if not check["held"]] == []
    assert "Every check held." in told


async def test_a_demo_without_end_answers_status_and_ends_with_its_summary(tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    async with demo(tmp_path, "--until", "forever") as running:
        state = await eventually(
            lambda: read_state(stack), within=PATIENCE, what="the demo's services ready"
        )
        await eventually(
            lambda: confirmed_copies(state.environment["DATABASE_URL"]),
            within=PATIENCE,
            what="a confirmed copy",
        )
        family = with_descendants([running.process.pid])
        code, told = await slipstream("status", STACK_FOLDER=str(stack))
        running.process.send_signal(signal.SIGINT)
        ended, printed = await running.ended()

    assert code == 0, told
    assert sum(line.endswith(" ready") for line in told.splitlines()) == 6, told
    assert ended == 0, printed
    assert "Every check held." in printed
    assert alive(family) == set()


async def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path) -> None:
    async with demo(tmp_path, "--trades", "5") as running:
        logs = tmp_path / "stack" / "logs"
        await eventually(
            (logs / "paper-venue.log").exists, within=PATIENCE, what="the venue starting"
        )
        family = with_descendants([running.process.pid])
        running.process.send_signal(signal.SIGINT)
        code, told = await running.ended()

    assert code == 130, told
    assert "everything has been stopped" in told
    assert alive(family) == set()


async def test_a_service_that_dies_ends_the_demo_with_its_log(tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    async with demo(tmp_path, "--until", "forever") as running:
        state = await eventually(
            lambda: read_state(stack), within=PATIENCE, what="the demo's services ready"
        )
        (pricer,) = [part for part in state.parts if part.name == "pricer"]
        os.kill(pricer.pid, signal.SIGKILL)
        code, told = await running.ended()

    assert code == 1, told
    assert "pricer was killed by SIGKILL" in told
    assert "The end of its log" in told


async def test_on_a_terminal_the_demo_shows_a_table_of_copies(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *SLIPSTREAM, "demo", "--followers", "4", "--trades", "8", "--folder", str(tmp_path / "demo"),
        stdin=asyncio.subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=REPOSITORY,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "40", "STACK_FOLDER": str(tmp_path / "stack")},
    )  # fmt: skip
    os.close(theirs)
    shown = await asyncio.to_thread(_all_of, ours)

    assert await process.wait() == 0, shown
    assert all(
        word in shown for word in ("leader", "market", "follower", "confirmed", "Every check held.")
    )


def _all_of(terminal: int) -> str:
    """What is written to it until its last writer has gone."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode(errors="replace")
