"""A process that has imported the libraries of the services, and forks itself for each program: a
program starts without importing them, which takes most of the start of a service.

usage: python -m tests.system.fork_server SOCKET

It imports libraries alone: each program imports the modules of this repository itself. It has one
thread. A request names the module, and brings the file for what the program prints; the answers are
the pid, and the exit status when the program has ended. It ends when the other side of the socket
is closed, and its programs with it.
"""

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.stack.die_with_parent import request_death_signal

LIBRARIES = (
    "Crypto.Cipher.AES",
    "aiohttp.web",
    "aiokafka.admin.config_resource",
    "aiokafka.coordinator.assignors.range",
    "aiokafka.helpers",
    "alembic.command",
    "asyncpg",
    "coincurve",
    "eth_account.signers.local",
    "eth_keys.backends.coincurve",
    "faust",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace.export",
    "orjson",
    "polymarket",
    "polymarket._internal.actions.orders.post",
    "prometheus_client",
    "pydantic.networks",
    "pydantic_settings",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.ext.asyncio",
    "uvloop",
    "web3",
    "websockets.asyncio.client",
)
"""A library that is missing here costs time alone."""
MAX_REQUEST_BYTES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run in a fork, and the open file for its output."""

    arguments: list[str]
    """The module and its arguments."""
    environment: dict[str, str]
    folder: str
    niceness: int
    death_signal: int
    output: int


class ForkServer:
    """Answers requests until the other side closes its socket."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._ended, ended_writer = socket.socketpair()
        self._ended.setblocking(False)
        ended_writer.setblocking(False)
        self._ended_writer = ended_writer

    def serve(self) -> Program | None:
        """Returns the program in each fork; None at the end of the server itself."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ended_writer.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._ended in ready:
                    self._ended.recv(4096)
                    self._report_ended()
                if self._requests in ready:
                    program = self._receive()
                    if program is None:
                        return None
                    if self._fork(program):
                        return program

    def _receive(self) -> Program | None:
        request, files, _, _ = socket.recv_fds(self._requests, MAX_REQUEST_BYTES, 1)
        return Program(**json.loads(request), output=files[0]) if request else None

    def _fork(self, program: Program) -> bool:
        """Returns whether this is the fork."""
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._leave(program, server)
            return True
        os.close(program.output)
        self._send({"started": pid})
        return False

    def _leave(self, program: Program, server: int) -> None:
        """Become a process like any other."""
        os.setsid()
        request_death_signal(server, program.death_signal)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._requests, self._ended, self._ended_writer):
            each.close()
        for stream in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(program.output, stream)
        os.close(program.output)

    def _report_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._send({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _send(self, answer: dict[str, Any]) -> None:
        self._requests.send(json.dumps(answer).encode())


def run(program: Program) -> None:
    """As ``python -m`` does. ``ps`` shows the name by which processes are told apart."""
    module, *arguments = program.arguments
    Path("/proc/self/comm").write_text(program.arguments[-1].rpartition(".")[2])
    os.nice(program.niceness)
    os.chdir(program.folder)
    os.environ.clear()
    os.environ.update(program.environment)
    sys.argv = [module, *arguments]
    sys.path[0] = program.folder
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(requests: int) -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    # The forks share this memory as long as their collector does not write to it.
    gc.freeze()
    program = ForkServer(socket.socket(fileno=requests)).serve()
    if program is not None:
        run(program)


if __name__ == "__main__":
    main(int(sys.argv[1]))
