"""Parked messages: in memory as in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiokafka import TopicPartition

from shared.db.dead_letters import PostgresDeadLetters, decide, load_dead_letter, load_dead_letters
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.streams.dead_letter_store import DeadLetterState, DeadLetterStore
from shared.testing.dead_letters import MemoryDeadLetters

pytestmark = pytest.mark.integration

ORDERED, LOOSE = "money", "facts"
ALL = [TopicPartition(ORDERED, 0), TopicPartition(LOOSE, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    topic: str
    offset: int
    key: bytes | None = b"anna"
    value: bytes | None = b"\x00{"
    partition: int = 0
    timestamp: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes], ...] = (("type", b"Said"), ("blob", b"\xff\x00"))


@dataclass(frozen=True, slots=True)
class Kept:
    parking: DeadLetterStore
    decide: Callable[[int, DeadLetterState], Awaitable[None]]

    async def due(self, *unknown: int) -> list[int]:
        return [
            letter.number for letter in await self.parking.load_due("service", ALL, unknown=unknown)
        ]


@pytest.fixture(params=["memory", "postgres"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    if request.param == "memory":
        memory = MemoryDeadLetters(frozenset({ORDERED}))

        async def in_memory(number: int, state: DeadLetterState) -> None:
            (memory.redrive if state is DeadLetterState.REDRIVING else memory.discard)(number)

        yield Kept(memory, in_memory)
        return
    url = request.getfixturevalue("migrated_database_url")
    engine = open_engine(DatabaseSettings.model_validate({"url": url}))

    async def in_postgres(number: int, state: DeadLetterState) -> None:
        await decide(engine, number, state, by="test", why="")

    yield Kept(PostgresDeadLetters(engine, ordered_topics=frozenset({ORDERED})), in_postgres)
    await engine.dispose()


async def park(
    kept: Kept, offset: int, *, topic: str = ORDERED, waits: bool = False, key: bytes = b"anna"
) -> None:
    await kept.parking.park(
        Parked(topic=topic, offset=offset, key=key), service="service", reason="why", waiting=waits
    )


async def test_a_message_is_kept_byte_for_byte_and_once(kept: Kept) -> None:
    await park(kept, 7)
    await park(kept, 7)
    assert await kept.due() == []

    await kept.decide(1, DeadLetterState.REDRIVING)

    (letter,) = await kept.parking.load_due("service", ALL)
    assert (letter.key, letter.value, letter.headers) == (
        b"anna",
        b"\x00{",
        (("type", b"Said"), ("blob", b"\xff\x00")),
    )
    assert (letter.topic, letter.partition, letter.offset, letter.timestamp) == (
        ORDERED,
        0,
        -1,
        1_700_000_000_000,
    )


async def test_keys_are_those_of_open_messages_of_the_service(kept: Kept) -> None:
    await park(kept, 1)
    await park(kept, 2, topic=LOOSE, key=b"bob")
    assert await kept.parking.load_open_keys("service") == {(ORDERED, b"anna"), (LOOSE, b"bob")}
    assert await kept.parking.load_open_keys("another") == set()

    await kept.decide(1, DeadLetterState.DISCARDED)

    assert await kept.parking.load_open_keys("service") == {(LOOSE, b"bob")}


async def test_what_waits_is_due_once_nothing_ahead_of_it_is_parked(kept: Kept) -> None:
    await park(kept, 1)
    await park(kept, 2, waits=True)
    await park(kept, 3, waits=True)
    assert await kept.due() == []

    await kept.decide(1, DeadLetterState.DISCARDED)

    assert await kept.due() == [2, 3]


async def test_what_a_release_does_not_know_is_not_due_to_it_nor_what_waits_behind(
    kept: Kept,
) -> None:
    await park(kept, 1, waits=True)
    await park(kept, 2, waits=True)
    await park(kept, 3, waits=True, key=b"bob")
    await park(kept, 4, waits=True, topic=LOOSE)
    await park(kept, 5, waits=True, topic=LOOSE)

    assert await kept.due(1, 4) == [3, 5]
    await kept.decide(1, DeadLetterState.REDRIVING)
    assert await kept.due(1, 4) == [3, 5]
    await kept.decide(1, DeadLetterState.DISCARDED)
    assert await kept.due(1, 4) == [2, 3, 5]
    assert await kept.due() == [2, 3, 4, 5]


async def test_a_redriven_one_comes_before_those_that_wait_behind_it(kept: Kept) -> None:
    await park(kept, 1)
    await park(kept, 2, waits=True)
    await kept.decide(1, DeadLetterState.REDRIVING)
    first, second = await kept.parking.load_due("service", ALL)
    assert (first.number, second.number) == (1, 2)
    assert await kept.parking.is_due(first, service="service")
    assert not await kept.parking.is_due(second, service="service")

    await kept.parking.resolve(first)

    assert await kept.due() == [2]
    assert await kept.parking.is_due(second, service="service")


async def test_one_that_fails_again_is_parked_again_and_holds_up_the_others(kept: Kept) -> None:
    await park(kept, 1)
    await park(kept, 2, waits=True)
    await kept.decide(1, DeadLetterState.REDRIVING)
    (letter, _) = await kept.parking.load_due("service", ALL)

    await kept.parking.park_again(letter, reason="still wrong")

    assert await kept.due() == []


async def test_where_order_does_not_matter_each_is_due_by_itself(kept: Kept) -> None:
    await park(kept, 1, topic=LOOSE)
    await park(kept, 2, topic=LOOSE)

    await kept.decide(2, DeadLetterState.REDRIVING)

    (letter,) = await kept.parking.load_due("service", ALL)
    assert letter.number == 2
    assert await kept.parking.is_due(letter, service="service")


@pytest.mark.parametrize("topic", [ORDERED, LOOSE])
async def test_what_an_operator_has_given_up_meanwhile_has_no_turn_any_more(
    kept: Kept, topic: str
) -> None:
    await park(kept, 1, topic=topic)
    await kept.decide(1, DeadLetterState.REDRIVING)
    (letter,) = await kept.parking.load_due("service", ALL)
    assert await kept.parking.is_due(letter, service="service")

    await kept.decide(1, DeadLetterState.DISCARDED)

    assert not await kept.parking.is_due(letter, service="service")


async def test_only_the_holder_of_the_partition_is_given_it(kept: Kept) -> None:
    await park(kept, 1)
    await kept.decide(1, DeadLetterState.REDRIVING)

    assert list(await kept.parking.load_due("service", [TopicPartition(ORDERED, 1)])) == []
    assert list(await kept.parking.load_due("another", ALL)) == []


async def test_what_is_settled_stays_settled(kept: Kept) -> None:
    await park(kept, 1)
    await kept.decide(1, DeadLetterState.DISCARDED)
    await kept.decide(1, DeadLetterState.REDRIVING)
    await park(kept, 1)

    assert await kept.due() == []
    assert await kept.parking.load_open_keys("service") == set()


async def test_every_decision_is_kept_with_who_and_why(migrated_database_url: str) -> None:
    engine = open_engine(DatabaseSettings.model_validate({"url": migrated_database_url}))
    parking = PostgresDeadLetters(engine)
    await parking.park(
        Parked(topic="approved-intents", offset=5),
        service="executor",
        reason="not an IntentApproved",
        waiting=False,
    )

    assert await decide(engine, 1, DeadLetterState.REDRIVING, by="anna", why="fixed in 0.2")
    assert await decide(engine, 1, DeadLetterState.DISCARDED, by="bob", why="too old")
    assert not await decide(engine, 1, DeadLetterState.REDRIVING, by="bob", why="too late")

    found = await load_dead_letter(engine, 1)
    assert found is not None
    assert (found.state, found.source_offset, found.resolved_at is not None) == (
        DeadLetterState.DISCARDED,
        5,
        True,
    )
    assert [(each.made_by, each.decision, each.why) for each in found.decisions] == [
        ("anna", "redrive", "fixed in 0.2"),
        ("bob", "discard", "too old"),
    ]
    assert await load_dead_letters(engine) == []
    assert await load_dead_letter(engine, 99) is None
    await engine.dispose()
