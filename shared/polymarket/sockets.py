"""A socket of the venue that is reopened, subscribed again, and checked for silence.

The best known failure of the feeds is a socket that still answers pings while its subscription has
lapsed (1,442 silences of over 30 s in one soak test of 14 hours). So a channel counts as alive by
its data where data must flow, and by its pongs where a quiet market is normal. Where frames may
flow in which nothing can be read, it counts as alive by those that its consumer could read.
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

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.25, 30.0
OPEN_TIMEOUT_S = 5
CLOSE_TIMEOUT_S = 1
"""For the farewell, which a venue that fell silent does not answer either."""
NOT_DATA = frozenset({"", "PONG", "pong"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """How a channel behaves. Times in seconds."""

    name: metrics.Feed
    """The feed's name, a label of its metrics."""
    url: str
    ping_interval_s: float
    silence_timeout_s: float
    """Without a sign of life for this long, the socket is opened anew."""
    pong_is_alive: bool
    """Whether a pong is a sign of life, or only data is."""
    data_is_alive: bool = True
    """Whether any data is a sign of life, or only what the consumer marks by ``mark_alive``."""


class Channel:
    """One subscription that outlives its sockets.

    ``first_frames`` returns the frames to send on every (re)connection. What was missed between two
    connections is not fetched afterwards.
    """

    def __init__(self, settings: ChannelSettings, first_frames: Callable[[], list[str]]) -> None:
        self._settings, self._first_frames = settings, first_frames
        self._socket: ClientConnection | None = None
        self._is_marked = False
        """Whether the frame that is being consumed is a sign of life."""

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def mark_alive(self) -> None:
        """Say that the frame that ``frames`` yielded last could be read."""
        self._is_marked = True

    async def send(self, text: str) -> None:
        """Send to the open socket. Without one nothing is sent: ``first_frames`` must then cover
        it for the next socket.
        """
        if self._socket is not None:
            try:
                await self._socket.send(text)
            except WebSocketException:
                self._socket = None

    async def frames(self) -> AsyncIterator[str | None]:
        """Yield every text frame, and None each time that a socket was opened: what was sent
        meanwhile is missing.
        """
        backoff_s = MIN_BACKOFF_S
        while True:
            try:
                async with connect(
                    self._settings.url,
                    ping_interval=None,
                    max_size=2**24,
                    open_timeout=OPEN_TIMEOUT_S,
                    close_timeout=CLOSE_TIMEOUT_S,
                ) as socket:
                    await self._subscribe(socket)
                    yield None
                    async for frame in self._listen(socket):
                        backoff_s = MIN_BACKOFF_S
                        yield frame
            except (OSError, TimeoutError, WebSocketException) as error:
                logger.warning(
                    "%s: lost the socket (%s), reconnecting within %.1f s",
                    self._settings.name,
                    type(error).__name__,
                    backoff_s,
                )
            finally:
                self._socket = None
            # jitter, not a secret
            await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    async def _subscribe(self, socket: ClientConnection) -> None:
        self._socket = socket
        for frame in self._first_frames():
            await socket.send(frame)

    async def _listen(self, socket: ClientConnection) -> AsyncIterator[str]:
        """Raises: TimeoutError where the channel fell silent."""
        loop = asyncio.get_running_loop()
        alive_at, pinger = loop.time(), asyncio.create_task(self._ping(socket))
        try:
            while True:
                text = await self._receive(
                    socket, until=alive_at + self._settings.silence_timeout_s
                )
                if text in NOT_DATA:
                    is_alive = self._settings.pong_is_alive
                else:
                    self._is_marked = self._settings.data_is_alive
                    yield text
                    is_alive = self._is_marked
                if is_alive:
                    # After the yield: the time that our consumer took is not the channel's silence.
                    alive_at = loop.time()
        except TimeoutError:
            metrics.feed_silent(self._settings.name, loop.time() - alive_at)
            raise
        finally:
            pinger.cancel()

    async def _receive(self, socket: ClientConnection, *, until: float) -> str:
        """The next frame. Raises: TimeoutError after ``until``, by the event loop's clock, also
        where frames keep coming.
        """
        if asyncio.get_running_loop().time() >= until:
            raise TimeoutError
        async with asyncio.timeout_at(until):
            return str(await socket.recv(decode=True))

    async def _ping(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_interval_s)
            try:
                await socket.send("PING")
            except WebSocketException:
                return
