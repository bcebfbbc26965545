"""What can be said to the market, user and activity sockets, and what do they answer?"""

from typing import Any

import orjson

from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.socket_events import book_event
from services.paper_venue.sockets.hub import Connection, Hub, SocketProtocol

_MAX_TOKENS_WITH_BOOKS = 500
"""Tokens of one connection; with more, it gets no books at first."""
_RETIRED = ("clob_market", "clob_user")
_RETIRED_TEXT = "CLOB messages are not supported anymore, please visit https://discord.com/"
"""As recorded, but for the end of the address."""


class MarketSocket(SocketProtocol):
    """``/ws/market``: books of the tokens asked for, then what changes. ``book_of`` gives a token's
    present summary, None: unknown.
    """

    def __init__(self, hub: Hub, book_of: Any) -> None:
        self._hub = hub
        self._book_of = book_of

    def on_frame(self, connection: Connection, frame: Json) -> bool:
        tokens = frame.get("assets_ids")
        # The first frame names the type of the socket, later ones what to do.
        operation = frame.get(
            "operation", "subscribe" if str(frame.get("type", "")).lower() == "market" else None
        )
        if not isinstance(tokens, list) or operation not in ("subscribe", "unsubscribe"):
            return False
        if operation == "unsubscribe":
            self._hub.unsubscribe(connection, map(str, tokens))
        else:
            self._subscribe(connection, [str(token) for token in tokens], frame)
        return True

    def _subscribe(self, connection: Connection, tokens: list[str], frame: Json) -> None:
        self._hub.subscribe(connection, tokens)
        connection.wants_custom_features |= frame.get("custom_feature_enabled") is True
        if frame.get("initial_dump", True) and len(connection.topics) <= _MAX_TOKENS_WITH_BOOKS:
            books = [summary for token in tokens if (summary := self._book_of(token)) is not None]
            connection.send_event(orjson.dumps([book_event(summary) for summary in books]).decode())


class UserSocket(SocketProtocol):
    """``/ws/user``: the orders and trades of one API key, of some markets or of all."""

    def __init__(self, hub: Hub, keys: ApiKeyStore) -> None:
        self._hub = hub
        self._keys = keys

    def on_frame(self, connection: Connection, frame: Json) -> bool:
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
            return connection.owner
        credentials = self._keys.find(str(auth.get("apiKey")))
        if credentials is None or (auth.get("secret"), auth.get("passphrase")) != (
            credentials.secret,
            credentials.passphrase,
        ):
            return None
        connection.owner = credentials.key
        return credentials.key


class ActivitySocket(SocketProtocol):
    """RTDS: every fill of every wallet. One unknown topic refuses the whole subscription; an empty
    frame answers a ``PING``.
    """

    pong = ""
    types = ("trades", "orders_matched")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def on_frame(self, connection: Connection, frame: Json) -> bool:
        subscriptions = frame.get("subscriptions")
        if frame.get("action") not in ("subscribe", "unsubscribe") or not isinstance(
            subscriptions, list
        ):
            return False
        asked = [self._types(each) for each in subscriptions]
        if not all(asked):
            connection.send_frame(orjson.dumps(_refusal(subscriptions)).decode())
            return True
        topics = {kind for kinds in asked for kind in kinds}
        if frame["action"] == "unsubscribe":
            self._hub.unsubscribe(connection, topics)
        else:
            self._hub.subscribe(connection, topics)
        return True

    def _types(self, asked: Any) -> tuple[str, ...]:
        if not isinstance(asked, dict) or asked.get("topic") != "activity":
            return ()
        kind = asked.get("type", "*")
        return self.types if kind == "*" else (kind,) if kind in self.types else ()


def _refusal(subscriptions: list[Any]) -> Json:
    topics = [asked.get("topic") for asked in subscriptions if isinstance(asked, dict)]
    if any(topic in _RETIRED for topic in topics):
        return {"body": {"message": _RETIRED_TEXT}, "statusCode": 400}
    return {"body": {"message": "Invalid request body"}, "statusCode": 401}
