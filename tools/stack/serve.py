"""The process that owns a stack started by `slipstream stack up`: starts it, tells its state, ends
with it.
"""

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


async def serve(settings: StackSettings, announce: Callable[[StackState], None]) -> None:
    """Run a stack until SIGTERM or SIGINT; `announce` is called once, when it is ready.

    Raises:
        StackError: it could not start, or a part died.
    """
    _stop_on(signal.SIGTERM, signal.SIGINT)
    try:
        async with LocalStack(settings) as stack:
            state = state_of(stack)
            write_state(settings.folder, state)
            try:
                announce(state)
                raise await stack.supervisor.first_death()
            finally:
                remove_state(settings.folder)
    except asyncio.CancelledError:
        return  # we were asked to stop, and all parts have stopped


def state_of(stack: LocalStack) -> StackState:
    """Return what other processes may know of a running stack."""
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
    """Serve in the background; whoever started this reads the error from its log."""
    try:
        asyncio.run(serve(StackSettings.from_environment(), announce=lambda _: None))
    except StackError as error:
        sys.exit(f"slipstream stack: {error}")


if __name__ == "__main__":
    main()
