"""Two instances of ingest share the leaders out, with Kafka and PostgreSQL as in production. Where
one is killed the other takes its leaders over: no trade is lost, and none is copied again.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from eth_utils.address import to_checksum_address
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.controls import save_follows
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import LeaderFillSeen
from shared.streams.settings import KafkaSettings
from shared.streams.topics import apply
from shared.testing.waiting import eventually
from tests.builders import PROXY
from tests.integration.ingest.sources import Sources, serving_sources
from tests.patience import patient_settings
from tests.system.deployment import a_follow
from tools.stack.background import BackgroundCluster
from tools.stack.ports import Ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

WITHIN_S = 180
"""Also the time that a busy machine may take to start the processes."""
LEADERS = [to_checksum_address(f"0x{number + 1:040x}") for number in range(24)]
TRADE_EVERY = 10
"""Polls of the condition that is waited for, between two trades."""
FILLS, INTENTS = LeaderFillSeen.topic, CopyIntended.topic


@pytest.fixture
async def settings(one_broker: BackgroundCluster) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=one_broker.bootstrap_servers, partitions=8)
    await apply(settings)
    return settings


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    await save_follows(
        engine, [a_follow(leader, PROXY) for leader in LEADERS], by="test", change="24 leaders"
    )
    yield engine
    await engine.dispose()


class Topics:
    """All messages of the two topics of ingest."""

    def __init__(self) -> None:
        self.fills: list[LeaderFillSeen] = []
        self.intents: list[CopyIntended] = []

    async def keep_reading(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            kind = dict(record.headers)["type"].decode()
            if kind == "LeaderFillSeen":
                self.fills.append(LeaderFillSeen.model_validate_json(record.value))
            elif kind == "CopyIntended":
                self.intents.append(CopyIntended.model_validate_json(record.value))

    @property
    def copies(self) -> Counter[str]:
        """How often an intent of each transaction was published."""
        return Counter(message.intent.transaction_hash for message in self.intents)


@asynccontextmanager
async def reading_topics(settings: KafkaSettings) -> AsyncIterator[Topics]:
    topics = Topics()
    consumer = AIOKafkaConsumer(**settings.client(), auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign(
        [
            TopicPartition(topic, number)
            for topic in (FILLS, INTENTS)
            for number in range(settings.partitions)
        ]
    )
    task = asyncio.create_task(topics.keep_reading(consumer))
    try:
        yield topics
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()


@asynccontextmanager
async def running_instance(
    number: int, sources: Sources, settings: KafkaSettings, database_url: str, folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        **sources.urls(number),
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "KAFKA_PARTITIONS": str(settings.partitions),
        "KAFKA_SESSION_TIMEOUT_MS": str(settings.session_timeout_ms),
        "KAFKA_GROUP_INSTANCE_ID": f"ingest-{number}",
        "DATABASE_URL": database_url,
        "HEALTH_HOST": "127.0.0.1",
        "HEALTH_PORT": str(Ports().reserve_free()),
        "INGEST_CHAIN_POLL_INTERVAL": "PT0.2S",
        "INGEST_DATA_POLL_INTERVAL": "PT0.5S",
    }
    with (folder / f"ingest-{number}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ingest", env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def are_shared_out(sources: Sources, *, instances: Sequence[int]) -> bool:
    """Whether each leader is in the last request for logs of exactly one of the instances."""
    asked = [sources.asked_of_chain.get(number, set()) for number in instances]
    everyone = {leader.lower() for leader in LEADERS}
    return all(asked) and set().union(*asked) == everyone and sum(map(len, asked)) == len(everyone)


async def is_each_asked_for_by_one(sources: Sources) -> bool:
    """Whether the Data API is asked for each leader by one instance alone, from now on."""
    sources.asked_of_data_api.clear()
    await eventually(lambda: len(sources.asked_of_data_api) == len(LEADERS), within=WITHIN_S)
    return all(len(instances) == 1 for instances in sources.asked_of_data_api.values())


async def has_no_lag(settings: KafkaSettings) -> bool:
    consumer = AIOKafkaConsumer(**settings.client(), group_id="ingest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(FILLS, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        return all([(await consumer.committed(each) or 0) == ends[each] for each in partitions])
    finally:
        await consumer.stop()


async def wait_until_copied(topics: Topics, transactions: Sequence[str]) -> None:
    await eventually(
        lambda: set(transactions) <= topics.copies.keys(),
        within=WITHIN_S,
        what=lambda: f"intents of {set(transactions) - topics.copies.keys()}",
    )


async def fetch_copied_shares(engine: AsyncEngine) -> dict[str, int]:
    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select transaction_hash, sum(to_shares - from_shares) as shares"
            " from ingest.copy_slices join (select distinct trade_id, transaction_hash"
            " from ingest.fills) as trades using (trade_id) where resent_of = ''"
            " group by transaction_hash",
        )
    return {row.transaction_hash: int(row.shares) for row in rows}


async def test_two_instances_share_the_leaders_out_and_one_takes_over_from_the_other(
    settings: KafkaSettings, engine: AsyncEngine, migrated_database_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        sources = await stack.enter_async_context(serving_sources(instances=2))
        topics = await stack.enter_async_context(reading_topics(settings))
        await begin_as_after_an_upgrade(engine, sources)
        missed = [await sources.trade(leader) for leader in LEADERS[:4]]
        processes = [
            await stack.enter_async_context(
                running_instance(number, sources, settings, migrated_database_url, tmp_path)
            )
            for number in range(2)
        ]
        await eventually(
            lambda: are_shared_out(sources, instances=[0, 1]),
            within=WITHIN_S,
            what=lambda: f"leaders that are shared out, not {sources.asked_of_chain}",
        )
        await wait_until_copied(topics, missed)

        await eventually(lambda: is_each_asked_for_by_one(sources), within=WITHIN_S)
        steady = [await sources.trade(LEADERS[number % 24]) for number in range(48)]
        await wait_until_copied(topics, steady)
        await eventually(lambda: has_no_lag(settings), within=WITHIN_S)
        rows = Counter((fill.transaction_hash, fill.source) for fill in topics.fills)
        assert {count for (hash_, _), count in rows.items() if hash_ in steady} == {1}
        copied_before = topics.copies
        assert {copied_before[each] for each in steady} == {1}

        processes[0].kill()
        during: list[str] = []
        polls = count()

        async def trade_on() -> bool:
            if next(polls) % TRADE_EVERY == 0:
                during.append(await sources.trade(LEADERS[len(during) % 24]))
            return are_shared_out(sources, instances=[1]) and len(during) >= 48

        await eventually(trade_on, within=WITHIN_S)
        await wait_until_copied(topics, during)
        await eventually(lambda: has_no_lag(settings), within=WITHIN_S)

        assert {each: topics.copies[each] for each in copied_before} == dict(copied_before)
        assert len({each.intent.intent_id for each in topics.intents}) == len(sources.trades)
        copied = await fetch_copied_shares(engine)
        assert copied == {row["transaction_hash"]: 10_000_000 for _, row in sources.trades}


async def begin_as_after_an_upgrade(engine: AsyncEngine, sources: Sources) -> None:
    """The single cursor of the earlier release is at the newest block."""
    async with transaction(engine) as connection:
        await connection.execute(
            text("insert into ingest.cursors values ('chain', :block)"),
            {"block": sources.chain.head},
        )
