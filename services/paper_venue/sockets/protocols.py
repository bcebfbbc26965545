"""The protocols of the market, user and activity sockets: subscriptions and replies to them."""

from collections.abc import Callable
from typing import Any

import orjson

from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.socket_events import book_event
from services.paper_venue.sockets.hub import Connection, Hub, SocketProtocol

_MAX_TOKENS_WITH_BOOKS = 500
"""A connection with more tokens gets no books when it subscribes."""
_RETIRED = ("clob_market", "clob_user")
_RETIRED_TEXT = "CLOB messages are not supported anymore, please visit https://discord.com/"
"""As recorded, except for the end of the URL."""


class MarketSocket(SocketProtocol):
    """``/ws/market``: the books of the subscribed tokens, then their changes."""

    def __init__(self, hub: Hub, book_summary: Callable[[str], Json | None]) -> None:
        """``book_summary`` returns a token's present book; None: unknown token."""
        self._hub = hub
        self._book_summary = book_summary

    def on_frame(self, connection: Connection, frame: Json) -> bool:
        tokens = frame.get("assets_ids")
        # The first frame names the type of the socket, later ones the operation.
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
            books = [
                summary for token in tokens if (summary := self._book_summary(token)) is not None
            ]
            connection.send_event(orjson.dumps([book_event(summary) for summary in books]).decode())


class UserSocket(SocketProtocol):
    """``/ws/user``: the orders and trades of one API key, in the named markets or in all."""

    def __init__(self, hub: Hub, keys: ApiKeyStore) -> None:
        self._hub = hub
        self._keys = keys

    def on_frame(self, connection: Connection, frame: Json) -> bool:
        owner = self._authenticate(connection, frame)
        if owner is None:
            return False
        markets = [str(market) for market in frame.get("markets") or ()]
        topics = [f"{owner}:{market}" for market in markets] or [f"{owner}:*"]
        if frame.get("operation") == "unsubscribe":
            self._hub.unsubscribe(connection, topics)
        else:
            self._hub.subscribe(connection, topics)
        return True

    def _authenticate(self, connection: Connection, frame: Json) -> str | None:
        """The account of this frame's credentials, else of an earlier frame's. None: the
        credentials are wrong, or there were none.
        """
        auth = frame.get("auth")
        if not isinstance(auth, dict):
            return connection.owner
        credentials = self._keys.find(str(auth.get("apiKey")))
        if credentials is None or (auth.get("secret"), auth.get("passphrase")) != (
            credentials.secret,
            credentials.passphrase,
        ):
            return None
        connection.owner = credentials.account
        return credentials.account


class ActivitySocket(SocketProtocol):
    """RTDS: every fill of every wallet. One unknown topic refuses the whole subscription; the reply
    to a ``PING`` is an empty frame.
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
        requested = [self._types(subscription) for subscription in subscriptions]
        if not all(requested):
            connection.send_frame(orjson.dumps(_refusal(subscriptions)).decode())
            return True
        topics = {kind for kinds in requested for kind in kinds}
        if frame["action"] == "unsubscribe":
            self._hub.unsubscribe(connection, topics)
        else:
            self._hub.subscribe(connection, topics)
        return True

    def _types(self, subscription: Any) -> tuple[str, ...]:
        """The activity types of one subscription; empty: unknown."""
        if not isinstance(subscription, dict) or subscription.get("topic") != "activity":
            return ()
        kind = subscription.get("type", "*")
        return self.types if kind == "*" else (kind,) if kind in self.types else ()


def _refusal(subscriptions: list[Any]) -> Json:
    topics = [each.get("topic") for each in subscriptions if isinstance(each, dict)]
    if any(topic in _RETIRED for topic in topics):
        return {"body": {"message": _RETIRED_TEXT}, "statusCode": 400}
    return {"body": {"message": "Invalid request body"}, "statusCode": 401}
