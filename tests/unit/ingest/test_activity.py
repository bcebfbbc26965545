"""Of the activity socket the leaders' fills are taken; what cannot be read is parked, and hides
nothing beside it.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

from services.ingest.adapters import ActivityFeed
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe.metrics import Feed
from shared.polymarket.sockets import Channel, ChannelSettings
from tests.builders import LEADER, NOON, OTHER_PROXY, TOKEN, TRANSACTION
from tests.fakes import Clock


class FakeChannel(Channel):
    """Brings these frames and ends."""

    def __init__(self, frames: tuple[str | None, ...]) -> None:
        super().__init__(
            ChannelSettings(
                name=Feed.RTDS, url="", ping_every_s=1, silent_after_s=1, pongs_count=False
            ),
            list,
        )
        self._frames = frames

    async def frames(self) -> AsyncIterator[str | None]:
        for frame in self._frames:
            yield frame


def an_envelope(**overrides: Any) -> dict[str, Any]:
    row = {
        "asset": TOKEN, "price": 0.5, "proxyWallet": LEADER, "side": "BUY", "size": 10, "timestamp": 1790272257,
        "transactionHash": TRANSACTION,
    }  # fmt: skip
    return {"topic": "activity", "type": "trades", "payload": row | overrides}


async def told(*frames: Any) -> list[Message]:
    said: list[Message] = []

    async def publish(message: Message) -> None:
        said.append(message)

    channel = FakeChannel(
        tuple(
            frame if frame is None or isinstance(frame, str) else json.dumps(frame)
            for frame in frames
        )
    )
    await ActivityFeed(channel, leaders=lambda: {LEADER}, now=Clock(NOON))(publish)
    return said


async def test_only_leaders_fills_are_taken() -> None:
    (fill,) = await told(None, "", an_envelope(proxyWallet=OTHER_PROXY), an_envelope())

    assert isinstance(fill, LeaderFillSeen)
    assert fill.leader == LEADER


async def test_a_row_that_cannot_be_read_hides_no_other_of_its_frame() -> None:
    said = await told([an_envelope(price="cheap"), 7, an_envelope(size=2), an_envelope(size=3)])

    assert [type(message) for message in said] == [
        FrameParked,
        FrameParked,
        LeaderFillSeen,
        LeaderFillSeen,
    ]


async def test_a_frame_that_cannot_be_read_is_parked_whole_with_the_reason() -> None:
    (parked,) = await told("{")

    assert isinstance(parked, FrameParked)
    assert (parked.feed, parked.frame) == ("rtds", "{")
    assert "JSON" in parked.reason


async def test_a_refused_subscription_ends_nothing() -> None:
    said = await told({"statusCode": 400, "body": "no"}, an_envelope())

    assert [type(message) for message in said] == [LeaderFillSeen]
