"""The caches on Faust: shared live, recovered after a restart, and unable to do worse than to be
old.
"""

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
from shared.streams.backoff import Backoff
from shared.streams.cache import CacheTable
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import PARTITIONS, LoopHarness, admin, create_topics

pytestmark = pytest.mark.integration

START = datetime(2026, 1, 1, tzinfo=UTC)


class Fetched(Message):
    """What an instance fetched of something that changes."""

    topic: ClassVar[str] = ""
    name: str
    value: int
    fetched_at: datetime

    def key(self) -> bytes:
        return self.name.encode()


def fetched(kind: type[Fetched], name: str, value: int, *, second: int = 0) -> Fetched:
    at = START + timedelta(seconds=second)
    return kind(
        message_id=f"{name}:{second}", occurred_at=at, name=name, value=value, fetched_at=at
    )


@dataclass
class Caches:
    """Instances of one cache on a topic of its own."""

    kind: type[Fetched]
    bench: LoopHarness
    stack: AsyncExitStack
    tables: list[CacheTable] = field(default_factory=list)
    rounds: int = 0

    async def another(self) -> CacheTable:
        table = CacheTable(
            self.kind,
            self.bench.settings,
            self.bench.producer,
            backoff=Backoff(first_s=0.1, max_s=0.5),
        )
        await self.stack.enter_async_context(table)
        self.tables.append(table)
        await self.settled()
        return table

    async def settled(self) -> None:
        """Until what is put into any partition comes to every instance: Faust loses updates while
        partitions move (docs/adr).
        """
        await eventually(
            self._seen_everywhere, within=60, what="every instance sees an update of each partition"
        )

    async def _seen_everywhere(self) -> bool:
        self.rounds += 1
        updates = [
            fetched(self.kind, f"settling-{number}", self.rounds)
            for number in range(4 * PARTITIONS)
        ]
        for update in updates:
            await self.tables[0].put(update)
        return await arrived_everywhere(self.tables, updates)


@pytest.fixture
async def caches(bench: LoopHarness) -> AsyncIterator[Caches]:
    async with caches_on(bench) as found:
        yield found


@asynccontextmanager
async def caches_on(bench: LoopHarness) -> AsyncIterator[Caches]:
    topic = bench.heard.topic.replace("heard", "fetched")
    await create_topics(
        bench.settings,
        topic,
        f"{topic}-cache-entries-changelog",
        configs={"cleanup.policy": "compact"},
    )
    async with AsyncExitStack() as stack:
        yield Caches(
            type("Fetched", (Fetched,), {"topic": topic, "__module__": __name__}), bench, stack
        )


async def arrived_everywhere(tables: Sequence[CacheTable], updates: Sequence[Fetched]) -> bool:
    """Whether they come to all within two seconds."""
    try:
        await eventually(
            lambda: all(
                table.get(update.name) == update.model_dump_json().encode()
                for table in tables
                for update in updates
            ),
            within=2,
        )
    except AssertionError:
        return False
    return True


def value(table: CacheTable, kind: type[Fetched], name: str) -> int | None:
    entry = table.get(name)
    return None if entry is None else kind.model_validate_json(entry).value


async def test_instances_see_one_anothers_entries_live_and_a_new_one_recovers_them(
    caches: Caches,
) -> None:
    kind = caches.kind
    first, second = await caches.another(), await caches.another()
    assert first.get("token-1") is None

    for number in range(20):
        await (first, second)[number % 2].put(fetched(kind, f"token-{number}", number))

    await eventually(
        lambda: all(
            value(table, kind, f"token-{number}") == number
            for number in range(20)
            for table in (first, second)
        )
    )

    third = await caches.another()

    await eventually(
        lambda: all(value(third, kind, f"token-{number}") == number for number in range(20))
    )
    await first.put(fetched(kind, "token-1", 100))
    await eventually(lambda: all(value(table, kind, "token-1") == 100 for table in caches.tables))
    assert [table.failures for table in caches.tables] == [0, 0, 0]


MAX_AGE = timedelta(seconds=5)


async def arrived(table: CacheTable, update: Fetched) -> None:
    await eventually(lambda: table.get("token") == update.model_dump_json().encode())


class Reader:
    """Reads as pricer and preflight do: an entry only while it is young by its own time, else the
    source.
    """

    def __init__(self, table: CacheTable, kind: type[Fetched], truth: dict[int, int]) -> None:
        self.table, self.kind, self.truth = table, kind, truth
        self.fetches = 0

    def read(self, second: int) -> int:
        """The value that is used at ``second``. Checks that it was true when it was fetched, and is
        not too old.
        """
        now = START + timedelta(seconds=second)
        entry = self.table.get("token")
        if entry is not None:
            seen = self.kind.model_validate_json(entry)
            if now - seen.fetched_at <= MAX_AGE:
                fetched_second = int((seen.fetched_at - START).total_seconds())
                assert seen.value == self.truth[fetched_second], (
                    "an entry says what was true at its own time"
                )
                return fetched_second
        self.fetches += 1
        return second


async def test_updates_that_are_lost_late_or_repeated_cost_freshness_and_nothing_else(
    caches: Caches,
) -> None:
    kind, truth = caches.kind, {second: second * 11 for second in range(60)}
    table, other = await caches.another(), await caches.another()
    reader = Reader(table, kind, truth)
    used: dict[int, int] = {}

    for second in range(60):
        now = fetched(kind, "token", truth[second], second=second)
        late = fetched(kind, "token", truth[max(0, second - 20)], second=max(0, second - 20))
        for update in {
            0: [now],
            1: [now, now],
            2: [],
            3: [now, late],
            4: [late, late, late],
            5: [],
        }[second // 4 % 6]:
            await other.put(update)
            await arrived(table, update)
        used[second] = reader.read(second)

    assert all(second - used[second] <= MAX_AGE.total_seconds() for second in used), (
        "nothing too old was ever used"
    )
    assert 0 < reader.fetches < 60, "old entries were refused, young ones were used"


async def test_an_update_without_a_value_changes_nothing_and_the_cache_goes_on(
    caches: Caches,
) -> None:
    table = await caches.another()
    async with AIOKafkaProducer(**caches.bench.settings.client()) as producer:
        for partition in range(4):
            await producer.send_and_wait(
                caches.kind.topic, None, key=b"no value", partition=partition
            )

    await table.put(fetched(caches.kind, "token", 7))

    await eventually(lambda: value(table, caches.kind, "token") == 7)
    assert table.get("no value") is None


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # what Faust leaves behind after a crash
async def test_a_cache_whose_faust_fails_is_started_again_and_keeps_what_it_has_meanwhile(
    caches: Caches,
) -> None:
    table = await caches.another()
    await table.put(fetched(caches.kind, "token", 7))
    await eventually(lambda: value(table, caches.kind, "token") == 7)

    failed_before = table.failures

    asyncio.run_coroutine_threadsafe(table._app.crash(RuntimeError("a defect")), table._app.loop)

    await eventually(lambda: table.failures > failed_before)
    assert value(table, caches.kind, "token") == 7
    await caches.settled()
    await table.put(fetched(caches.kind, "token", 8))
    await eventually(lambda: value(table, caches.kind, "token") == 8)
    gc.collect()


async def test_a_cache_that_cannot_start_harms_nobody(bench: LoopHarness) -> None:
    kind = type("Fetched", (Fetched,), {"topic": bench.heard.topic, "__module__": __name__})
    nobody = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    async with CacheTable(
        kind, nobody, bench.producer, backoff=Backoff(first_s=0.01, max_s=0.01)
    ) as table:
        await eventually(lambda: table.failures > 1)

        assert table.get("token") is None
        assert not table.is_ready


async def test_faust_still_acknowledges_what_its_agent_failed_on(
    bench: LoopHarness, tmp_path: Path
) -> None:
    """Why nothing that matters runs on a Faust agent. When this fails, the defect is mended: see
    docs/adr.
    """
    heard: list[bytes] = []
    app = faust.App(
        bench.group,
        broker=f"kafka://{bench.settings.bootstrap_servers}",
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
            heard.append(message)
            if len(heard) == 1:
                raise RuntimeError("a bug")

    app.agent(app.topic(bench.heard.topic, value_type=bytes, value_serializer="raw"), name="fails")(
        fail_once
    )
    await bench.say("anna", 1, 2)
    await app.start()
    try:
        await bench.passed(2)
    finally:
        await asyncio.wait_for(app.stop(), 10)

    assert len(heard) == 2, "the message that failed was never handed over again"
    async with admin(bench.settings) as client:
        assert await client.list_consumer_group_offsets(bench.group)
