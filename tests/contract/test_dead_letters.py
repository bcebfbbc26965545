"""Both stores of dead letters, in memory and in PostgreSQL, behave in the same way."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiokafka import TopicPartition

from shared.db.dead_letters import PostgresDeadLetters, decide, load_dead_letter, load_dead_letters
from shared.db.engine import open_engine
from shared.streams.dead_letter_store import DeadLetterState, DeadLetterStore
from shared.testing.dead_letters import MemoryDeadLetters
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

ORDERED, UNORDERED = "money", "facts"
ALL = [TopicPartition(ORDERED, 0), TopicPartition(UNORDERED, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRecord:
    topic: str
    offset: int
    key: bytes | None = b"anna"
    value: bytes | None = b"\x00{"
    partition: int = 0
    timestamp: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes], ...] = (("type", b"Example"), ("blob", b"\xff\x00"))


@dataclass(frozen=True, slots=True)
class StoreUnderTest:
    dead_letters: DeadLetterStore
    decide: Callable[[int, DeadLetterState], Awaitable[None]]

    async def due_numbers(self, *unknown: int) -> list[int]:
        return [
            dead_letter.number
            for dead_letter in await self.dead_letters.load_due("service", ALL, unknown=unknown)
        ]


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StoreUnderTest]:
    if request.param == "memory":
        memory = MemoryDeadLetters(frozenset({ORDERED}))

        async def decide_in_memory(number: int, state: DeadLetterState) -> None:
            (memory.redrive if state is DeadLetterState.REDRIVING else memory.discard)(number)

        yield StoreUnderTest(memory, decide_in_memory)
        return
    url = request.getfixturevalue("migrated_database_url")
    engine = open_engine(patient_settings(url))

    async def decide_in_postgres(number: int, state: DeadLetterState) -> None:
        await decide(engine, number, state, by="test", why="")

    yield StoreUnderTest(
        PostgresDeadLetters(engine, ordered_topics=frozenset({ORDERED})), decide_in_postgres
    )
    await engine.dispose()


async def park(
    store: StoreUnderTest,
    offset: int,
    *,
    topic: str = ORDERED,
    waiting: bool = False,
    key: bytes = b"anna",
) -> None:
    await store.dead_letters.park(
        ExampleRecord(topic=topic, offset=offset, key=key),
        service="service",
        reason="why",
        waiting=waiting,
    )


async def test_a_record_is_stored_byte_for_byte_and_once(store: StoreUnderTest) -> None:
    await park(store, 7)
    await park(store, 7)
    assert await store.due_numbers() == []

    await store.decide(1, DeadLetterState.REDRIVING)

    (dead_letter,) = await store.dead_letters.load_due("service", ALL)
    assert (dead_letter.key, dead_letter.value, dead_letter.headers) == (
        b"anna",
        b"\x00{",
        (("type", b"Example"), ("blob", b"\xff\x00")),
    )
    assert (
        dead_letter.topic,
        dead_letter.partition,
        dead_letter.offset,
        dead_letter.timestamp,
    ) == (
        ORDERED,
        0,
        -1,
        1_700_000_000_000,
    )


async def test_open_keys_are_those_of_the_services_open_dead_letters(store: StoreUnderTest) -> None:
    await park(store, 1)
    await park(store, 2, topic=UNORDERED, key=b"bob")
    assert await store.dead_letters.load_open_keys("service") == {
        (ORDERED, b"anna"),
        (UNORDERED, b"bob"),
    }
    assert await store.dead_letters.load_open_keys("another") == set()

    await store.decide(1, DeadLetterState.DISCARDED)

    assert await store.dead_letters.load_open_keys("service") == {(UNORDERED, b"bob")}


async def test_a_waiting_one_is_due_once_none_ahead_of_it_is_parked(store: StoreUnderTest) -> None:
    await park(store, 1)
    await park(store, 2, waiting=True)
    await park(store, 3, waiting=True)
    assert await store.due_numbers() == []

    await store.decide(1, DeadLetterState.DISCARDED)

    assert await store.due_numbers() == [2, 3]


async def test_unknown_ones_are_not_due_nor_those_that_wait_behind_them(
    store: StoreUnderTest,
) -> None:
    await park(store, 1, waiting=True)
    await park(store, 2, waiting=True)
    await park(store, 3, waiting=True, key=b"bob")
    await park(store, 4, waiting=True, topic=UNORDERED)
    await park(store, 5, waiting=True, topic=UNORDERED)

    assert await store.due_numbers(1, 4) == [3, 5]
    await store.decide(1, DeadLetterState.REDRIVING)
    assert await store.due_numbers(1, 4) == [3, 5]
    await store.decide(1, DeadLetterState.DISCARDED)
    assert await store.due_numbers(1, 4) == [2, 3, 5]
    assert await store.due_numbers() == [2, 3, 4, 5]


async def test_a_redriven_one_is_due_before_those_that_wait_behind_it(
    store: StoreUnderTest,
) -> None:
    await park(store, 1)
    await park(store, 2, waiting=True)
    await store.decide(1, DeadLetterState.REDRIVING)
    first, second = await store.dead_letters.load_due("service", ALL)
    assert (first.number, second.number) == (1, 2)
    assert await store.dead_letters.is_due(first, service="service")
    assert not await store.dead_letters.is_due(second, service="service")

    await store.dead_letters.resolve(first)

    assert await store.due_numbers() == [2]
    assert await store.dead_letters.is_due(second, service="service")


async def test_resolving_returns_the_state_that_it_was_in(store: StoreUnderTest) -> None:
    await park(store, 1)
    await park(store, 2, topic=UNORDERED, waiting=True)
    await store.decide(1, DeadLetterState.REDRIVING)
    redriving, waiting = await store.dead_letters.load_due("service", ALL)

    assert await store.dead_letters.resolve(redriving) is DeadLetterState.REDRIVING
    assert await store.dead_letters.resolve(waiting) is DeadLetterState.WAITING
    assert await store.dead_letters.resolve(waiting) is None
    assert await store.due_numbers() == []


async def test_one_that_fails_again_is_parked_again_and_blocks_the_others(
    store: StoreUnderTest,
) -> None:
    await park(store, 1)
    await park(store, 2, waiting=True)
    await store.decide(1, DeadLetterState.REDRIVING)
    (dead_letter, _) = await store.dead_letters.load_due("service", ALL)

    await store.dead_letters.park_again(dead_letter, reason="still wrong")

    assert await store.due_numbers() == []


async def test_on_an_unordered_topic_each_is_due_independently(store: StoreUnderTest) -> None:
    await park(store, 1, topic=UNORDERED)
    await park(store, 2, topic=UNORDERED)

    await store.decide(2, DeadLetterState.REDRIVING)

    (dead_letter,) = await store.dead_letters.load_due("service", ALL)
    assert dead_letter.number == 2
    assert await store.dead_letters.is_due(dead_letter, service="service")


@pytest.mark.parametrize("topic", [ORDERED, UNORDERED])
async def test_a_discarded_one_is_not_due_any_more(store: StoreUnderTest, topic: str) -> None:
    await park(store, 1, topic=topic)
    await store.decide(1, DeadLetterState.REDRIVING)
    (dead_letter,) = await store.dead_letters.load_due("service", ALL)
    assert await store.dead_letters.is_due(dead_letter, service="service")

    await store.decide(1, DeadLetterState.DISCARDED)

    assert not await store.dead_letters.is_due(dead_letter, service="service")


async def test_only_those_of_the_given_service_and_partitions_are_due(
    store: StoreUnderTest,
) -> None:
    await park(store, 1)
    await store.decide(1, DeadLetterState.REDRIVING)

    assert list(await store.dead_letters.load_due("service", [TopicPartition(ORDERED, 1)])) == []
    assert list(await store.dead_letters.load_due("another", ALL)) == []


async def test_a_discarded_one_stays_discarded(store: StoreUnderTest) -> None:
    await park(store, 1)
    await store.decide(1, DeadLetterState.DISCARDED)
    await store.decide(1, DeadLetterState.REDRIVING)
    await park(store, 1)

    assert await store.due_numbers() == []
    assert await store.dead_letters.load_open_keys("service") == set()


async def test_every_decision_is_recorded_with_its_author_and_reason(
    migrated_database_url: str,
) -> None:
    engine = open_engine(patient_settings(migrated_database_url))
    dead_letters = PostgresDeadLetters(engine)
    await dead_letters.park(
        ExampleRecord(topic="approved-intents", offset=5),
        service="executor",
        reason="not an IntentApproved",
        waiting=False,
    )

    assert await decide(engine, 1, DeadLetterState.REDRIVING, by="anna", why="fixed in 0.2")
    assert await decide(engine, 1, DeadLetterState.DISCARDED, by="bob", why="too old")
    assert not await decide(engine, 1, DeadLetterState.REDRIVING, by="bob", why="too late")

    history = await load_dead_letter(engine, 1)
    assert history is not None
    assert (history.state, history.source_offset, history.resolved_at is not None) == (
        DeadLetterState.DISCARDED,
        5,
        True,
    )
    assert [(each.made_by, each.decision, each.why) for each in history.decisions] == [
        ("anna", "redrive", "fixed in 0.2"),
        ("bob", "discard", "too old"),
    ]
    assert await load_dead_letters(engine) == []
    assert await load_dead_letter(engine, 99) is None
    await engine.dispose()
