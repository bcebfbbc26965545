"""Brokers that stop and return: no message is lost, and no process has to be restarted."""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Sequence

import pytest

from shared.messages.base import Message
from shared.streams.partitioning import Partitioner
from shared.streams.producer import Producer, Publication
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.integration.streams.conftest import fast_settings, running_harness
from tests.integration.streams.loop_harness import (
    PARTITIONS,
    ExampleMessage,
    LoopHarness,
    RunningLoop,
    admin,
    build_message,
    build_message_type,
    create_topics,
)
from tests.integration.streams.test_groups import member
from tools.stack.background import BackgroundCluster

pytestmark = pytest.mark.integration

ROUNDS = 400
KEYS = [f"key-{number}" for number in range(20)]
PARTITIONER = Partitioner()
USUAL_BYTES = 1_300
"""Of a message of ours."""


class Echo:
    """Replies to everything, and records the order in which each key's messages first arrived."""

    def __init__(self, harness: LoopHarness) -> None:
        self.harness = harness
        self.received: dict[str, list[int]] = defaultdict(list)

    async def on_request(self, message: ExampleMessage) -> Sequence[Message]:
        if (number := int(message.text)) not in self.received[message.sender]:
            self.received[message.sender].append(number)
        return [build_message(self.harness.reply, message.sender, number)]

    def start(self) -> RunningLoop:
        return self.harness.start({self.harness.request: self.on_request})


async def send_rounds(harness: LoopHarness, numbers: range) -> None:
    for number in numbers:
        await harness.producer.publish_all(
            [build_message(harness.request, key, number) for key in KEYS]
        )


async def test_no_message_is_lost_when_a_broker_is_restarted_under_load(
    one_broker: BackgroundCluster,
) -> None:
    (broker,) = one_broker.brokers
    async with running_harness(fast_settings(one_broker.bootstrap_servers)) as harness:
        echo = Echo(harness)
        running = echo.start()
        await running.wait_until_ready()
        sending = asyncio.create_task(send_rounds(harness, range(ROUNDS)))
        await eventually(lambda: len(echo.received[KEYS[-1]]) > 20)

        await one_broker.kill(broker)
        await eventually(lambda: "Kafka does not answer" in running.loop.health().ready)
        assert not running.loop.health().live, "it stays live: a restart would not help"
        await one_broker.restart(broker)

        await sending
        await running.wait_until_ready()
        await eventually(lambda: all(echo.received[key] == list(range(ROUNDS)) for key in KEYS))
        harness.check()


async def test_a_service_that_is_stopped_while_kafka_is_down_ends_and_commits_nothing(
    one_broker: BackgroundCluster,
) -> None:
    (broker,) = one_broker.brokers
    settings = fast_settings(one_broker.bootstrap_servers)
    async with asyncio.timeout(90):
        async with running_harness(settings) as harness:
            await harness.send("anna", "reply when Kafka is down")
        async with member(harness, "one") as one:
            assert one.stderr is not None
            while b"waiting until Kafka is down" not in await one.stderr.readline():
                pass
            await one_broker.kill(broker)
            while b"NodeNotReadyError" not in await one.stderr.readline():
                pass

            one.send_signal(signal.SIGTERM)

            assert await one.wait() == 0
    await one_broker.restart(broker)
    assert await harness.fetch_committed() == {}


async def test_a_partition_whose_leader_is_lost_continues_with_another_leader(
    three_brokers: BackgroundCluster,
) -> None:
    async with running_harness(
        fast_settings(three_brokers.bootstrap_servers), replicas=3
    ) as harness:
        echo = Echo(harness)
        running = echo.start()
        await running.wait_until_ready()
        sending = asyncio.create_task(send_rounds(harness, range(ROUNDS)))
        await eventually(lambda: len(echo.received[KEYS[-1]]) > 20)

        await three_brokers.kill(await fetch_leader_of_first_partition(harness))

        await sending
        await harness.wait_for_commits(ROUNDS * len(KEYS))
        assert all(echo.received[key] == list(range(ROUNDS)) for key in KEYS)
        assert set(map(int, await harness.fetch_replies(ROUNDS * len(KEYS)))) == set(range(ROUNDS))


async def test_a_partition_without_a_leader_holds_up_no_other(
    three_brokers: BackgroundCluster,
) -> None:
    settings = fast_settings(three_brokers.bootstrap_servers)
    kind = build_message_type("Single", "single-replicas")
    await create_topics(settings, kind.topic, replicas=1, configs={"min.insync.replicas": "1"})
    await eventually(lambda: all_have_leaders(settings, kind.topic))
    leaders = await fetch_leaders(settings, kind.topic)
    is_lost = {
        key: leaders[PARTITIONER.partition(key.encode(), PARTITIONS)] == leaders[0] for key in KEYS
    }
    lost = [key for key in KEYS if is_lost[key]]
    assert 0 < len(lost) < len(KEYS)
    acknowledged: list[str] = []

    def build_publication(key: str, number: int) -> Publication:
        message = build_message(kind, key, f"{number} {'x' * USUAL_BYTES}")
        return Publication([message], None, lambda: acknowledged.append(key))

    async with Producer(settings) as producer:
        await producer.publish_all([build_message(kind, key, "") for key in KEYS])
        await three_brokers.kill(leaders[0])
        # Many batches of aiokafka's usual size before the others.
        first = [build_publication(lost[0], number) for number in range(50)]
        others = [build_publication(key, 0) for key in KEYS if not is_lost[key]]
        publishing = asyncio.create_task(producer.publish_batch([*first, *others]))

        await eventually(lambda: len(acknowledged) == len(others))
        assert not any(is_lost[key] for key in acknowledged)

        await three_brokers.restart(leaders[0])
        await publishing
        assert len(acknowledged) == len(first) + len(others)


async def fetch_leader_of_first_partition(harness: LoopHarness) -> int:
    return (await fetch_leaders(harness.settings, harness.request.topic))[0]


async def all_have_leaders(settings: KafkaSettings, topic: str) -> bool:
    leaders = (await fetch_leaders(settings, topic)).values()
    return len(leaders) == PARTITIONS and min(leaders) >= 0


async def fetch_leaders(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """The leaders of a topic's partitions."""
    async with admin(settings) as client:
        (described,) = await client.describe_topics([topic])
    return {each["partition"]: each["leader"] for each in described["partitions"]}
