"""What the activity socket says is told on once."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.ingest.adapters import ActivityFeed
from shared.messages.base import Message
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe.metrics import Feed
from shared.polymarket.sockets import Channel, ChannelSettings
from tests.builders import LEADER, NOON, TOKEN, TRANSACTION

TERMS = ChannelSettings(
    name=Feed.RTDS, url="ws://nowhere", ping_every_s=5, silent_after_s=30, pongs_count=False
)


class Script(Channel):
    """A socket that says these frames, and then is over."""

    def __init__(self, *frames: str) -> None:
        super().__init__(TERMS, list)
        self._frames = frames

    async def frames(self) -> AsyncIterator[str | None]:
        for frame in (None, *self._frames):
            yield frame


def frame(kind: str, **changes: Any) -> str:
    row = {
        "proxyWallet": LEADER,
        "transactionHash": TRANSACTION,
        "asset": TOKEN,
        "side": "BUY",
        "size": 10,
        "price": 0.5,
        "timestamp": int(NOON.timestamp()),
    }
    return json.dumps({"topic": "activity", "type": kind, "payload": row | changes})


async def heard(script: Script) -> list[Message]:
    told: list[Message] = []

    async def publish(message: Message) -> None:
        told.append(message)

    await ActivityFeed(script, leaders=lambda: {LEADER}, now=lambda: NOON)(publish)
    return told


async def test_a_row_that_both_subscriptions_tell_is_told_on_once() -> None:
    told = await heard(Script(frame("trades"), frame("orders_matched")))

    assert [type(message) for message in told] == [LeaderFillSeen]


async def test_two_different_fills_of_one_transaction_are_both_told_on() -> None:
    told = await heard(Script(frame("trades"), frame("trades", size=20)))

    assert [message.shares for message in told if isinstance(message, LeaderFillSeen)] == [
        10_000_000,
        20_000_000,
    ]


async def test_a_row_whose_telling_failed_is_told_on_when_it_comes_again() -> None:
    told: list[Message] = []

    async def fails_once(message: Message) -> None:
        told.append(message)
        if len(told) == 1:
            raise ConnectionError

    feed = ActivityFeed(Script(frame("trades")), leaders=lambda: {LEADER}, now=lambda: NOON)
    with pytest.raises(ConnectionError):
        await feed(fails_once)
    await feed(fails_once)

    assert len(told) == 2
