"""Frames as the live feed sends them go through the whole pipeline; what cannot be read is kept
with the reason.
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
from tests.system.activity_socket import ActivitySocket
from tests.system.deployment import FOLLOWERS_EACH, Deployment, deployed
from tests.system.story import PATIENCE, Story, story_in
from tools.stack.background import BackgroundLoop

RECORDED = (
    Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rtds_activity_trades.json"
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not RECORDED.is_file(),
        reason="the recorded frames do not lie beside the project (../shared/data)",
    ),
]

Frame = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    deployment: Deployment
    socket: ActivitySocket


@pytest.fixture(scope="module")
def stage(background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The activity socket is the test's; the wallets of the recorded frames are followed."""
    with background.entered(staged(tmp_path_factory.mktemp("frames"), background)) as stage:
        yield stage


@pytest.fixture(scope="module")
def deployment(stage: Stage) -> Deployment:
    return stage.deployment


@pytest.fixture
async def onlooker(deployment: Deployment) -> AsyncIterator[Story]:
    """A story in which nobody trades."""
    async with story_in(deployment, deployment.follow_groups[-1]) as story:
        yield story


@asynccontextmanager
async def staged(folder: Path, background: BackgroundLoop) -> AsyncIterator[Stage]:
    leaders = [to_checksum_address(frame["payload"]["proxyWallet"]) for frame in recorded()]
    async with (
        ActivitySocket() as socket,
        deployed(
            folder,
            background,
            circles=2,
            environment={"RTDS_WS_URL": socket.url},
            further_leaders=leaders,
        ) as deployment,
    ):
        yield Stage(deployment=deployment, socket=socket)


async def test_recorded_frames_become_intents_and_unknown_tokens_are_refused(
    stage: Stage, onlooker: Story
) -> None:
    frames = [json.dumps(as_of_now(frame)) for frame in recorded()]

    await say(stage, *frames)

    rows = [
        row
        for frame in frames
        for envelope in rtds.parse_envelopes(frame)
        for row in rtds.parse_rows(envelope)
    ]
    fills = [rtds.parse_fill(row, seen_at=utc_now()) for row in rows]
    verdicts = await verdicts_on(onlooker, fills)
    told = {
        LeaderFillSeen.model_validate_json(record.value).message_id
        for record in await onlooker.records("leader-fills")
    }
    assert stage.socket.subscriptions == [rtds.SUBSCRIBE]
    assert {fill.message_id for fill in fills} <= told
    assert {(row.state, row.reason) for row in verdicts} == {("refused", "no_market")}
    assert not {letter.frame for letter in await parked(onlooker)} & set(frames)
    refused = [row.intent_id for row in verdicts]
    assert (
        await onlooker.rows(
            "select * from executor.orders where intent_id = any(:ids)", ids=refused
        )
        == []
    )


@pytest.mark.parametrize(
    "field", ["proxyWallet", "transactionHash", "asset", "side", "size", "price", "timestamp"]
)
async def test_a_frame_without_a_field_is_parked_and_the_reason_names_the_field(
    stage: Stage, onlooker: Story, field: str
) -> None:
    frame = as_of_now(recorded()[0])
    frame["payload"].pop(field)

    await assert_parked(stage, onlooker, json.dumps(frame), because=field)


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
    stage: Stage, onlooker: Story, field: str, wrong: str | int
) -> None:
    frame = as_of_now(recorded()[0])
    frame["payload"][field] = wrong

    await assert_parked(stage, onlooker, json.dumps(frame), because=field)


async def test_a_torn_frame_is_parked_and_the_next_one_is_copied_from_the_same_socket(
    stage: Stage, story: Story
) -> None:
    torn = json.dumps(as_of_now(recorded()[1]))[:-40]
    await assert_parked(stage, story, torn, because="not JSON")

    trade = await story.trades(Side.BUY, "50")
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
    await say(stage, json.dumps([{"topic": "activity", "type": "orders_matched", "payload": row}]))
    await story.confirmed(trade)

    assert {fill.source for fill in await story.both_sources(trade)} == {"rtds", "chain"}
    assert stage.socket.connections == 1
    await story.assert_books_equal_the_chain(trade.token)


async def assert_parked(stage: Stage, story: Story, frame: str, *, because: str) -> None:
    """The frame is on dead-letters as it came, with the reason, and was no leader's fill; the
    socket was not given up.
    """
    fills_before = len(await story.records("leader-fills"))

    await say(stage, frame)

    async def letters() -> Sequence[FrameParked]:
        return [letter for letter in await parked(story) if letter.frame == frame]

    (letter,) = await eventually(letters, within=PATIENCE, what="the frame on dead-letters")
    assert because in letter.reason
    assert letter.feed == "rtds"
    assert len(await story.records("leader-fills")) == fills_before
    assert stage.socket.connections == 1


async def say(stage: Stage, *frames: str) -> None:
    await stage.deployment.background.run_async(stage.socket.say(*frames))


async def parked(story: Story) -> list[FrameParked]:
    records = await story.records("dead-letters")
    return [
        FrameParked.model_validate_json(record.value)
        for record in records
        if dict(record.headers)["type"] == b"FrameParked"
    ]


async def verdicts_on(story: Story, fills: Sequence[LeaderFillSeen]) -> Sequence[Any]:
    """Waits for a verdict on each fill for each follower."""

    async def all_of_them() -> Sequence[Any]:
        found = await story.rows(
            "select i.* from preflight.intents i where i.verdict::jsonb -> 'intent' ->> 'transaction_hash' = any(:hashes)",
            hashes=[fill.transaction_hash for fill in fills],
        )
        return found if len(found) == len(fills) * FOLLOWERS_EACH else []

    verdicts: Sequence[Any] = await eventually(
        all_of_them, within=PATIENCE, what="a verdict on each row for each follower"
    )
    return verdicts


def recorded() -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = json.loads(RECORDED.read_bytes())
    return frames


def as_of_now(frame: Frame) -> dict[str, Any]:
    return {**frame, "payload": {**frame["payload"], "timestamp": int(utc_now().timestamp())}}
