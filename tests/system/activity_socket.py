"""A WebSocket server in place of the venue's activity socket: it sends the frames of a test."""

from types import TracebackType
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class FakeActivitySocket:
    """Sends frames to every subscriber, and counts the connections that were opened."""

    def __init__(self) -> None:
        self.connections = 0
        self.subscriptions: list[str] = []
        self._subscribers: set[ServerConnection] = set()

    async def __aenter__(self) -> Self:
        self._server: Server = await serve(self._serve_subscriber, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def send(self, *frames: str) -> None:
        """Raises: LookupError where there is no subscriber."""
        if not self._subscribers:
            raise LookupError("the activity socket has no subscriber")
        for subscriber in self._subscribers:
            for frame in frames:
                await subscriber.send(frame)

    async def _serve_subscriber(self, connection: ServerConnection) -> None:
        self.connections += 1
        try:
            async for frame in connection:
                if frame == "PING":
                    await connection.send("")
                else:
                    self.subscriptions.append(str(frame))
                    self._subscribers.add(connection)
        except ConnectionClosed:
            pass
        finally:
            self._subscribers.discard(connection)
