"""Start, watch and stop processes that cannot outlive the supervisor."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from tools.stack import die_with_parent
from tools.stack.errors import PartDied, StackError, describe_exit
from tools.stack.settings import environment_for_child

ReadyProbe = Callable[[], Awaitable[bool]]
READY_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One program to run: its command, its readiness probe, and how it is stopped.

    Times are seconds. `env` is added to the supervisor's own environment. The kernel sends it
    `death_signal` when the supervisor dies. `user`: run it as another user (only root can).
    """

    name: str
    command: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: ReadyProbe | None = None
    ready_within: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    user: str | None = None
    niceness: int = 0
    port: int | None = None
    """Where it listens; None if nowhere."""
    vital: bool = True
    """Whether `first_death` reports its unexpected end."""


class Process(Protocol):
    """What the supervisor needs of a process that it has started."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def send_signal(self, signal: int) -> None: ...


class Running:
    """A part that was started: its process, its log, and its end when it ends."""

    def __init__(self, part: Part, process: Process, log: Path) -> None:
        self.part = part
        self.log = log
        self.stopping = False
        self._process = process
        self.ended = asyncio.create_task(process.wait(), name=f"{part.name} ends")

    @property
    def name(self) -> str:
        return self.part.name

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill_group(self) -> None:
        """Kill the process and what it started: each part leads a process group of its own."""
        if self.is_alive:
            with suppress(ProcessLookupError):  # it has ended, and asyncio has not noticed yet
                os.killpg(self.pid, signal.SIGKILL)

    def death(self, when: str = "") -> PartDied:
        """Return its unexpected end as an error that shows the end of its log."""
        return PartDied(self.name, describe_exit(self.ended.result()) + when, self.log)


class Supervisor:
    """Owns child processes: none outlives the `async with` block, nor the process or thread that
    runs it, however that ends.

    A part's output goes to `<folder>/logs/<part>.log`, which its first start truncates and later
    starts continue.
    """

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "logs"
        self._running: list[Running] = []
        self._begun_logs: set[Path] = set()
        self._deaths: asyncio.Queue[PartDied] = asyncio.Queue()

    @property
    def running(self) -> tuple[Running, ...]:
        """The parts that were started and not stopped, in the order of their start, including those
        that ended unexpectedly.
        """
        return tuple(self._running)

    async def __aenter__(self) -> Supervisor:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(self._stop_all())

    async def start(self, part: Part) -> Running:
        """Start a part and return once it is ready.

        Raises:
            PartDied: it ended, or was not ready in time; shows the end of its log.
        """
        running = await self._spawn(part)
        if part.ready is not None:
            await self._wait_until_ready(running, part.ready)
        running.ended.add_done_callback(lambda _: self._note_death(running))
        return running

    async def run(self, part: Part) -> None:
        """Run a part to its end; if the caller is cancelled, the part is killed.

        Raises:
            PartDied: it ended with anything but exit status 0.
        """
        running = await self._spawn(part)
        running.stopping = True  # its end is expected
        try:
            returncode = await asyncio.shield(running.ended)
        finally:
            await self.kill(running)
        if returncode != 0:
            raise running.death()

    async def stop(self, running: Running) -> None:
        """Stop a part, and kill it with all that it started if it does not end in its time."""
        running.stopping = True
        running.signal(running.part.stop_signal)
        await asyncio.wait({running.ended}, timeout=running.part.stop_within)
        await self.kill(running)

    async def kill(self, running: Running) -> None:
        """Kill a part; `first_death` does not report this."""
        running.stopping = True
        running.kill_group()
        await running.ended
        if running in self._running:
            self._running.remove(running)

    async def first_death(self) -> PartDied:
        """Wait until a vital part ends unexpectedly, and return its end as an error."""
        return await self._deaths.get()

    async def _spawn(self, part: Part) -> Running:
        if shutil.which(part.command[0]) is None:
            raise StackError(f"{part.name} cannot start: there is no program {part.command[0]}")
        log = self._logs / f"{part.name}.log"
        with log.open("ab" if log in self._begun_logs else "wb") as output:
            self._begun_logs.add(log)
            process = await self.start_process(part, output)
        running = Running(part, process, log)
        self._running.append(running)
        return running

    async def start_process(self, part: Part, output: BinaryIO) -> Process:
        """Start the part's process, which leads a session of its own."""
        return await asyncio.create_subprocess_exec(
            *_command_line(part),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment_for_child(part.env),
            cwd=part.cwd,
            start_new_session=True,
        )

    async def _wait_until_ready(self, running: Running, ready: ReadyProbe) -> None:
        try:
            async with asyncio.timeout(running.part.ready_within):
                while not await ready():
                    await asyncio.wait({running.ended}, timeout=READY_POLL_SECONDS)
                    if running.ended.done():
                        raise running.death(" while starting")
        except TimeoutError:
            raise PartDied(
                running.name, f"was not ready within {running.part.ready_within:g} s", running.log
            ) from None

    def _note_death(self, running: Running) -> None:
        if running.part.vital and not running.stopping and not running.ended.cancelled():
            self._deaths.put_nowait(running.death())

    async def _stop_all(self) -> None:
        for running in reversed(self.running):
            await self.stop(running)


def _command_line(part: Part) -> list[str]:
    # -I -S: this interpreter needs the standard library alone, and starts in about 15 ms.
    launcher = [sys.executable, "-I", "-S", die_with_parent.__file__]
    arguments = [str(os.getpid()), str(int(part.death_signal)), str(part.niceness), part.user or ""]
    return [*launcher, *arguments, *(str(word) for word in part.command)]
