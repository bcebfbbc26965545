"""Starts the programs of this repository as forks of a process that has imported their libraries
(see ``fork_server``), one for each test session.
"""

import asyncio
import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tools.stack.settings import REPOSITORY, environment_for_child
from tools.stack.supervisor import Part, Process, Supervisor

ANSWER_BYTES = 4096


class ForkedProcess:
    """A program that was started by the fork server."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: Future[int] = Future()

    @property
    def returncode(self) -> int | None:
        """As of ``subprocess``: negative, it was ended by that signal."""
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(asyncio.wrap_future(self.ended))

    def send_signal(self, signal: int) -> None:
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal)


class Forks:
    """The fork server. Any thread may use it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.system.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=REPOSITORY,
                start_new_session=True,
            )
        self._lock = threading.Lock()
        self._starting: deque[Future[ForkedProcess]] = deque()
        self._reader = threading.Thread(target=self._read, name="forks", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End the server, and with it every program that still runs."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._server.wait()
        self._reader.join()
        self._socket.close()

    async def start(
        self,
        arguments: Sequence[str],
        output: BinaryIO,
        *,
        environment: Mapping[str, str],
        folder: Path = REPOSITORY,
        niceness: int = 0,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> ForkedProcess:
        """Run a module with its arguments as ``python -m`` would, in a session of its own."""
        request = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
            "niceness": niceness,
            "death_signal": int(death_signal),
        }
        started: Future[ForkedProcess] = Future()
        with self._lock:
            self._starting.append(started)
            socket.send_fds(self._socket, [json.dumps(request).encode()], [output.fileno()])
        return await asyncio.shield(asyncio.wrap_future(started))

    def _read(self) -> None:
        running: dict[int, ForkedProcess] = {}
        while answer := self._socket.recv(ANSWER_BYTES):
            fields = json.loads(answer)
            if "started" in fields:
                process = ForkedProcess(fields["started"])
                running[process.pid] = process
                self._starting.popleft().set_result(process)
            else:
                running.pop(fields["ended"]).ended.set_result(fields["status"])
        for process in running.values():
            process.ended.set_result(-signal.SIGKILL)
        for started in self._starting:
            started.set_exception(RuntimeError("the fork server has ended: see its output"))


@functools.cache
def forks() -> Forks:
    """Of this process, which starts it when first needed."""
    server = Forks()
    atexit.register(server.close)
    return server


class ForkingSupervisor(Supervisor):
    """Starts modules of Python as forks, and everything else as any supervisor does."""

    async def start_process(self, part: Part, output: BinaryIO) -> Process:
        interpreter, option, *arguments = (str(word) for word in (*part.command, "", ""))
        if (interpreter, option) != (sys.executable, "-m") or part.user is not None:
            return await super().start_process(part, output)
        return await forks().start(
            [each for each in arguments if each],
            output,
            environment=environment_for_child(part.env),
            folder=part.cwd or Path.cwd(),
            niceness=part.niceness,
            death_signal=part.death_signal,
        )
