"""The commands of the README and the runbook, as they are typed, against real processes."""

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
from shared.domain.follows import GLOBAL, Controls, Mode, leader_scope
from shared.domain.money import MICROS
from shared.domain.terms import EndMode
from shared.testing.waiting import eventually
from tests.builders import LEADER, PROXY
from tests.integration.stack.processes import alive, with_descendants
from tests.patience import patient_settings
from tools.stack.settings import REPOSITORY
from tools.stack.state import read_state

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SLIPSTREAM = [sys.executable, "-c", "from cli.main import main; main()"]
TIMEOUT_S = 600


async def slipstream(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command; its exit status, and all that it printed."""
    process = await start(*arguments, **variables)
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def start(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *SLIPSTREAM,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200", **variables},
    )


async def fetch_controls(database_url: str) -> Controls:
    engine = open_engine(patient_settings(database_url))
    try:
        return await load_controls(engine)
    finally:
        await engine.dispose()


async def test_follow_list_pause_and_unfollow(database_url: str) -> None:
    where = {"DATABASE_URL": database_url}

    assert (await slipstream("db", "migrate", **where))[0] == 0
    code, output = await slipstream(
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
    assert code == 0, output

    stored = await fetch_controls(database_url)
    (follow,) = (
        follow for leader in stored.follows_by_leader for follow in stored.follows_for(leader)
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
    modes = (await fetch_controls(database_url)).mode_by_scope
    assert modes == {leader_scope(follow.leader): Mode.REDUCING, GLOBAL: Mode.ACTIVE}
    assert "reducing" in (await slipstream("status", **where))[1]

    assert (await slipstream("unfollow", LEADER, "--from", PROXY, **where))[0] == 0
    assert (await fetch_controls(database_url)).follows_by_leader == {}
    code, output = await slipstream("unfollow", LEADER, "--from", PROXY, **where)
    assert (code, "does not follow" in output) == (1, True), output

    code, output = await slipstream(
        "unfollow", LEADER, "--from", PROXY, "--positions", "close-out", **where
    )
    assert (code, "all sold" in output) == (0, True), output
    ended = (await fetch_controls(database_url)).ended_follow(
        leader=follow.leader, proxy=follow.proxy
    )
    assert ended is not None
    assert ended.at_end is EndMode.CLOSE_OUT
    await slipstream("pause", "--close-out", **where)
    assert (await fetch_controls(database_url)).mode_by_scope[GLOBAL] is Mode.CLOSING


async def test_for_a_database_without_tables_the_error_names_the_command_to_run(
    database_url: str,
) -> None:
    code, output = await slipstream("follows", DATABASE_URL=database_url)

    assert (code, "slipstream db migrate" in output) == (1, True), output


async def test_applied_topics_are_listed_without_a_difference(kafka: str) -> None:
    where = {"KAFKA_BOOTSTRAP_SERVERS": kafka}

    assert (await slipstream("topics", "apply", **where))[0] == 0
    code, output = await slipstream("topics", **where)

    assert code == 0, output
    assert "copy-intents" in output
    assert "missing" not in output


async def count_confirmed_copies(database_url: str) -> int:
    engine = open_engine(patient_settings(database_url))
    try:
        async with transaction(engine) as connection:
            return int(
                (
                    await fetch_rows(
                        connection,
                        "select count(*) as n from executor.order_states where state = 'confirmed'",
                    )
                )[0].n
            )
    finally:
        await engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDemo:
    process: asyncio.subprocess.Process
    folder: Path

    async def wait(self) -> tuple[int, str]:
        """Wait for its end; its exit status, and all that it printed."""
        output, _ = await asyncio.wait_for(self.process.communicate(), TIMEOUT_S)
        assert self.process.returncode is not None
        return self.process.returncode, output.decode()


@asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[RunningDemo]:
    """A small demo in a folder of its own. It is killed at the end if it still runs."""
    process = await start(
        "demo",
        "--followers",
        "4",
        "--folder",
        str(folder / "demo"),
        *options,
        STACK_FOLDER=str(folder / "stack"),
    )
    try:
        yield RunningDemo(process=process, folder=folder)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_demo_copies_all_trades_and_all_its_checks_hold(tmp_path: Path) -> None:
    async with demo(tmp_path, "--trades", "12") as running:
        code, output = await running.wait()

    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert code == 0, output
    assert (summary["held"], summary["leader_trades_seen"]) == (True, 12)
    assert summary["copies"]["confirmed"] > 0
    assert [check["name"] for check in summary["checks"] if not check["held"]] == []
    assert "Every check held." in output


async def test_a_demo_without_end_answers_status_and_prints_its_summary_when_interrupted(
    tmp_path: Path,
) -> None:
    stack = tmp_path / "stack"
    async with demo(tmp_path, "--until", "forever") as running:
        state = await eventually(
            lambda: read_state(stack), within=TIMEOUT_S, what="the demo's services ready"
        )
        await eventually(
            lambda: count_confirmed_copies(state.environment["DATABASE_URL"]),
            within=TIMEOUT_S,
            what="a confirmed copy",
        )
        processes = with_descendants([running.process.pid])
        code, output = await slipstream("status", STACK_FOLDER=str(stack))
        running.process.send_signal(signal.SIGINT)
        demo_code, demo_output = await running.wait()

    assert code == 0, output
    assert sum(line.endswith(" ready") for line in output.splitlines()) == 6, output
    assert demo_code == 0, demo_output
    assert "Every check held." in demo_output
    assert alive(processes) == set()


async def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path) -> None:
    async with demo(tmp_path, "--trades", "5") as running:
        logs = tmp_path / "stack" / "logs"
        await eventually(
            (logs / "paper-venue.log").exists, within=TIMEOUT_S, what="the venue starting"
        )
        processes = with_descendants([running.process.pid])
        running.process.send_signal(signal.SIGINT)
        code, output = await running.wait()

    assert code == 130, output
    assert "every process has been stopped" in output
    assert alive(processes) == set()


async def test_when_a_service_dies_the_demo_ends_and_prints_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    stack = tmp_path / "stack"
    async with demo(tmp_path, "--until", "forever") as running:
        state = await eventually(
            lambda: read_state(stack), within=TIMEOUT_S, what="the demo's services ready"
        )
        (pricer,) = [part for part in state.parts if part.name == "pricer"]
        os.kill(pricer.pid, signal.SIGKILL)
        code, output = await running.wait()

    assert code == 1, output
    assert "pricer was killed by SIGKILL" in output
    assert "The end of its log" in output


async def test_on_a_terminal_the_demo_shows_a_table_of_copies(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *SLIPSTREAM,
        "demo",
        "--followers",
        "4",
        "--trades",
        "8",
        "--folder",
        str(tmp_path / "demo"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        cwd=REPOSITORY,
        env={
            **os.environ,
            "TERM": "xterm",
            "COLUMNS": "140",
            "LINES": "40",
            "STACK_FOLDER": str(tmp_path / "stack"),
        },
    )
    os.close(terminal)
    output = await asyncio.to_thread(_read_all, controller)

    assert await process.wait() == 0, output
    assert all(
        word in output
        for word in ("leader", "market", "follower", "confirmed", "Every check held.")
    )


def _read_all(controller: int) -> str:
    """All that is written to the terminal until its last writer closes it."""
    chunks = []
    while True:
        try:
            chunk = os.read(controller, 65_536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(controller)
    return b"".join(chunks).decode(errors="replace")
