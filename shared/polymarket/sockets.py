"""How a socket of the venue is kept open, subscribed and believed.

A socket that answers pings while its subscription has lapsed is the feed's best known failure
(1,442 silences of over 30 s in one soak of 14 hours): life is judged by its data where data must
flow, by its pongs where a quiet market is legal.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from shared.observe import metrics

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
NOT_DATA = frozenset({"", "PONG", "pong"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """How a channel behaves. Times in seconds."""

    name: metrics.Feed
    """Of the feed: label of its metrics."""
    url: str
    ping_every_s: float
    silent_after_s: float
    """Without a frame that counts for this long, the socket is opened anew."""
    pongs_count: bool
    """Whether an answered ping is a sign of life."""


class Channel:
    """One subscription that survives its sockets. ``greetings`` are sent on every (re)connection:
    there is no gap filling.
    """

    def __init__(self, terms: ChannelSettings, greetings: Callable[[], list[str]]) -> None:
        self._terms, self._greetings = terms, greetings
        self._socket: ClientConnection | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    async def send(self, text: str) -> None:
        """To the open socket; where there is none, the greetings of the next one must say it."""
        if self._socket is not None:
            try:
                await self._socket.send(text)
            except WebSocketException:
                self._socket = None

    async def frames(self) -> AsyncIterator[str | None]:
        """Every text frame; None each time that a new socket was opened: what was missed meanwhile
        stays missed.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                async with connect(
                    self._terms.url, ping_interval=None, max_size=2**24, open_timeout=10
                ) as socket:
                    await self._greet(socket)
                    yield None
                    async for frame in self._listen(socket):
                        wait_s = FIRST_WAIT_S
                        yield frame
            except (OSError, TimeoutError, WebSocketException) as error:
                logger.warning(
                    "%s: the socket was lost (%s), next try within %.1f s",
                    self._terms.name,
                    type(error).__name__,
                    wait_s,
                )
            finally:
                self._socket = None
            # jitter, not a secret
            await asyncio.sleep(random.uniform(wait_s / 2, wait_s))  # noqa: S311
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _greet(self, socket: ClientConnection) -> None:
        self._socket = socket
        for greeting in self._greetings():
            await socket.send(greeting)

    async def _listen(self, socket: ClientConnection) -> AsyncIterator[str]:
        """Raises: TimeoutError where the channel fell silent."""
        loop = asyncio.get_running_loop()
        alive_at, pinger = loop.time(), asyncio.create_task(self._ping(socket))
        try:
            while True:
                async with asyncio.timeout_at(alive_at + self._terms.silent_after_s):
                    frame = await socket.recv(decode=True)
                text = str(frame)
                if text not in NOT_DATA:
                    yield text
                    alive_at = (
                        loop.time()
                    )  # after the yield: the time that our reader took is not the channel's silence
                elif self._terms.pongs_count:
                    alive_at = loop.time()
        except TimeoutError:
            metrics.feed_silent(self._terms.name, loop.time() - alive_at)
            raise
        finally:
            pinger.cancel()

    async def _ping(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self._terms.ping_every_s)
            try:
                await socket.send("PING")
            except WebSocketException:
                return
