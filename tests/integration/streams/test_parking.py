"""A message that cannot be handled: what follows it waits or passes, and it can be handled after
all.
"""

from collections.abc import Sequence

import pytest

from shared.domain.errors import InvalidMessage
from shared.messages.base import Message
from shared.observe.metrics import REGISTRY
from shared.streams.codec import encode
from shared.streams.dead_letter_store import DeadLetterState
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import LoopHarness, Said, on_topic, said

pytestmark = pytest.mark.integration


class Picky:
    """Cannot handle what it does not understand yet."""

    def __init__(self, bench: LoopHarness) -> None:
        self.bench = bench
        self.bad = {"bad"}

    async def on_heard(self, heard: Said) -> Sequence[Message]:
        if heard.what in self.bad:
            raise InvalidMessage(f"nobody understands {heard.what}")
        return [said(self.bench.answered, heard.who, heard.what)]

    def states(self) -> list[DeadLetterState]:
        return [each.state for each in self.bench.parking.kept]


@pytest.fixture
def picky(bench: LoopHarness) -> Picky:
    bench.parking.ordered_topics = frozenset({bench.heard.topic})
    return Picky(bench)


async def test_what_follows_a_parked_message_waits_and_other_keys_do_not(
    bench: LoopHarness, picky: Picky
) -> None:
    await bench.say("anna", "one", "bad", "two", "three")
    await bench.say("bob", "hello")
    bench.start({bench.heard: picky.on_heard})

    await bench.passed(5)

    assert sorted(await bench.answers(2)) == ["hello", "one"]
    assert picky.states() == [
        DeadLetterState.PARKED,
        DeadLetterState.WAITING,
        DeadLetterState.WAITING,
    ]
    assert [letter.reason for letter in await bench.dead_letters(1)] == ["nobody understands bad"]


async def test_a_redrive_that_succeeds_lets_what_waited_follow_in_order(
    bench: LoopHarness, picky: Picky
) -> None:
    await bench.say("anna", "bad", "two", "three")
    bench.start({bench.heard: picky.on_heard})
    await bench.passed(3)

    picky.bad.clear()
    bench.parking.redrive(1)
    await eventually(lambda: picky.states() == [DeadLetterState.REDRIVEN] * 3)
    await bench.say("anna", "four")

    assert await bench.answers(4) == ["bad", "two", "three", "four"]


async def test_a_redrive_that_fails_parks_it_again_and_the_others_keep_waiting(
    bench: LoopHarness, picky: Picky
) -> None:
    await bench.say("anna", "bad", "two")
    bench.start({bench.heard: picky.on_heard})
    await bench.passed(2)
    bench.parking.kept[0].reason = "seen before"

    bench.parking.redrive(1)
    await eventually(lambda: bench.parking.kept[0].reason == "nobody understands bad")

    assert picky.states() == [DeadLetterState.PARKED, DeadLetterState.WAITING]
    bench.parking.discard(1)
    assert await bench.answers(1) == ["two"]


async def test_another_instance_knows_what_waits_and_takes_over_the_redrive(
    bench: LoopHarness, picky: Picky
) -> None:
    await bench.say("anna", "bad")
    first = bench.start({bench.heard: picky.on_heard})
    await bench.passed(1)
    await first.stop()
    await bench.say("anna", "two")
    picky.bad.clear()

    bench.start({bench.heard: picky.on_heard})
    await eventually(lambda: picky.states() == [DeadLetterState.PARKED, DeadLetterState.WAITING])
    bench.parking.redrive(1)

    assert await bench.answers(2) == ["bad", "two"]


async def test_on_a_topic_of_facts_what_follows_passes(bench: LoopHarness) -> None:
    picky = Picky(bench)
    await bench.say("anna", "bad", "two")
    bench.start({bench.heard: picky.on_heard})

    assert await bench.answers(1) == ["two"]
    assert picky.states() == [DeadLetterState.PARKED]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (
            {"type": b"Heard", "version": b"2"},
            "this release knows no version 2 of Heard, only 1: it waits for one that does",
        ),
        (
            {"type": b"Whispered", "version": b"1"},
            "this release knows no messages of type 'Whispered': it waits for one that does",
        ),
    ],
)
async def test_a_message_of_a_newer_release_waits_with_what_follows_and_stops_nobody(
    bench: LoopHarness, picky: Picky, headers: dict[str, bytes], why: str
) -> None:
    await bench.say("anna", "one")
    await bench.send_raw(b"anna", encode(said(bench.heard, "anna", "two")).value, **headers)
    await bench.say("anna", "three")
    await bench.say("bob", "hello")
    bench.start({bench.heard: picky.on_heard})

    await bench.passed(4)

    assert sorted(await bench.answers(2)) == ["hello", "one"]
    assert picky.states() == [DeadLetterState.WAITING] * 2
    assert (
        [letter.reason for letter in await bench.dead_letters(1)]
        == [why]
        == [bench.parking.kept[0].reason]
    )
    await eventually(lambda: REGISTRY.get_sample_value("slipstream_blocked_keys") == 1)


async def test_more_messages_of_a_newer_release_than_may_be_parked_in_a_minute_stop_nobody(
    bench: LoopHarness, picky: Picky
) -> None:
    bench.parking.ordered_topics = frozenset()
    for number in range(5):
        await bench.send_raw(
            b"anna",
            encode(said(bench.heard, "anna", number)).value,
            type=b"Whispered",
            version=b"1",
        )
    await bench.say("anna", "hello")
    bench.start({bench.heard: picky.on_heard}, dead_letters_per_minute=3)

    assert await bench.answers(1) == ["hello"]
    assert picky.states() == [DeadLetterState.WAITING] * 5


async def test_a_release_that_knows_it_takes_it_up_by_itself_and_in_order(
    bench: LoopHarness, picky: Picky
) -> None:
    whispered = on_topic("Whispered", bench.heard.topic)
    await bench.say("anna", "one")
    await bench.producer.publish(said(whispered, "anna", "two"))
    await bench.say("anna", "three")
    old = bench.start({bench.heard: picky.on_heard})
    await bench.passed(3)
    assert await bench.answers(1) == ["one"]

    bench.start(
        {bench.heard: picky.on_heard, whispered: picky.on_heard}
    )  # as in a rolling upgrade: the new one comes, the old one goes
    await old.stop()
    await bench.say("anna", "four")

    assert await bench.answers(4) == ["one", "two", "three", "four"]
    await eventually(lambda: picky.states()[:2] == [DeadLetterState.REDRIVEN] * 2)


async def test_what_a_release_does_not_know_stays_where_it_is_when_an_operator_wants_it_redriven_until_it_is_discarded(
    bench: LoopHarness, picky: Picky
) -> None:
    await bench.send_raw(b"anna", b"junk", type=b"Whispered", version=b"1")
    await bench.say("anna", "two")
    running = bench.start({bench.heard: picky.on_heard})
    await bench.passed(2)

    bench.parking.redrive(1)
    await running.stop()
    bench.start({bench.heard: picky.on_heard})
    await bench.say("bob", "hello")
    assert await bench.answers(1) == ["hello"]
    assert picky.states() == [DeadLetterState.REDRIVING, DeadLetterState.WAITING]

    bench.parking.discard(1)
    assert sorted(await bench.answers(2)) == ["hello", "two"]


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe"])
async def test_a_message_without_a_readable_key_is_parked_and_holds_up_nobody_else(
    bench: LoopHarness, picky: Picky, key: bytes | None
) -> None:
    for kind in (b"Heard", b"Whispered"):
        await bench.send_raw(
            key, encode(said(bench.heard, "anna", "secretly")).value, type=kind, version=b"1"
        )
    await bench.say("anna", "hello")
    bench.start({bench.heard: picky.on_heard})

    await bench.passed(3)

    assert await bench.answers(1) == ["hello"]
    assert {each.letter.key for each in bench.parking.kept} == {key or b""}
    assert sorted(picky.states()) == [DeadLetterState.PARKED, DeadLetterState.WAITING]
