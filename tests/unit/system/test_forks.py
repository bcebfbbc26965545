"""Programs that are forked behave like programs that are started."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.testing.waiting import eventually
from tests.integration.stack.processes import alive
from tests.system.forks import ForkedProcess, Forks

WITHIN_S = 120
TELLS = """
import os, sys, uvloop
import {own}
print(sys.argv[1:], __name__, os.getcwd(), sorted(os.environ), os.getsid(0) == os.getpid())
print("an error", file=sys.stderr)
sys.exit(3)
"""
WAITS = "import signal\nprint('waiting', flush=True)\nsignal.pause()\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Forks]:
    server = Forks()
    yield server
    server.close()


@pytest.fixture
async def waiting(server: Forks, tmp_path: Path) -> AsyncIterator[ForkedProcess]:
    (tmp_path / "waits_for_a_signal.py").write_text(WAITS)
    process, output = await start(server, tmp_path, "waits_for_a_signal")
    await wait_until_it_waits(output)
    yield process
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def start(server: Forks, folder: Path, *arguments: str) -> tuple[ForkedProcess, Path]:
    """A module of the folder, with nothing but this in its environment."""
    output = folder / "output"
    with output.open("wb") as file:
        process = await server.start(arguments, file, environment={"ONLY": "this"}, folder=folder)
    return process, output


async def wait_until_it_waits(output: Path) -> None:
    await eventually(
        lambda: output.read_text() == "waiting\n", within=WITHIN_S, what="the program waits"
    )


async def test_a_program_has_its_own_arguments_environment_folder_and_output(
    server: Forks, tmp_path: Path
) -> None:
    (tmp_path / "tells_where_it_is.py").write_text(TELLS.format(own="shared.domain.money"))

    process, output = await start(server, tmp_path, "tells_where_it_is", "one", "two words")

    assert await process.wait() == 3
    assert process.returncode == 3
    assert set(output.read_text().splitlines()) == {
        f"['one', 'two words'] __main__ {tmp_path} ['ONLY'] True",
        "an error",
    }


async def test_a_program_that_is_killed_has_ended_by_that_signal(waiting: ForkedProcess) -> None:
    assert waiting.returncode is None

    waiting.send_signal(signal.SIGTERM)

    assert await waiting.wait() == -signal.SIGTERM
    assert alive({waiting.pid}) == set()


async def test_no_program_outlives_its_server(tmp_path: Path) -> None:
    (tmp_path / "waits_for_a_signal.py").write_text(WAITS)
    server = Forks()
    process, output = await start(server, tmp_path, "waits_for_a_signal")
    await wait_until_it_waits(output)

    await asyncio.to_thread(server.close)

    assert await process.wait() == -signal.SIGKILL
    await eventually(
        lambda: not alive({process.pid}), within=WITHIN_S, what="the program has ended"
    )


async def test_libraries_are_imported_before_and_nothing_of_this_repository(
    server: Forks, tmp_path: Path
) -> None:
    program = "import sys\nprint(*sorted(sys.modules))\n"
    (tmp_path / "names_what_is_imported.py").write_text(program)

    process, output = await start(server, tmp_path, "names_what_is_imported")

    assert await process.wait() == 0
    imported = output.read_text().split()
    assert {"polymarket", "web3", "sqlalchemy"} <= set(imported)
    assert not [name for name in imported if name.split(".")[0] in ("services", "shared", "cli")]
