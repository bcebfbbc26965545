"""The supervisor starts, stops and watches parts, shown with small real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.testing.waiting import eventually
from tools.stack import die_with_parent
from tools.stack.errors import PartDied, StackError
from tools.stack.supervisor import Part, ReadyProbe, Supervisor

FOREVER = "import signal; signal.pause()"
IGNORES_SIGTERM = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
while True: signal.pause()
"""


def python(name: str, program: str, **options: Any) -> Part:
    return Part(name=name, command=[sys.executable, "-c", program], **options)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def has_written(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text()


def log_contains(log: Path, text: str) -> ReadyProbe:
    async def ready() -> bool:
        return has_written(log, text)

    return ready


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path) as started:
        yield started


async def test_parts_stop_in_the_reverse_order_of_their_start(tmp_path: Path) -> None:
    order = tmp_path / "order"
    program = f"""
import signal, sys
def end(*_):
    open({str(order)!r}, 'a').write(sys.argv[1])
    sys.exit()
signal.signal(15, end)
print('ready', flush=True)
while True: signal.pause()
"""

    async with Supervisor(tmp_path) as supervisor:
        for name in ("a", "b", "c"):
            part = Part(
                name=name,
                command=[sys.executable, "-c", program, name],
                ready=log_contains(tmp_path / "logs" / f"{name}.log", "ready"),
            )
            await supervisor.start(part)

    assert order.read_text() == "cba"


async def test_a_part_that_ignores_its_stop_signal_is_killed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "stubborn.log"
    running = await supervisor.start(
        python("stubborn", IGNORES_SIGTERM, ready=log_contains(log, "ready"), stop_within=0.05)
    )

    await supervisor.stop(running)

    assert running.ended.result() == -signal.SIGKILL


async def test_killing_a_part_kills_its_child_processes(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "parent.log"
    program = f"""
import subprocess, sys, signal
print(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid, flush=True)
signal.pause()
"""
    running = await supervisor.start(python("parent", program, ready=log_contains(log, "\n")))
    child = int(log.read_text())

    await supervisor.kill(running)

    await eventually(lambda: not is_running(child), what="the child has ended")


async def test_a_death_is_reported_with_the_end_of_the_log(supervisor: Supervisor) -> None:
    await supervisor.start(python("fragile", "print('the reason'); raise SystemExit(3)"))

    death = await supervisor.first_death()

    assert death.name == "fragile"
    assert "fragile ended with exit status 3" in str(death)
    assert "the reason" in str(death)
    assert "fragile.log" in str(death)


async def test_a_kill_from_outside_is_reported_with_its_signal(
    supervisor: Supervisor,
) -> None:
    running = await supervisor.start(python("victim", FOREVER))

    os.kill(running.pid, signal.SIGKILL)

    assert "was killed by SIGKILL" in str(await supervisor.first_death())


async def test_stopping_a_part_is_not_reported_as_a_death(supervisor: Supervisor) -> None:
    stopped = await supervisor.start(python("stopped", FOREVER))
    await supervisor.start(python("dies", "raise SystemExit(1)"))

    await supervisor.stop(stopped)

    assert (await supervisor.first_death()).name == "dies"


async def test_a_part_that_ends_before_it_is_ready_fails_its_start(supervisor: Supervisor) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(PartDied, match="while starting") as failed:
        await supervisor.start(
            python("hasty", "print('bad setting'); raise SystemExit(2)", ready=never)
        )

    assert "bad setting" in str(failed.value)


async def test_a_failed_start_is_not_also_reported_as_a_death(supervisor: Supervisor) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(PartDied):
        await supervisor.start(python("hasty", "raise SystemExit(2)", ready=never))
    await supervisor.start(python("later", "raise SystemExit(1)"))

    assert (await supervisor.first_death()).name == "later"


async def test_a_part_that_does_not_become_ready_in_time_fails_its_start(
    supervisor: Supervisor,
) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(PartDied, match=r"was not ready within 0\.05 s"):
        await supervisor.start(python("slow", FOREVER, ready=never, ready_within=0.05))


async def test_a_missing_program_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(StackError, match="there is no program no-such-program"):
        await supervisor.start(Part(name="x", command=["no-such-program"]))


async def test_a_command_that_fails_raises(supervisor: Supervisor) -> None:
    await supervisor.run(python("good", ""))

    with pytest.raises(PartDied, match="exit status 4"):
        await supervisor.run(python("bad", "raise SystemExit(4)"))

    assert supervisor.running == ()


async def test_a_command_whose_caller_is_cancelled_is_killed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    waiting = asyncio.create_task(
        supervisor.run(python("long", f"print('begun', flush=True); {FOREVER}"))
    )
    await eventually(lambda: has_written(tmp_path / "logs" / "long.log", "begun"))
    [running] = supervisor.running

    waiting.cancel()
    await asyncio.wait({waiting})

    assert not is_running(running.pid)
    assert supervisor.running == ()


async def test_a_restarted_part_continues_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.run(python("twice", "print('one')"))
    await supervisor.run(python("twice", "print('two')"))

    assert (tmp_path / "logs" / "twice.log").read_text() == "one\ntwo\n"


async def test_a_part_gets_the_variables_added_for_it(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.run(
        python(
            "printing",
            "import os; print(os.environ['ADDED'], 'PATH' in os.environ)",
            env={"ADDED": "yes"},
        )
    )

    assert (tmp_path / "logs" / "printing.log").read_text() == "yes True\n"


async def test_a_failing_start_stops_the_parts_that_were_started(tmp_path: Path) -> None:
    started: list[int] = []

    async def start_two() -> None:
        async with Supervisor(tmp_path) as supervisor:
            started.append((await supervisor.start(python("other", FOREVER))).pid)
            await supervisor.run(python("bad", "raise SystemExit(1)"))

    with pytest.raises(PartDied):
        await start_two()

    assert [is_running(pid) for pid in started] == [False]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_no_part_survives_its_supervisor(tmp_path: Path, end: signal.Signals) -> None:
    """Also where the supervisor is killed or ends without stopping it."""
    program = f"""
import asyncio, sys
from pathlib import Path
from tools.stack.supervisor import Part, Supervisor
part = Part(name='part', command=[sys.executable, '-c', {IGNORES_SIGTERM!r}])
async def main():
    async with Supervisor(Path(sys.argv[1])) as supervisor:
        print((await supervisor.start(part)).pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    outer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert outer.stdout is not None
    part = int(await outer.stdout.readline())
    await eventually(
        lambda: has_written(tmp_path / "logs" / "part.log", "ready"), what="the part runs"
    )

    outer.send_signal(end)
    await outer.wait()

    await eventually(lambda: not is_running(part), what="the part has ended")


async def test_a_part_does_not_start_when_its_supervisor_has_ended(tmp_path: Path) -> None:
    ended_pid = "999999999"
    command = [
        sys.executable,
        die_with_parent.__file__,
        ended_pid,
        str(int(signal.SIGKILL)),
        "0",
        "",
        sys.executable,
        "-c",
        "print('ran')",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )

    output, errors = await process.communicate()

    assert output == b""
    assert b"the supervisor ended before this part began" in errors
