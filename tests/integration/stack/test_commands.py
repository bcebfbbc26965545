"""`slipstream stack` keeps one stack in the background and leaves nothing when it ends."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from shared.testing.waiting import eventually
from tests.integration.stack.processes import alive, with_descendants
from tools.stack import postgres
from tools.stack.postgres import is_reachable_by_all
from tools.stack.settings import REPOSITORY, StackSettings
from tools.stack.state import StackState, read_state

pytestmark = pytest.mark.integration

NOT_STARTED = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    "DATABASE_URL": "postgresql://user@db.example/slipstream",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """`slipstream stack` with a folder of its own, run as this or another user."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None

    async def run(self, command: str, **added: str) -> tuple[int, str]:
        """Return the exit status and all that was printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", "from tools.stack.commands import app; app()", command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**os.environ, "STACK_FOLDER": str(self.folder), **self.variables, **added},
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def up(self, **added: str) -> StackState:
        """Start the stack and return its state."""
        code, output = await self.run("up", **added)
        assert code == 0, output
        state = read_state(self.folder)
        assert state is not None
        return state


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Commands]:
    commands = Commands(folder=tmp_path / "stack")
    yield commands
    await commands.run("down")


def others_can_reach(program: str) -> bool:
    return all(
        is_reachable_by_all(path.parent) for path in (Path(program), Path(program).resolve())
    )


def give_to_nobody(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "nobody")


def leaders(state: StackState) -> set[int]:
    return {part.pid for part in state.parts}


async def test_a_stack_starts_once_shows_its_parts_and_leaves_only_its_logs(
    stack: Commands,
) -> None:
    assert (await stack.run("status"))[0] == 1

    state = await stack.up()
    again = await stack.up()
    code, status = await stack.run("status")
    reachable = await asyncpg.connect(state.environment["DATABASE_URL"])
    await reachable.close()
    processes = with_descendants({state.pid})
    stopped, _ = await stack.run("down")

    assert again == state
    assert {part.name for part in state.parts} == {"kafka", "postgres", "anvil"}
    assert code == 0
    assert all(f"port {part.port} answers" in status for part in state.parts)
    assert all(f"export {name}={value}" in status for name, value in state.environment.items())
    assert stopped == 0
    assert processes > leaders(state)
    assert alive(processes) == set()
    assert sorted(path.name for path in stack.folder.iterdir()) == ["lock", "logs"]


async def test_no_process_survives_a_killed_supervisor(stack: Commands) -> None:
    state = await stack.up()
    # a connection has a server process of its own, which must end too
    connection = await asyncpg.connect(state.environment["DATABASE_URL"])
    processes = with_descendants({state.pid})

    os.kill(state.pid, signal.SIGKILL)

    assert len(processes) > 1 + len(state.parts)
    await eventually(lambda: not alive(processes), what="all parts and their children have ended")
    connection.terminate()
    code, output = await stack.run("status")
    assert code == 1
    assert f"its supervisor (process {state.pid}) was killed" in output
    assert (await stack.up()).pid != state.pid
    await stack.run("down")
    assert postgres.find_abandoned_data(stack.folder) == []


async def test_a_part_that_dies_ends_the_stack_and_is_reported(stack: Commands) -> None:
    state = await stack.up(**NOT_STARTED)
    [anvil] = state.parts

    os.kill(anvil.pid, signal.SIGKILL)

    await eventually(lambda: read_state(stack.folder) is None, what="the stack has ended")

    async def status() -> str:
        return (await stack.run("status"))[1]

    assert "anvil was killed by SIGKILL" in await status()
    assert anvil.log in await status()


async def test_a_server_named_by_the_environment_is_not_started(stack: Commands) -> None:
    state = await stack.up(**NOT_STARTED)

    assert [part.name for part in state.parts] == ["anvil"]
    assert state.environment.items() >= NOT_STARTED.items()


async def test_a_start_that_fails_says_why_and_leaves_nothing(
    stack: Commands, rpc_url: str
) -> None:
    taken = rpc_url.rpartition(":")[2]

    code, output = await stack.run("up", STACK_RPC_PORT=taken)

    assert code == 1
    assert f"port {taken} (from STACK_RPC_PORT) is in use" in output
    assert "Traceback" not in output
    assert read_state(stack.folder) is None
    assert (await stack.run("status"))[0] == 1


@pytest.mark.skipif(
    os.geteuid() != 0,
    reason="only root can become another user; the other tests ran as an ordinary one",
)
@pytest.mark.skipif(
    not others_can_reach(sys.executable), reason="no other user can reach this Python"
)
async def test_an_ordinary_user_can_run_it_too() -> None:
    home = Path(tempfile.mkdtemp(prefix="slipstream-user-", dir="/var/tmp"))
    try:
        shutil.copytree(
            StackSettings.from_environment().cache_folder,
            home / "cache",
            ignore=shutil.ignore_patterns("staging-*"),
        )
        give_to_nobody(home)
        user = Commands(
            folder=home / "stack",
            variables={"HOME": str(home), "SLIPSTREAM_CACHE": str(home / "cache")},
            user="nobody",
        )

        state = await user.up()
        processes = with_descendants({state.pid})
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in processes}
        stopped, _ = await user.run("down")
    finally:
        shutil.rmtree(home)

    assert owners == {pwd.getpwnam("nobody").pw_uid}
    assert stopped == 0
    assert alive(processes) == set()
