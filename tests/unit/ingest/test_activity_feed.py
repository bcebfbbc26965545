"""The activity feed publishes each fill of a leader once, and parks frames that it cannot parse."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.ingest.adapters import ActivityFeed
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe.metrics import REGISTRY, Feed, FrameKind
from shared.polymarket.sockets import Channel, ChannelSettings
from tests.builders import LEADER, NOON, OTHER_PROXY, TOKEN, TRANSACTION, shares

SETTINGS = ChannelSettings(
    name=Feed.RTDS, url="ws://nowhere", ping_interval_s=5, silence_timeout_s=30, pong_is_alive=False
)


class FakeChannel(Channel):
    """A socket that delivers these frames and then ends. None is an open socket without a frame."""

    def __init__(self, *frames: str | None) -> None:
        super().__init__(SETTINGS, list)
        self._frames = frames
        self.alive: list[str | None] = []
        """The frames that were marked as a sign of life."""

    async def frames(self) -> AsyncIterator[str | None]:
        for frame in (None, *self._frames):
            self._is_marked = False
            yield frame
            if self._is_marked:
                self.alive.append(frame)


def an_envelope(kind: str = "trades", **overrides: Any) -> dict[str, Any]:
    row = {
        "proxyWallet": LEADER,
        "transactionHash": TRANSACTION,
        "asset": TOKEN,
        "side": "BUY",
        "size": 10,
        "price": 0.5,
        "timestamp": int(NOON.timestamp()),
    }
    return {"topic": "activity", "type": kind, "payload": row | overrides}


def a_channel(*frames: Any) -> FakeChannel:
    """``frames``: text, None, or a value that is sent as JSON."""
    return FakeChannel(
        *(
            frame if frame is None or isinstance(frame, str) else json.dumps(frame)
            for frame in frames
        )
    )


def a_feed(*frames: Any) -> ActivityFeed:
    return ActivityFeed(a_channel(*frames), leaders=lambda: {LEADER}, now=lambda: NOON)


async def published_from(*frames: Any) -> list[Message]:
    published: list[Message] = []

    async def publish(message: Message) -> None:
        published.append(message)

    await a_feed(*frames)(publish)
    return published


async def test_only_fills_of_leaders_are_published() -> None:
    (fill,) = await published_from(None, "", an_envelope(proxyWallet=OTHER_PROXY), an_envelope())

    assert isinstance(fill, LeaderFillSeen)
    assert fill.leader == LEADER


async def test_a_row_is_published_once_for_each_subscription_that_delivers_it() -> None:
    published = await published_from(
        *(an_envelope(kind) for kind in ("trades", "orders_matched") for _ in range(2))
    )

    fills = [message for message in published if isinstance(message, LeaderFillSeen)]
    assert [fill.row_type for fill in fills] == ["trades", "orders_matched"]
    assert len({fill.row_id for fill in fills}) == 1


async def test_two_different_fills_of_one_transaction_are_both_published() -> None:
    published = await published_from(an_envelope(), an_envelope(size=20))

    assert [message.shares for message in published if isinstance(message, LeaderFillSeen)] == [
        shares(10),
        shares(20),
    ]


async def test_a_row_that_could_not_be_published_is_published_when_it_comes_again() -> None:
    published: list[Message] = []

    async def fails_once(message: Message) -> None:
        published.append(message)
        if len(published) == 1:
            raise ConnectionError

    feed = a_feed(an_envelope())
    with pytest.raises(ConnectionError):
        await feed(fails_once)
    await feed(fails_once)

    assert len(published) == 2


async def test_a_row_that_cannot_be_parsed_does_not_stop_the_others_of_its_frame() -> None:
    published = await published_from(
        [an_envelope(price="cheap"), 7, an_envelope(size=2), an_envelope(size=3)]
    )

    assert [type(message) for message in published] == [
        FrameParked,
        FrameParked,
        LeaderFillSeen,
        LeaderFillSeen,
    ]


async def test_a_frame_that_cannot_be_parsed_is_parked_whole_with_the_reason() -> None:
    (parked,) = await published_from("{")

    assert isinstance(parked, FrameParked)
    assert (parked.feed, parked.frame) == ("rtds", "{")
    assert "JSON" in parked.reason


async def test_after_a_refused_subscription_the_feed_goes_on() -> None:
    published = await published_from({"statusCode": 400, "body": "no"}, an_envelope())

    assert [type(message) for message in published] == [LeaderFillSeen]


REFUSED = {"body": {"message": "Invalid request body"}, "statusCode": 400}
UNKNOWN = {"payload": an_envelope()["payload"]}


@pytest.mark.parametrize(
    ("frame", "kind"), [(REFUSED, FrameKind.REFUSED), (UNKNOWN, FrameKind.UNKNOWN)], ids=str
)
async def test_what_the_feed_should_not_send_is_counted_and_logged_once_per_socket(
    frame: Any, kind: FrameKind, caplog: pytest.LogCaptureFixture
) -> None:
    before = frames_counted(kind)

    await published_from(frame, frame, None, frame)

    assert frames_counted(kind) == before + 3
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2


def frames_counted(kind: FrameKind) -> float:
    labels = {"feed": Feed.RTDS.value, "kind": kind.value}
    return REGISTRY.get_sample_value("slipstream_feed_frames_total", labels) or 0


@pytest.mark.parametrize(
    ("frame", "is_alive"),
    [
        (an_envelope(), True),
        (an_envelope(proxyWallet=OTHER_PROXY), True),
        ([UNKNOWN, an_envelope(proxyWallet=OTHER_PROXY)], True),
        (an_envelope(proxyWallet=None), False),
        (an_envelope(price="cheap"), False),
        (an_envelope() | {"topic": "comments"}, False),
        (REFUSED, False),
        (UNKNOWN, False),
        ("{", False),
        ([], False),
    ],
    ids=str,
)
async def test_only_a_frame_with_a_readable_row_is_a_sign_of_life(
    frame: Any, *, is_alive: bool
) -> None:
    channel, published = a_channel(frame), list[Message]()

    async def publish(message: Message) -> None:
        published.append(message)

    await ActivityFeed(channel, leaders=lambda: {LEADER}, now=lambda: NOON)(publish)

    assert bool(channel.alive) is is_alive
