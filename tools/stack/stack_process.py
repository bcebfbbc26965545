"""The process of `slipstream stack up`: it runs the stack and publishes its state."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from tools.stack.errors import StackError
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings
from tools.stack.state import PartState, StackState, remove_state, write_state


async def run_stack(settings: StackSettings, on_ready: Callable[[StackState], None]) -> None:
    """Run a stack until SIGTERM or SIGINT; `on_ready` is called once, when it is ready.

    Raises:
        StackError: it could not start, or a part died.
    """
    _stop_on(signal.SIGTERM, signal.SIGINT)
    try:
        async with LocalStack(settings) as stack:
            state = describe_stack(stack)
            write_state(settings.folder, state)
            try:
                on_ready(state)
                raise await stack.supervisor.first_death()
            finally:
                remove_state(settings.folder)
    except asyncio.CancelledError:
        return  # a signal came, and all parts have stopped


def describe_stack(stack: LocalStack) -> StackState:
    """Return the state of a running stack, for other processes."""
    vital = (running for running in stack.supervisor.running if running.part.vital)
    parts = tuple(
        PartState(name=running.name, pid=running.pid, port=running.part.port, log=str(running.log))
        for running in vital
    )
    return StackState(pid=os.getpid(), environment=stack.environment(), parts=parts)


def _stop_on(*signals: signal.Signals) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in signals:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def main() -> None:
    """Run in the background; the command that started this reads errors from its log."""
    try:
        asyncio.run(run_stack(StackSettings.from_environment(), on_ready=lambda _: None))
    except StackError as error:
        sys.exit(f"slipstream stack: {error}")


if __name__ == "__main__":
    main()
