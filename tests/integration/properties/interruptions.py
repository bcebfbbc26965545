"""Ends or pauses an instance of a service at a call of one of its ports."""

import asyncio
from typing import Any, TypeVar, cast

from tests.fakes import Killed

Port = TypeVar("Port")


class Interruption:
    """Counts the calls that one instance makes, and interrupts it before one of them."""

    def __init__(self) -> None:
        self._kill_in: int | None = None
        self._pause_in: int | None = None
        self.paused: asyncio.Future[None] | None = None
        """Of an instance that is paused now: its result lets it go on."""
        self.on_paused = asyncio.Event()

    def kill_before(self, call: int) -> None:
        """Kill it before the call of that number from now on; 0: the next one."""
        self._kill_in = call

    def pause_before(self, call: int) -> None:
        self._pause_in = call

    def disarm(self) -> None:
        self._kill_in = self._pause_in = None

    def skip_pause(self) -> None:
        self._pause_in = None

    @property
    def pauses(self) -> bool:
        """Whether it will be paused."""
        return self._pause_in is not None

    def pass_publication(self) -> None:
        """It is about to publish: it may be killed before that, too. Raises: Killed."""
        if self._kill_in is not None:
            self._kill_in -= 1
            if self._kill_in < 0:
                self._kill_in = None
                raise Killed

    async def pass_call(self) -> None:
        """Raises: Killed."""
        self.pass_publication()
        if self._pause_in is not None:
            self._pause_in -= 1
            if self._pause_in < 0:
                self._pause_in = None
                self.paused = asyncio.get_running_loop().create_future()
                self.on_paused.set()
                await self.paused


class _Interrupted:
    def __init__(self, port: Any, interruption: Interruption) -> None:
        self._port, self._interruption = port, interruption

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(call):
            return call

        async def interrupted(*arguments: Any, **named: Any) -> Any:
            await self._interruption.pass_call()
            return await call(*arguments, **named)

        return interrupted


def interrupted(port: Port, interruption: Interruption) -> Port:
    """The port, each call of which may be the one before which its instance is interrupted."""
    return cast(Port, _Interrupted(port, interruption))
