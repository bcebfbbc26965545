"""A message that cannot be handled: what follows it waits or passes, and it can be handled after all."""

from collections.abc import Sequence

import pytest

from shared.domain.errors import InvalidMessage
from shared.messages.base import Message
from shared.streams.parking import LetterState
from shared.testing.waiting import eventually
from tests.integration.streams.bench import Bench, Said, said

pytestmark = pytest.mark.integration


class Picky:
    """Cannot handle what it does not understand yet."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.bad = {"bad"}

    async def on_heard(self, heard: Said) -> Sequence[Message]:
        if heard.what in self.bad:
            raise InvalidMessage(f"nobody understands {heard.what}")
        return [said(self.bench.answered, heard.who, heard.what)]

    def states(self) -> list[LetterState]:
        return [each.state for each in self.bench.parking.kept]


@pytest.fixture
def picky(bench: Bench) -> Picky:
    bench.parking.ordered_topics = frozenset({bench.heard.topic})
    return Picky(bench)


async def test_what_follows_a_parked_message_waits_and_other_keys_do_not(bench: Bench, picky: Picky) -> None:
    await bench.say("anna", "one", "bad", "two", "three")
    await bench.say("bob", "hello")
    bench.start({bench.heard: picky.on_heard})

    await bench.passed(5)

    assert sorted(await bench.answers(2)) == ["hello", "one"]
    assert picky.states() == [LetterState.PARKED, LetterState.WAITING, LetterState.WAITING]
    assert [letter.reason for letter in await bench.dead_letters(1)] == ["nobody understands bad"]


async def test_a_redrive_that_succeeds_lets_what_waited_follow_in_order(bench: Bench, picky: Picky) -> None:
    await bench.say("anna", "bad", "two", "three")
    bench.start({bench.heard: picky.on_heard})
    await bench.passed(3)

    picky.bad.clear()
    bench.parking.redrive(1)
    await eventually(lambda: picky.states() == [LetterState.REDRIVEN] * 3)
    await bench.say("anna", "four")

    assert await bench.answers(4) == ["bad", "two", "three", "four"]


async def test_a_redrive_that_fails_parks_it_again_and_the_others_keep_waiting(bench: Bench, picky: Picky) -> None:
    await bench.say("anna", "bad", "two")
    bench.start({bench.heard: picky.on_heard})
    await bench.passed(2)
    bench.parking.kept[0].reason = "seen before"

    bench.parking.redrive(1)
    await eventually(lambda: bench.parking.kept[0].reason == "nobody understands bad")

    assert picky.states() == [LetterState.PARKED, LetterState.WAITING]
    bench.parking.discard(1)
    assert await bench.answers(1) == ["two"]


async def test_another_instance_knows_what_waits_and_takes_over_the_redrive(bench: Bench, picky: Picky) -> None:
    await bench.say("anna", "bad")
    first = bench.start({bench.heard: picky.on_heard})
    await bench.passed(1)
    await first.stop()
    await bench.say("anna", "two")
    picky.bad.clear()

    bench.start({bench.heard: picky.on_heard})
    await eventually(lambda: picky.states() == [LetterState.PARKED, LetterState.WAITING])
    bench.parking.redrive(1)

    assert await bench.answers(2) == ["bad", "two"]


async def test_on_a_topic_of_facts_what_follows_passes(bench: Bench) -> None:
    picky = Picky(bench)
    await bench.say("anna", "bad", "two")
    bench.start({bench.heard: picky.on_heard})

    assert await bench.answers(1) == ["two"]
    assert picky.states() == [LetterState.PARKED]
