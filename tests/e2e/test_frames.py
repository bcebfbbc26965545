"""Frames as the live activity socket sends them go through the whole pipeline. Those that cannot be
parsed are parked with the reason.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from shared.clock import utc_now
from shared.domain.money import Side
from shared.messages.dead_letters import FrameParked
from shared.messages.leader_fills import LeaderFillSeen
from shared.polymarket import rtds
from shared.testing.waiting import eventually
from tests.system.activity_socket import FakeActivitySocket
from tests.system.deployment import FOLLOWERS_PER_LEADER, Deployment, running_deployment
from tests.system.story import TIMEOUT_S, Story, open_story
from tools.stack.background import BackgroundLoop

RECORDED = (
    Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rtds_activity_trades.json"
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not RECORDED.is_file(),
        reason="the recorded frames are not beside the repository (../shared/data)",
    ),
]

Frame = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTestSystem:
    """A running system whose activity socket sends the frames of the test."""

    deployment: Deployment
    socket: FakeActivitySocket


@pytest.fixture(scope="module")
def system(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FrameTestSystem]:
    """The wallets of the recorded frames are followed."""
    with background.entered(run_system(tmp_path_factory.mktemp("frames"), background)) as system:
        yield system


@pytest.fixture(scope="module")
def deployment(system: FrameTestSystem) -> Deployment:
    return system.deployment


@pytest.fixture
async def observer(deployment: Deployment) -> AsyncIterator[Story]:
    """A story in which no leader trades."""
    async with open_story(deployment, deployment.follow_groups[-1]) as story:
        yield story


@asynccontextmanager
async def run_system(folder: Path, background: BackgroundLoop) -> AsyncIterator[FrameTestSystem]:
    leaders = [to_checksum_address(frame["payload"]["proxyWallet"]) for frame in load_recorded()]
    async with (
        FakeActivitySocket() as socket,
        running_deployment(
            folder,
            background,
            follow_groups=2,
            environment={"RTDS_WS_URL": socket.url},
            further_leaders=leaders,
        ) as deployment,
    ):
        yield FrameTestSystem(deployment=deployment, socket=socket)


async def test_recorded_frames_become_intents_and_unknown_tokens_are_refused(
    system: FrameTestSystem, observer: Story
) -> None:
    frames = [json.dumps(with_time_now(frame)) for frame in load_recorded()]

    await send(system, *frames)

    rows = [
        row
        for frame in frames
        for envelope in rtds.parse_envelopes(frame)
        for row in rtds.parse_rows(envelope)
    ]
    fills = [rtds.parse_fill(row, seen_at=utc_now()) for row in rows]
    verdicts = await wait_for_all_verdicts(observer, fills)
    published = {
        LeaderFillSeen.model_validate_json(record.value).message_id
        for record in await observer.read_topic("leader-fills")
    }
    assert system.socket.subscriptions == [rtds.SUBSCRIBE]
    assert {fill.message_id for fill in fills} <= published
    assert {(row.state, row.reason) for row in verdicts} == {("refused", "no_market")}
    assert not {each.frame for each in await read_parked(observer)} & set(frames)
    refused = [row.intent_id for row in verdicts]
    assert (
        await observer.fetch_rows(
            "select * from executor.orders where intent_id = any(:ids)", ids=refused
        )
        == []
    )


@pytest.mark.parametrize(
    "field", ["proxyWallet", "transactionHash", "asset", "side", "size", "price", "timestamp"]
)
async def test_a_frame_without_a_field_is_parked_and_the_reason_names_the_field(
    system: FrameTestSystem, observer: Story, field: str
) -> None:
    frame = with_time_now(load_recorded()[0])
    frame["payload"].pop(field)

    await assert_parked(system, observer, json.dumps(frame), because=field)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("price", "cheap"),
        ("price", 1.5),
        ("size", "a lot"),
        ("size", -3),
        ("side", "HOLD"),
        ("timestamp", "today"),
        ("asset", 7),
    ],
)
async def test_a_frame_with_a_wrong_value_is_parked_and_the_reason_names_the_field(
    system: FrameTestSystem, observer: Story, field: str, wrong: str | int
) -> None:
    frame = with_time_now(load_recorded()[0])
    frame["payload"][field] = wrong

    await assert_parked(system, observer, json.dumps(frame), because=field)


async def test_a_truncated_frame_is_parked_and_the_next_frame_of_the_same_socket_is_copied(
    system: FrameTestSystem, story: Story
) -> None:
    truncated = json.dumps(with_time_now(load_recorded()[1]))[:-40]
    await assert_parked(system, story, truncated, because="not JSON")

    trade = await story.make_leader_trade(Side.BUY, "50")
    as_text = {
        "size": str(trade.shares / 1_000_000),
        "price": str(trade.price),
        "timestamp": str(int(utc_now().timestamp())),
    }
    row = {
        "proxyWallet": trade.leader,
        "transactionHash": trade.transaction_hash,
        "asset": trade.token,
        "side": "BUY",
        **as_text,
    }
    await send(
        system, json.dumps([{"topic": "activity", "type": "orders_matched", "payload": row}])
    )
    await story.wait_for_confirmed_orders(trade)

    assert {fill.source for fill in await story.wait_for_both_sources(trade)} == {"rtds", "chain"}
    assert system.socket.connections == 1
    await story.assert_records_equal_the_chain(trade.token)


async def assert_parked(system: FrameTestSystem, story: Story, frame: str, *, because: str) -> None:
    """The frame is on dead-letters as it was sent, with the reason. It led to no leader fill, and
    the socket was not reconnected.
    """
    fills_before = len(await story.read_topic("leader-fills"))

    await send(system, frame)

    async def parked_frames() -> Sequence[FrameParked]:
        return [each for each in await read_parked(story) if each.frame == frame]

    (dead_letter,) = await eventually(
        parked_frames, within=TIMEOUT_S, what="the frame on dead-letters"
    )
    assert because in dead_letter.reason
    assert dead_letter.feed == "rtds"
    assert len(await story.read_topic("leader-fills")) == fills_before
    assert system.socket.connections == 1


async def send(system: FrameTestSystem, *frames: str) -> None:
    await system.deployment.background.run_async(system.socket.send(*frames))


async def read_parked(story: Story) -> list[FrameParked]:
    records = await story.read_topic("dead-letters")
    return [
        FrameParked.model_validate_json(record.value)
        for record in records
        if dict(record.headers)["type"] == b"FrameParked"
    ]


async def wait_for_all_verdicts(story: Story, fills: Sequence[LeaderFillSeen]) -> Sequence[Any]:
    """Wait for a verdict on each fill for each follower."""

    async def all_verdicts() -> Sequence[Any]:
        verdicts = await story.fetch_rows(
            """
            select intents.* from preflight.intents join preflight.verdicts using (intent_id)
            where verdict::jsonb -> 'intent' ->> 'transaction_hash' = any(:hashes)
            """,
            hashes=[fill.transaction_hash for fill in fills],
        )
        return verdicts if len(verdicts) == len(fills) * FOLLOWERS_PER_LEADER else []

    verdicts: Sequence[Any] = await eventually(
        all_verdicts, within=TIMEOUT_S, what="a verdict on each row for each follower"
    )
    return verdicts


def load_recorded() -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = json.loads(RECORDED.read_bytes())
    return frames


def with_time_now(frame: Frame) -> dict[str, Any]:
    return {**frame, "payload": {**frame["payload"], "timestamp": int(utc_now().timestamp())}}
