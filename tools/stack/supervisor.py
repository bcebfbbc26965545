"""What runs on this machine for us, and is any of it dead? Starts, watches and stops processes that
cannot outlive the supervisor.
"""

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

from tools.stack import tether
from tools.stack.errors import PartDied, StackError, describe_exit
from tools.stack.settings import environment_for_child

ReadyProbe = Callable[[], Awaitable[bool]]
READY_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One program to run: what starts it, how it shows that it is ready, how it is stopped.

    Times are seconds. `env` is added to the supervisor's own environment. `death_signal` is what
    the kernel sends it when the supervisor dies; `user` runs it as someone else (only root can).
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
    # Where it listens, for those who want to look; None if nowhere.
    port: int | None = None
    # Whether `first_death` tells of its end when nobody asked for it.
    vital: bool = True


class Running:
    """A part that was started: its process, its log, and its end once it has come."""

    def __init__(self, part: Part, process: asyncio.subprocess.Process, log: Path) -> None:
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
        """Kill the process and what it started; each part leads a process group of its own."""
        if self.is_alive:
            with suppress(ProcessLookupError):  # it ended, and asyncio has not told us yet
                os.killpg(self.pid, signal.SIGKILL)

    def death(self, when: str = "") -> PartDied:
        """Return its unwanted end as an error that shows the log's end."""
        return PartDied(self.name, describe_exit(self.ended.result()) + when, self.log)


class Supervisor:
    """Owns child processes: none outlives the `async with` block, nor the process or thread that
    runs it, however that ends.

    Each part's output goes to `<folder>/logs/<part>.log`: begun anew by its first start, continued
    when it is started again.
    """

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "logs"
        self._running: list[Running] = []
        self._begun: set[Path] = set()
        self._deaths: asyncio.Queue[PartDied] = asyncio.Queue()

    @property
    def running(self) -> tuple[Running, ...]:
        """The parts that were started and not stopped, in the order of their start; a dead one is
        among them until stopped.
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
            PartDied: it ended, or was not ready in time; carries the end of its log.
        """
        running = await self._spawn(part)
        if part.ready is not None:
            await self._wait_until_ready(running, part.ready)
        running.ended.add_done_callback(lambda _: self._note_death(running))
        return running

    async def run(self, part: Part) -> None:
        """Run a part to its end; if the caller is cancelled meanwhile, the part is killed.

        Raises:
            PartDied: it ended with anything but exit status 0.
        """
        running = await self._spawn(part)
        running.stopping = True  # its end is what we wait for, not a death
        try:
            returncode = await asyncio.shield(running.ended)
        finally:
            await self.kill(running)
        if returncode != 0:
            raise running.death()

    async def stop(self, running: Running) -> None:
        """Ask a part to stop, and kill it with all that it started when it has not within its time."""
        running.stopping = True
        running.signal(running.part.stop_signal)
        await asyncio.wait({running.ended}, timeout=running.part.stop_within)
        await self.kill(running)

    async def kill(self, running: Running) -> None:
        """End a part at once, as a power cut would; this is no death to report."""
        running.stopping = True
        running.kill_group()
        await running.ended
        if running in self._running:
            self._running.remove(running)

    async def first_death(self) -> PartDied:
        """Wait until a part ends that nobody asked to, and return what is known about it."""
        return await self._deaths.get()

    async def _spawn(self, part: Part) -> Running:
        if shutil.which(part.command[0]) is None:
            raise StackError(f"{part.name} cannot start: there is no program {part.command[0]}")
        log = self._logs / f"{part.name}.log"
        with log.open("ab" if log in self._begun else "wb") as output:
            self._begun.add(log)
            process = await asyncio.create_subprocess_exec(
                *_tethered(part),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment_for_child(part.env),
                cwd=part.cwd,
                start_new_session=True,
            )
        running = Running(part, process, log)
        self._running.append(running)
        return running

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


def _tethered(part: Part) -> list[str]:
    # -I -S: this interpreter needs the standard library alone, and starts in about 15 ms.
    shim = [sys.executable, "-I", "-S", tether.__file__]
    tied_to = [str(os.getpid()), str(int(part.death_signal)), str(part.niceness), part.user or ""]
    return [*shim, *tied_to, *(str(word) for word in part.command)]
