"""Who is connected to the market, user and activity sockets, and what does each get?"""

import asyncio
import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from services.paper_venue.auth import Keys
from services.paper_venue.frames import Json, book_event
from services.paper_venue.orders import Market

_BACKLOG = 10_000
"""Frames that a connection may be behind; a client that reads slower than that is disconnected, as a lost frame is worse."""


class Connection:
    """One client at one socket. Frames leave in order, and a slow client holds up nobody else."""

    def __init__(self, socket: web.WebSocketResponse, number: int) -> None:
        self.id = base64.b64encode(number.to_bytes(12, "big")).decode()
        self.topics: set[str] = set()
        self._socket = socket
        self._frames: asyncio.Queue[str] = asyncio.Queue(_BACKLOG)
        self._lagging = False

    def send(self, frame: str) -> None:
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self._lagging = True

    async def write(self) -> None:
        while not self._lagging:
            await self._socket.send_str(await self._frames.get())
        await self._socket.close(message=b"reads too slowly")


class Hub:
    """The connections of one kind of socket, by what they have subscribed to."""

    def __init__(self) -> None:
        self._by_topic: defaultdict[str, set[Connection]] = defaultdict(set)
        self._count = 0

    def listeners(self, topics: Iterable[str]) -> set[Connection]:
        return {connection for topic in topics for connection in self._by_topic.get(topic, ())}

    def subscribe(self, connection: Connection, topics: Iterable[str]) -> None:
        for topic in topics:
            connection.topics.add(topic)
            self._by_topic[topic].add(connection)

    def unsubscribe(self, connection: Connection, topics: Iterable[str]) -> None:
        for topic in list(topics):
            connection.topics.discard(topic)
            self._by_topic[topic].discard(connection)
            if not self._by_topic[topic]:
                del self._by_topic[topic]

    async def serve(self, request: web.Request, protocol: "Protocol") -> web.WebSocketResponse:
        """Speak with one client until it leaves, or says something that this socket does not know."""
        socket = web.WebSocketResponse(autoping=True, max_msg_size=1 << 22)
        await socket.prepare(request)
        self._count += 1
        connection = Connection(socket, self._count)
        writer = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT or not self._hear(connection, message.data, protocol):
                    break
        finally:
            self.unsubscribe(connection, connection.topics)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await socket.close()
        return socket

    def _hear(self, connection: Connection, text: str, protocol: "Protocol") -> bool:
        if text == "PING":
            connection.send(protocol.pong)
            return True
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return isinstance(frame, dict) and protocol.hear(connection, frame)


class Protocol:
    """What one kind of socket understands."""

    pong = "PONG"

    def hear(self, connection: Connection, frame: Json) -> bool:
        """Act on a client's frame. False: it is none, hang up."""
        raise NotImplementedError


class MarketSocket(Protocol):
    """``/ws/market``: books of the tokens asked for, then what changes. ``book_of`` gives a token's present summary, None: unknown."""

    def __init__(self, hub: Hub, book_of: Any) -> None:
        self._hub = hub
        self._book_of = book_of

    def hear(self, connection: Connection, frame: Json) -> bool:
        tokens = frame.get("assets_ids")
        operation = frame.get("operation", "subscribe" if str(frame.get("type", "")).lower() == "market" else None)
        if not isinstance(tokens, list) or operation not in ("subscribe", "unsubscribe"):
            return False
        if operation == "unsubscribe":
            self._hub.unsubscribe(connection, tokens)
            return True
        self._hub.subscribe(connection, tokens)
        books = [summary for token in tokens if (summary := self._book_of(token)) is not None]
        if frame.get("initial_dump", True):
            connection.send(orjson.dumps([book_event(summary) for summary in books]).decode())
        return True


class UserSocket(Protocol):
    """``/ws/user``: the orders and trades of one API key, of some markets or of all."""

    def __init__(self, hub: Hub, keys: Keys) -> None:
        self._hub = hub
        self._keys = keys

    def hear(self, connection: Connection, frame: Json) -> bool:
        owner = self._authenticated(connection, frame)
        if owner is None:
            return False
        markets = [str(market) for market in frame.get("markets") or ()]
        topics = [f"{owner}:{market}" for market in markets] or [f"{owner}:*"]
        if frame.get("operation") == "unsubscribe":
            self._hub.unsubscribe(connection, topics)
        else:
            self._hub.subscribe(connection, topics)
        return True

    def _authenticated(self, connection: Connection, frame: Json) -> str | None:
        """The key of this frame's credentials, or of the frame before it."""
        auth = frame.get("auth")
        if not isinstance(auth, dict):
            return next((topic.split(":")[0] for topic in connection.topics), None)
        credentials = self._keys.find(str(auth.get("apiKey")))
        if credentials is None or (auth.get("secret"), auth.get("passphrase")) != (credentials.secret, credentials.passphrase):
            return None
        return credentials.key


class ActivitySocket(Protocol):
    """RTDS: every fill of every wallet. One unknown topic refuses the whole subscription; an empty frame answers a ``PING``."""

    pong = ""
    types = ("trades", "orders_matched")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def hear(self, connection: Connection, frame: Json) -> bool:
        subscriptions = frame.get("subscriptions")
        if frame.get("action") not in ("subscribe", "unsubscribe") or not isinstance(subscriptions, list):
            return False
        topics = [topic for asked in subscriptions for topic in self._topics(asked)]
        if len(topics) < len(subscriptions):
            refusal: Json = {"body": {"message": "Invalid request body"}, "statusCode": 401}
            connection.send(orjson.dumps(refusal).decode())
        elif frame["action"] == "unsubscribe":
            self._hub.unsubscribe(connection, topics)
        else:
            self._hub.subscribe(connection, topics)
        return True

    def _topics(self, asked: Any) -> list[str]:
        if not isinstance(asked, dict) or asked.get("topic") != "activity":
            return []
        kind = asked.get("type", "*")
        return list(self.types) if kind == "*" else [kind] if kind in self.types else []


class SocketFeeds:
    """Tells the connected clients; each kind of feed later by its own latency."""

    def __init__(self, *, market: Hub, user: Hub, activity: Hub, now_ms: Any, activity_delay_s: float = 0) -> None:
        self._market = market
        self._user = user
        self._activity = activity
        self._now_ms = now_ms
        self._activity_delay_s = activity_delay_s

    def watches(self, token_ids: Iterable[str]) -> bool:
        return bool(self._market.listeners(token_ids))

    def tell_market(self, market: Market, events: Sequence[Mapping[str, Any]]) -> None:
        """Prints and changes go singly, books as an array, to whom one of their tokens interests."""
        for event in events:
            tokens = [event["asset_id"]] if "asset_id" in event else list(market.token_ids)
            frame = orjson.dumps([event] if event["event_type"] == "book" else event).decode()
            for connection in self._market.listeners(tokens):
                connection.send(frame)

    def tell_user(self, owner: str, condition_id: str, event: Mapping[str, Any]) -> None:
        listeners = self._user.listeners((f"{owner}:{condition_id}", f"{owner}:*"))
        if listeners:
            frame = orjson.dumps(event).decode()
            for connection in listeners:
                connection.send(frame)

    def tell_activity(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not self._activity_delay_s:
            self._tell_activity(rows)
            return
        asyncio.get_running_loop().call_later(self._activity_delay_s, self._tell_activity, rows)

    def keep_alive(self) -> None:
        """The empty frame that RTDS sends while nothing happens."""
        for connection in self._activity.listeners(ActivitySocket.types):
            connection.send("")

    def _tell_activity(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for kind in ActivitySocket.types:
            for connection in self._activity.listeners((kind,)):
                for row in rows:
                    frame = {
                        "connection_id": connection.id,
                        "payload": row,
                        "timestamp": self._now_ms(),
                        "topic": "activity",
                        "type": kind,
                    }
                    connection.send(orjson.dumps(frame).decode())
