"""The cache tables on Faust: shared between instances, restored after a restart, at worst old."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import faust
import pytest
from aiokafka import AIOKafkaProducer

from shared.messages.base import Message
from shared.streams import cache
from shared.streams.backoff import Backoff
from shared.streams.cache import CacheTable
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import PARTITIONS, LoopHarness, admin, create_topics

pytestmark = pytest.mark.integration

START = datetime(2026, 1, 1, tzinfo=UTC)


class Fetched(Message):
    """A value that an instance fetched, and that changes at its source."""

    topic: ClassVar[str] = ""
    name: str
    value: int
    fetched_at: datetime

    def key(self) -> bytes:
        return self.name.encode()


def build_fetched(kind: type[Fetched], name: str, value: int, *, second: int = 0) -> Fetched:
    at = START + timedelta(seconds=second)
    return kind(
        message_id=f"{name}:{second}", occurred_at=at, name=name, value=value, fetched_at=at
    )


@dataclass
class Caches:
    """The instances of one cache on a topic of its own."""

    kind: type[Fetched]
    harness: LoopHarness
    stack: AsyncExitStack
    tables: list[CacheTable] = field(default_factory=list)
    rounds: int = 0

    async def add_instance(self) -> CacheTable:
        table = CacheTable(
            self.kind,
            self.harness.settings,
            self.harness.producer,
            backoff=Backoff(first_s=0.1, max_s=0.5),
        )
        await self.stack.enter_async_context(table)
        self.tables.append(table)
        await self.wait_until_settled()
        return table

    async def wait_until_settled(self) -> None:
        """Wait until an update of any partition reaches every instance."""
        await eventually(
            self._is_settled, within=120, what="every instance sees an update of each partition"
        )

    async def put_until_seen(self, update: Fetched, *, by: CacheTable) -> None:
        """Put the update until every instance has it.

        Faust loses updates during a rebalance (ADR 4), and a busy machine can cause one any time.
        """

        async def is_seen() -> bool:
            await by.put(update)
            return await is_in_all_tables(self.tables, [update])

        await eventually(is_seen, within=120, what=f"{update.name} in every instance")

    async def _is_settled(self) -> bool:
        self.rounds += 1
        updates = [
            build_fetched(self.kind, f"settling-{number}", self.rounds)
            for number in range(4 * PARTITIONS)
        ]
        for update in updates:
            await self.tables[0].put(update)
        return await is_in_all_tables(self.tables, updates)


@pytest.fixture
async def caches(harness: LoopHarness) -> AsyncIterator[Caches]:
    async with build_caches(harness) as caches:
        yield caches


@asynccontextmanager
async def build_caches(harness: LoopHarness) -> AsyncIterator[Caches]:
    topic = harness.request.topic.replace("request", "fetched")
    await create_topics(
        harness.settings,
        topic,
        f"{topic}-cache-entries-changelog",
        configs={"cleanup.policy": "compact"},
    )
    async with AsyncExitStack() as stack:
        yield Caches(
            type("Fetched", (Fetched,), {"topic": topic, "__module__": __name__}), harness, stack
        )


async def is_in_all_tables(tables: Sequence[CacheTable], updates: Sequence[Fetched]) -> bool:
    """Whether all updates are in all tables within five seconds."""
    try:
        await eventually(
            lambda: all(
                table.get(update.name) == update.model_dump_json().encode()
                for table in tables
                for update in updates
            ),
            within=5,
        )
    except AssertionError:
        return False
    return True


def read_value(table: CacheTable, kind: type[Fetched], name: str) -> int | None:
    entry = table.get(name)
    return None if entry is None else kind.model_validate_json(entry).value


async def test_instances_see_the_entries_of_all_instances_and_a_new_one_restores_them(
    caches: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    kind = caches.kind
    first, second = await caches.add_instance(), await caches.add_instance()
    assert first.get("token-1") is None

    for number in range(20):
        await caches.put_until_seen(
            build_fetched(kind, f"token-{number}", number), by=(first, second)[number % 2]
        )

    third = await caches.add_instance()

    await eventually(
        lambda: all(read_value(third, kind, f"token-{number}") == number for number in range(20))
    )
    await caches.put_until_seen(build_fetched(kind, "token-1", 100), by=first)
    logged = [each.getMessage() for each in caplog.records if each.name == cache.__name__]
    failures = [text for text in logged if first.name in text]
    # A start that takes longer than its limit is the machine's fault, any other failure is ours.
    assert [text for text in failures if "stuck for" not in text] == []
    assert sum(table.failures for table in caches.tables) == len(failures)


MAX_AGE = timedelta(seconds=5)


class Reader:
    """Reads as pricer and preflight do: an entry while it is new enough, otherwise the source."""

    def __init__(self, table: CacheTable, kind: type[Fetched], truth: dict[int, int]) -> None:
        self.table, self.kind, self.truth = table, kind, truth
        self.fetches = 0

    def read(self, second: int) -> int:
        """Return the second at which the value used at ``second`` was fetched.

        Checks that it was true then, and is not too old.
        """
        now = START + timedelta(seconds=second)
        entry = self.table.get("token")
        if entry is not None:
            cached = self.kind.model_validate_json(entry)
            if now - cached.fetched_at <= MAX_AGE:
                fetched_second = int((cached.fetched_at - START).total_seconds())
                assert cached.value == self.truth[fetched_second], (
                    "an entry has the value of its own time"
                )
                return fetched_second
        self.fetches += 1
        return second


async def test_lost_late_or_repeated_updates_make_entries_old_and_never_wrong(
    caches: Caches,
) -> None:
    kind, truth = caches.kind, {second: second * 11 for second in range(60)}
    table, other = await caches.add_instance(), await caches.add_instance()
    reader = Reader(table, kind, truth)
    used: dict[int, int] = {}

    for second in range(60):
        now = build_fetched(kind, "token", truth[second], second=second)
        late = build_fetched(kind, "token", truth[max(0, second - 20)], second=max(0, second - 20))
        for update in {
            0: [now],
            1: [now, now],
            2: [],
            3: [now, late],
            4: [late, late, late],
            5: [],
        }[second // 4 % 6]:
            await caches.put_until_seen(update, by=other)
        used[second] = reader.read(second)

    assert all(second - used[second] <= MAX_AGE.total_seconds() for second in used), (
        "no value that was too old was used"
    )
    assert 0 < reader.fetches < 60, "old entries were not used, and new ones were"


async def test_an_update_without_a_value_changes_nothing_and_the_cache_continues(
    caches: Caches,
) -> None:
    table = await caches.add_instance()
    async with AIOKafkaProducer(**caches.harness.settings.client()) as producer:
        for partition in range(4):
            await producer.send_and_wait(
                caches.kind.topic, None, key=b"no value", partition=partition
            )

    await caches.put_until_seen(build_fetched(caches.kind, "token", 7), by=table)

    assert table.get("no value") is None


# a crash of Faust leaves objects that raise when they are collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_cache_whose_faust_fails_is_restarted_and_keeps_its_entries_meanwhile(
    caches: Caches,
) -> None:
    table = await caches.add_instance()
    await caches.put_until_seen(build_fetched(caches.kind, "token", 7), by=table)
    failed_before = table.failures

    asyncio.run_coroutine_threadsafe(table._app.crash(RuntimeError("a defect")), table._app.loop)

    await eventually(lambda: table.failures > failed_before)
    assert read_value(table, caches.kind, "token") == 7
    await caches.wait_until_settled()
    await caches.put_until_seen(build_fetched(caches.kind, "token", 8), by=table)
    gc.collect()


async def test_a_cache_that_cannot_start_is_empty_and_raises_nothing(harness: LoopHarness) -> None:
    kind = type("Fetched", (Fetched,), {"topic": harness.request.topic, "__module__": __name__})
    unreachable = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    async with CacheTable(
        kind, unreachable, harness.producer, backoff=Backoff(first_s=0.01, max_s=0.01)
    ) as table:
        await eventually(lambda: table.failures > 1)

        assert table.get("token") is None
        assert not table.is_ready


async def test_faust_still_commits_the_message_that_its_agent_failed_on(
    harness: LoopHarness, tmp_path: Path
) -> None:
    """The reason why nothing important runs on a Faust agent (ADR 4).

    When this test fails, the defect of Faust has been fixed.
    """
    received: list[bytes] = []
    app = faust.App(
        harness.group,
        broker=f"kafka://{harness.settings.bootstrap_servers}",
        autodiscover=False,
        datadir=str(tmp_path),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_commit_interval=0.1,
        broker_session_timeout=6.0,
        broker_rebalance_timeout=6.0,
        broker_heartbeat_interval=1.0,
    )
    app.loop = asyncio.get_running_loop()

    async def fail_once(stream: Any) -> None:
        async for message in stream:
            received.append(message)
            if len(received) == 1:
                raise RuntimeError("a bug")

    app.agent(
        app.topic(harness.request.topic, value_type=bytes, value_serializer="raw"), name="fails"
    )(fail_once)
    await harness.send("anna", 1, 2)
    await app.start()
    try:
        await harness.wait_for_commits(2)
    finally:
        await asyncio.wait_for(app.stop(), 60)

    assert len(received) == 2, "the message that failed was never delivered again"
    async with admin(harness.settings) as client:
        assert await client.list_consumer_group_offsets(harness.group)
