"""Sends published events to the connected clients, each channel after a delay of its own."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from services.paper_venue.exchange.orders import Market
from services.paper_venue.faults.activity_rows import ActivityRowFaults, Row
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.http.payloads import Json
from services.paper_venue.sockets.hub import Connection, Hub
from services.paper_venue.sockets.protocols import ActivitySocket

_CUSTOM_FEATURES = frozenset(("best_bid_ask", "market_resolved"))
"""Events for clients that enabled custom features."""
INVALID_OPERATION = "INVALID OPERATION"
_MAX_HOLD_S = 1.0
"""A row that is held to be swapped with the next one is sent alone after so long, so that it is not
lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDelays:
    """Seconds from publication until a channel sends."""

    market: float = 0
    user: float = 0
    activity: float = 0


class DelayQueue:
    """Runs actions a fixed number of seconds later, in the order in which they were added."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    def run_later(self, act: Callable[[], None]) -> None:
        if not self._seconds:
            act()
            return
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + self._seconds, act))
        if len(self._waiting) == 1:
            loop.call_later(self._seconds, self._run_due)

    def _run_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, act = self._waiting.popleft()
            act()
        if self._waiting:
            loop.call_at(self._waiting[0][0], self._run_due)


class SocketChannels:
    """Publishes to the connected clients of all three sockets."""

    def __init__(
        self,
        *,
        market: Hub,
        user: Hub,
        activity: Hub,
        now_ms: Callable[[], int],
        delays: ChannelDelays,
        faults: Faults,
    ) -> None:
        self._market, self._user, self._activity = market, user, activity
        self._now_ms = now_ms
        self._faults = faults
        self._rows = ActivityRowFaults(faults)
        self._market_queue, self._user_queue = DelayQueue(delays.market), DelayQueue(delays.user)
        self._activity_queue = DelayQueue(delays.activity)

    def has_subscribers(self, token_ids: Iterable[str]) -> bool:
        return bool(self._market.subscribers(token_ids))

    def publish_market(self, market: Market, events: Sequence[Mapping[str, Any]]) -> None:
        """Send each event to the clients subscribed to one of its tokens; books as an array."""
        frames = [
            (event, orjson.dumps([event] if event["event_type"] == "book" else event).decode())
            for event in events
        ]
        self._market_queue.run_later(partial(self._send_market, market, frames))

    def publish_user(self, owner: str, condition_id: str, event: Mapping[str, Any]) -> None:
        topics = (f"{owner}:{condition_id}", f"{owner}:*")
        if self._user.subscribers(topics):
            self._user_queue.run_later(
                partial(_send, self._user, topics, orjson.dumps(event).decode())
            )

    def publish_activity(self, rows: Sequence[Row]) -> None:
        self._activity_queue.run_later(partial(self._send_rows, rows))

    def send_keep_alive(self) -> None:
        """Send the empty frame that RTDS sends at intervals."""
        _send(self._activity, ActivitySocket.types, "")

    def _send_market(self, market: Market, frames: Sequence[tuple[Mapping[str, Any], str]]) -> None:
        for event, frame in frames:
            if event["event_type"] == "price_change" and self._faults.trigger(
                Fault.CHANGES_MISSING
            ):
                continue
            recipients = self._recipients(market, event)
            is_text_due = recipients and self._faults.trigger(Fault.CHANNEL_TEXT)
            for connection in recipients:
                if is_text_due:
                    connection.send_event(INVALID_OPERATION)
                connection.send_event(frame)

    def _recipients(self, market: Market, event: Mapping[str, Any]) -> Sequence[Connection]:
        kind = event["event_type"]
        tokens = [event["asset_id"]] if "asset_id" in event else list(market.token_ids)
        return [
            connection
            for connection in self._market.subscribers(tokens)
            if kind not in _CUSTOM_FEATURES or connection.wants_custom_features
        ]

    def _send_rows(self, rows: Sequence[Row]) -> None:
        loop = asyncio.get_running_loop()
        for row, late_s in self._rows.apply(rows):
            if late_s:
                loop.call_later(float(late_s), self._send_row, row)
            else:
                self._send_row(row)
        if self._rows.has_held_row:
            loop.call_later(_MAX_HOLD_S, self._send_held)

    def _send_held(self) -> None:
        for row in self._rows.release_held():
            self._send_row(row)

    def _send_row(self, row: Row) -> None:
        for kind in ActivitySocket.types:
            for connection in self._activity.subscribers((kind,)):
                frame: Json = {
                    "connection_id": connection.id,
                    "payload": row,
                    "timestamp": self._now_ms(),
                    "topic": "activity",
                    "type": kind,
                }
                connection.send_event(orjson.dumps(frame).decode())


def _send(hub: Hub, topics: Iterable[str], frame: str) -> None:
    for connection in hub.subscribers(topics):
        connection.send_event(frame)
