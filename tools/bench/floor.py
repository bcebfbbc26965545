"""The floor: the pipeline's hops, commits and POST on plain bytes, without any decision.

    python -m tools.bench.floor ingest|pricer|preflight|executor

Each role is a process of its own, as each service is. The floor leaves out what else the pipeline
does: JSON, models, order books, balances, limits, signatures, metrics, orders after their POST, and
every kind of failure.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from websockets.asyncio.client import connect

from shared.db.group_commit import GroupCommit
from tools.bench.settings import FloorSettings

ROLES = ("ingest", "pricer", "preflight", "executor")
FILLS, INTENTS, QUOTED, APPROVED, OUTCOMES = TOPICS = tuple(
    f"floor-{name}"
    for name in (
        "leader-fills",
        "copy-intents",
        "quoted-intents",
        "approved-intents",
        "copy-outcomes",
    )
)
SCHEMA = """
create schema floor;
create table floor.fills (id text primary key, body text);
create table floor.intents (id text primary key, body text);
create table floor.spending (proxy text primary key, spent bigint);
create table floor.orders (id text primary key, body text, reply text);
"""
FILL_PAD, INTENT_PAD, QUOTED_PAD, APPROVED_PAD, ORDER_PAD = (
    b"." * size for size in (550, 1000, 1500, 2100, 750)
)
"""Padding to the sizes of the pipeline's messages."""

MAX_FOLLOWERS = 10_000
COMMIT_INTERVAL_S = 0.05

Output = tuple[str, bytes, bytes]
Handle = Callable[[bytes, bytes], Awaitable[Sequence[Output]]]


def build_frame(number: int, followers: int) -> str:
    """The load generator's frame of one trade."""
    return f"{number}|{followers}"


def order_salts(number: int, followers: int) -> range:
    """The salts of a trade's orders, by which their arrival is recognised."""
    return range(number * MAX_FOLLOWERS, number * MAX_FOLLOWERS + followers)


class KeyedLoop:
    """Handles the messages of one key one after another, and different keys at the same time. A
    partition's committed offset is that of its oldest unfinished message.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, handle: Handle
    ) -> None:
        self._consumer, self._producer, self._handle = consumer, producer, handle
        self._waiting: dict[bytes, deque[ConsumerRecord]] = {}
        self._begun: dict[TopicPartition, deque[int]] = {}
        self._finished: dict[TopicPartition, set[int]] = {}
        self._committable: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commit())
            while True:
                for partition, records in (await self._consumer.getmany(timeout_ms=500)).items():
                    self._begun.setdefault(partition, deque()).extend(
                        record.offset for record in records
                    )
                    for record in records:
                        self._put(record, group)

    def _put(self, record: ConsumerRecord, group: asyncio.TaskGroup) -> None:
        if record.key in self._waiting:
            self._waiting[record.key].append(record)
        else:
            self._waiting[record.key] = deque((record,))
            group.create_task(self._work(record.key))

    async def _work(self, key: bytes) -> None:
        waiting = self._waiting[key]
        while waiting:
            record = waiting[0]
            outputs = await self._handle(record.key, record.value)
            for acknowledged in [
                await self._producer.send(topic, value, key=to) for topic, to, value in outputs
            ]:
                await acknowledged
            waiting.popleft()
            self._finish(TopicPartition(record.topic, record.partition), record.offset)
        del self._waiting[key]

    def _finish(self, partition: TopicPartition, offset: int) -> None:
        begun, finished = self._begun[partition], self._finished.setdefault(partition, set())
        finished.add(offset)
        while begun and begun[0] in finished:
            finished.remove(begun[0])
            self._committable[partition] = begun.popleft() + 1

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_S)
            if offsets := self._committable:
                self._committable = {}
                await self._consumer.commit(offsets)


async def run_hop(role: str, topic: str, handle: Handle) -> None:
    """Run one hop for the life of the process."""
    producer = _open_producer()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=FloorSettings().kafka,
        group_id=f"floor-{role}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    await asyncio.gather(producer.start(), consumer.start())
    if role != "ingest":
        _report_ready()
    await KeyedLoop(consumer, producer, handle).run()


async def ingest() -> None:
    async with _open_pool() as pool:
        record = GroupCommit(
            _build_writer(
                pool, "insert into floor.fills select * from unnest($1::text[], $2::text[])"
            )
        )

        async def handle(_: bytes, value: bytes) -> Sequence[Output]:
            number, followers = map(int, value[: -len(FILL_PAD)].split(b"|"))
            await record((str(number), value.decode()))
            return [
                (INTENTS, b"0x%040x" % follower, b"%d|" % salt + INTENT_PAD)
                for follower, salt in enumerate(order_salts(number, followers))
            ]

        await asyncio.gather(_read_feed(), run_hop("ingest", FILLS, handle))


async def _read_feed() -> None:
    """The feed: publish each frame as a message of one of five leaders."""
    producer = _open_producer()
    await producer.start()
    async with connect(FloorSettings().feed) as socket:
        _report_ready()
        async for frame in socket:
            text = str(frame).encode()
            await producer.send_and_wait(
                FILLS, text + FILL_PAD, key=b"0x%040x" % (int(text.partition(b"|")[0]) % 5)
            )


async def pricer() -> None:
    async def handle(key: bytes, value: bytes) -> Sequence[Output]:
        return [(QUOTED, key, value.partition(b"|")[0] + b"|" + QUOTED_PAD)]

    await run_hop("pricer", INTENTS, handle)


async def preflight() -> None:
    async with _open_pool() as pool:

        async def write(rows: Sequence[tuple[str, str, str]]) -> list[None]:
            ids, proxies, bodies = map(list, zip(*rows, strict=True))
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "insert into floor.intents select * from unnest($1::text[], $2::text[])",
                    ids,
                    bodies,
                )
                await connection.execute(
                    "insert into floor.spending select proxy, 5 from unnest($1::text[]) proxy "
                    "on conflict (proxy) do update set spent = spending.spent + excluded.spent",
                    proxies,
                )
            return [None] * len(rows)

        record = GroupCommit(write)

        async def handle(key: bytes, value: bytes) -> Sequence[Output]:
            salt = value.partition(b"|")[0]
            await record((salt.decode(), key.decode(), value.decode()))
            return [(APPROVED, key, salt + b"|" + APPROVED_PAD)]

        await run_hop("preflight", QUOTED, handle)


async def executor() -> None:
    url = f"{FloorSettings().venue}/order"
    async with (
        _open_pool() as pool,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session,
    ):
        record = GroupCommit(
            _build_writer(
                pool, "insert into floor.orders select *, null from unnest($1::text[], $2::text[])"
            )
        )
        update = (
            "update floor.orders o set reply = g.reply "
            "from unnest($1::text[], $2::text[]) g(id, reply) where o.id = g.id"
        )
        record_reply = GroupCommit(_build_writer(pool, update))

        async def handle(key: bytes, value: bytes) -> Sequence[Output]:
            salt = value.partition(b"|")[0]
            body = b'{"order":{"salt":%s,"pad":"%s"}}' % (salt, ORDER_PAD)
            await record((salt.decode(), body.decode()))
            async with session.post(url, data=body) as response:
                reply = await response.read()
            await record_reply((salt.decode(), reply.decode()))
            return [(OUTCOMES, key, salt + b"|" + FILL_PAD)]

        await run_hop("executor", APPROVED, handle)


def _build_writer(
    pool: asyncpg.Pool, statement: str
) -> Callable[[Sequence[tuple[str, str]]], Awaitable[Sequence[None]]]:
    async def write(rows: Sequence[tuple[str, str]]) -> Sequence[None]:
        await pool.execute(statement, *map(list, zip(*rows, strict=True)))
        return [None] * len(rows)

    return write


def _open_producer() -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=FloorSettings().kafka, acks="all", enable_idempotence=True
    )


def _open_pool() -> asyncpg.Pool:
    return asyncpg.create_pool(FloorSettings().database, min_size=1, max_size=4)


def _report_ready() -> None:
    FloorSettings().ready_file.touch()


def main() -> None:
    role = {"ingest": ingest, "pricer": pricer, "preflight": preflight, "executor": executor}[
        sys.argv[1]
    ]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(role())


if __name__ == "__main__":
    main()
