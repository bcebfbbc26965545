"""Dead letters in a running loop: what waits behind them, and how they are handled again."""

from collections.abc import Sequence

import pytest

from shared.domain.errors import InvalidMessage
from shared.messages.base import Message
from shared.observe.metrics import REGISTRY
from shared.streams.codec import encode
from shared.streams.dead_letter_store import DeadLetterState
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import (
    ExampleMessage,
    LoopHarness,
    build_message,
    build_message_type,
)

pytestmark = pytest.mark.integration


class PickyService:
    """A service that cannot handle the texts in ``bad``."""

    def __init__(self, harness: LoopHarness) -> None:
        self.harness = harness
        self.bad = {"bad"}

    async def on_request(self, message: ExampleMessage) -> Sequence[Message]:
        if message.text in self.bad:
            raise InvalidMessage(f"cannot handle {message.text}")
        return [build_message(self.harness.reply, message.sender, message.text)]

    def states(self) -> list[DeadLetterState]:
        return [each.state for each in self.harness.dead_letters.entries]


@pytest.fixture
def picky(harness: LoopHarness) -> PickyService:
    harness.dead_letters.ordered_topics = frozenset({harness.request.topic})
    return PickyService(harness)


async def test_later_messages_of_a_parked_ones_key_wait_and_other_keys_do_not(
    harness: LoopHarness, picky: PickyService
) -> None:
    await harness.send("anna", "one", "bad", "two", "three")
    await harness.send("bob", "hello")
    harness.start({harness.request: picky.on_request})

    await harness.wait_for_commits(5)

    assert sorted(await harness.fetch_replies(2)) == ["hello", "one"]
    assert picky.states() == [
        DeadLetterState.PARKED,
        DeadLetterState.WAITING,
        DeadLetterState.WAITING,
    ]
    assert [each.reason for each in await harness.fetch_dead_letters(1)] == ["cannot handle bad"]


async def test_after_a_successful_redrive_the_waiting_messages_follow_in_order(
    harness: LoopHarness, picky: PickyService
) -> None:
    await harness.send("anna", "bad", "two", "three")
    harness.start({harness.request: picky.on_request})
    await harness.wait_for_commits(3)

    picky.bad.clear()
    harness.dead_letters.redrive(1)
    await eventually(lambda: picky.states() == [DeadLetterState.REDRIVEN] * 3)
    await harness.send("anna", "four")

    assert await harness.fetch_replies(4) == ["bad", "two", "three", "four"]


async def test_a_redrive_that_fails_parks_the_message_again_and_the_others_keep_waiting(
    harness: LoopHarness, picky: PickyService
) -> None:
    await harness.send("anna", "bad", "two")
    harness.start({harness.request: picky.on_request})
    await harness.wait_for_commits(2)
    harness.dead_letters.entries[0].reason = "seen before"

    harness.dead_letters.redrive(1)
    await eventually(lambda: harness.dead_letters.entries[0].reason == "cannot handle bad")

    assert picky.states() == [DeadLetterState.PARKED, DeadLetterState.WAITING]
    harness.dead_letters.discard(1)
    assert await harness.fetch_replies(1) == ["two"]


async def test_another_instance_knows_the_blocked_keys_and_redrives(
    harness: LoopHarness, picky: PickyService
) -> None:
    await harness.send("anna", "bad")
    first = harness.start({harness.request: picky.on_request})
    await harness.wait_for_commits(1)
    await first.stop()
    await harness.send("anna", "two")
    picky.bad.clear()

    harness.start({harness.request: picky.on_request})
    await eventually(lambda: picky.states() == [DeadLetterState.PARKED, DeadLetterState.WAITING])
    harness.dead_letters.redrive(1)

    assert await harness.fetch_replies(2) == ["bad", "two"]


async def test_on_a_topic_that_does_not_block_keys_later_messages_are_handled(
    harness: LoopHarness,
) -> None:
    picky = PickyService(harness)
    await harness.send("anna", "bad", "two")
    harness.start({harness.request: picky.on_request})

    assert await harness.fetch_replies(1) == ["two"]
    assert picky.states() == [DeadLetterState.PARKED]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (
            {"type": b"Request", "version": b"2"},
            "this release knows no version 2 of Request, only 1: it waits for a release that does",
        ),
        (
            {"type": b"NewRequest", "version": b"1"},
            "this release knows no messages of type 'NewRequest': it waits for a release that does",
        ),
    ],
)
async def test_a_message_of_a_newer_release_waits_with_those_of_its_key_and_blocks_no_other_key(
    harness: LoopHarness, picky: PickyService, headers: dict[str, bytes], why: str
) -> None:
    await harness.send("anna", "one")
    await harness.send_raw(
        b"anna", encode(build_message(harness.request, "anna", "two")).value, **headers
    )
    await harness.send("anna", "three")
    await harness.send("bob", "hello")
    harness.start({harness.request: picky.on_request})

    await harness.wait_for_commits(4)

    assert sorted(await harness.fetch_replies(2)) == ["hello", "one"]
    assert picky.states() == [DeadLetterState.WAITING] * 2
    assert (
        [each.reason for each in await harness.fetch_dead_letters(1)]
        == [why]
        == [harness.dead_letters.entries[0].reason]
    )
    await eventually(lambda: REGISTRY.get_sample_value("slipstream_blocked_keys") == 1)


async def test_messages_of_a_newer_release_do_not_count_against_the_limit_of_dead_letters(
    harness: LoopHarness, picky: PickyService
) -> None:
    harness.dead_letters.ordered_topics = frozenset()
    for number in range(5):
        await harness.send_raw(
            b"anna",
            encode(build_message(harness.request, "anna", number)).value,
            type=b"NewRequest",
            version=b"1",
        )
    await harness.send("anna", "hello")
    harness.start({harness.request: picky.on_request}, dead_letters_per_minute=3)

    assert await harness.fetch_replies(1) == ["hello"]
    assert picky.states() == [DeadLetterState.WAITING] * 5


async def test_a_release_that_knows_the_message_handles_it_in_order_without_an_operator(
    harness: LoopHarness, picky: PickyService
) -> None:
    new_request = build_message_type("NewRequest", harness.request.topic)
    await harness.send("anna", "one")
    await harness.producer.publish(build_message(new_request, "anna", "two"))
    await harness.send("anna", "three")
    old = harness.start({harness.request: picky.on_request})
    await harness.wait_for_commits(3)
    assert await harness.fetch_replies(1) == ["one"]

    # as in a rolling upgrade: the new instance starts, then the old one stops
    harness.start({harness.request: picky.on_request, new_request: picky.on_request})
    await old.stop()
    await harness.send("anna", "four")

    assert await harness.fetch_replies(4) == ["one", "two", "three", "four"]
    await eventually(lambda: picky.states()[:2] == [DeadLetterState.REDRIVEN] * 2)


async def test_a_redriven_message_that_the_release_does_not_know_waits_until_it_is_discarded(
    harness: LoopHarness, picky: PickyService
) -> None:
    await harness.send_raw(b"anna", b"junk", type=b"NewRequest", version=b"1")
    await harness.send("anna", "two")
    running = harness.start({harness.request: picky.on_request})
    await harness.wait_for_commits(2)

    harness.dead_letters.redrive(1)
    await running.stop()
    harness.start({harness.request: picky.on_request})
    await harness.send("bob", "hello")
    assert await harness.fetch_replies(1) == ["hello"]
    assert picky.states() == [DeadLetterState.REDRIVING, DeadLetterState.WAITING]

    harness.dead_letters.discard(1)
    assert sorted(await harness.fetch_replies(2)) == ["hello", "two"]


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe"])
async def test_a_message_without_a_readable_key_is_parked_and_blocks_no_other_key(
    harness: LoopHarness, picky: PickyService, key: bytes | None
) -> None:
    for kind in (b"Request", b"NewRequest"):
        await harness.send_raw(
            key,
            encode(build_message(harness.request, "anna", "hello")).value,
            type=kind,
            version=b"1",
        )
    await harness.send("anna", "hello")
    harness.start({harness.request: picky.on_request})

    await harness.wait_for_commits(3)

    assert await harness.fetch_replies(1) == ["hello"]
    assert {each.dead_letter.key for each in harness.dead_letters.entries} == {key or b""}
    assert sorted(picky.states()) == [DeadLetterState.PARKED, DeadLetterState.WAITING]
