"""`slipstream stack`: the local Kafka, PostgreSQL and chain, kept running for development."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from tools.stack.errors import StackError, read_tail
from tools.stack.fetch import fetch_all as fetch_everything
from tools.stack.local import folder_lock
from tools.stack.ports import accepts_connections
from tools.stack.settings import REPOSITORY, StackSettings
from tools.stack.stack_process import run_stack
from tools.stack.state import PartState, StackState, read_state, remove_state

POLL_SECONDS = 0.05
STOP_WITHIN_SECONDS = 60.0

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command()
def up(
    *,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Do not return; Ctrl-C stops the stack.")
    ] = False,
) -> None:
    """Start an empty stack, and print the variables by which services find it."""
    with _report_errors():
        settings = StackSettings.from_environment()
        if load_running_state(settings.folder) is not None:
            typer.echo("The stack is already up.", err=True)
        elif foreground:
            asyncio.run(run_stack(settings, on_ready=_print_environment))
            return
        else:
            _start_in_background(settings)
        _print_environment(_require_state(settings.folder))


@app.command()
def status() -> None:
    """Show the parts, their processes and addresses; exit status 1 if the stack is not running."""
    with _report_errors():
        folder = StackSettings.from_environment().folder
        state = load_running_state(folder)
        if state is None:
            raise StackError(_explain_not_running(folder))
        typer.echo(f"up, supervised by process {state.pid}")
        for part in state.parts:
            typer.echo(
                f"  {part.name:10} process {part.pid:<8} {_describe_port(part):27} log {part.log}"
            )
        _print_environment(state)


@app.command()
def down() -> None:
    """Stop the stack and delete its data."""
    with _report_errors():
        folder = StackSettings.from_environment().folder
        supervisor = folder_lock(folder).holder()
        if supervisor is None:
            remove_state(folder)
            typer.echo("The stack is not running.", err=True)
            return
        if not _stop_process(supervisor):
            raise StackError(
                f"the supervisor (process {supervisor}) has not ended within "
                f"{STOP_WITHIN_SECONDS:g} s: kill -9 ends it and all parts"
            )
        typer.echo("The stack is down.", err=True)


@app.command()
def fetch() -> None:
    """Download everything that the stack needs, so that later starts need no network, and prepare a
    fast start of Kafka.
    """
    with _report_errors():
        asyncio.run(
            fetch_everything(
                StackSettings.from_environment(), report=lambda line: typer.echo(line, err=True)
            )
        )


def load_running_state(folder: Path) -> StackState | None:
    """Return the state of the stack that runs in this folder; None if none runs or it is not ready.
    The state that a killed stack left is ignored.
    """
    holder = folder_lock(folder).holder()
    state = read_state(folder)
    return state if state is not None and state.pid == holder else None


def _describe_port(part: PartState) -> str:
    if part.port is None:
        return "running"
    return f"port {part.port} {'answers' if accepts_connections(part.port) else 'DOES NOT ANSWER'}"


def supervisor_log(folder: Path) -> Path:
    """Return the log of a background stack's supervisor, which says for example why it ended."""
    return folder / "logs" / "supervisor.log"


def _start_in_background(settings: StackSettings) -> None:
    log = supervisor_log(settings.folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    typer.echo(f"Starting Kafka, PostgreSQL and the chain (log: {log}) ...", err=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.stack.stack_process"],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_ready(settings.folder, process, log)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _wait_until_ready(folder: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    while load_running_state(folder) is None:
        if process.poll() is not None:
            raise StackError(f"the stack did not start:\n{read_tail(log, lines=40)}")
        time.sleep(POLL_SECONDS)


def _stop_process(pid: int) -> bool:
    """Send SIGTERM and return whether the process has ended, or had ended before."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        ended, _, _ = select.select([handle], [], [], STOP_WITHIN_SECONDS)
    finally:
        os.close(handle)
    return bool(ended)


def _require_state(folder: Path) -> StackState:
    state = load_running_state(folder)
    if state is None:
        raise StackError(_explain_not_running(folder))
    return state


def _explain_not_running(folder: Path) -> str:
    starting = folder_lock(folder).holder()
    if starting is not None:
        return f"the stack is starting or stopping (process {starting})"
    stale = read_state(folder)
    if stale is not None:
        return (
            f"the stack is not running: its supervisor (process {stale.pid}) was killed; "
            "`slipstream stack up` starts a new one"
        )
    log = supervisor_log(folder)
    if not log.exists() or log.stat().st_size == 0:
        return "the stack is not running"
    return f"the stack is not running; it ended with:\n{read_tail(log)}"


def _print_environment(state: StackState) -> None:
    for name, value in state.environment.items():
        typer.echo(f"export {name}={value}")


@contextmanager
def _report_errors() -> Iterator[None]:
    try:
        yield
    except StackError as error:
        typer.echo(f"slipstream stack: {error}", err=True)
        raise typer.Exit(1) from None
