"""Brokers that go and come back: nothing is lost, nothing is passed, and no process has to be
restarted.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Sequence

import pytest

from shared.messages.base import Message
from shared.testing.waiting import eventually
from tests.integration.streams.conftest import a_bench, quick_settings
from tests.integration.streams.loop_harness import LoopHarness, Running, Said, admin, said
from tests.integration.streams.test_groups import member
from tools.stack.background import BackgroundCluster

pytestmark = pytest.mark.integration

ROUNDS = 400
KEYS = [f"key-{number}" for number in range(20)]


class Echo:
    """Answers everything; remembers in which order each key was first heard."""

    def __init__(self, bench: LoopHarness) -> None:
        self.bench = bench
        self.heard: dict[str, list[int]] = defaultdict(list)

    async def on_heard(self, message: Said) -> Sequence[Message]:
        if (number := int(message.what)) not in self.heard[message.who]:
            self.heard[message.who].append(number)
        return [said(self.bench.answered, message.who, number)]

    def start(self) -> Running:
        return self.bench.start({self.bench.heard: self.on_heard})


async def speak(bench: LoopHarness, numbers: range) -> None:
    for number in numbers:
        await bench.producer.publish_all([said(bench.heard, key, number) for key in KEYS])


async def test_a_broker_restarted_under_load_loses_nothing(one_broker: BackgroundCluster) -> None:
    (broker,) = one_broker.brokers
    async with a_bench(quick_settings(one_broker.bootstrap_servers)) as bench:
        echo = Echo(bench)
        running = echo.start()
        await running.ready()
        speaking = asyncio.create_task(speak(bench, range(ROUNDS)))
        await eventually(lambda: len(echo.heard[KEYS[-1]]) > 20)

        await one_broker.kill(broker)
        await eventually(lambda: "Kafka does not answer" in running.loop.health().ready)
        assert not running.loop.health().live, "it lives: a restart would not help"
        await one_broker.restart(broker)

        await speaking
        await running.ready()
        await eventually(lambda: all(echo.heard[key] == list(range(ROUNDS)) for key in KEYS))
        bench.check()


async def test_a_service_that_is_stopped_while_kafka_is_away_ends_all_the_same_and_passes_nothing(
    one_broker: BackgroundCluster,
) -> None:
    (broker,) = one_broker.brokers
    settings = quick_settings(one_broker.bootstrap_servers)
    async with asyncio.timeout(90):
        async with a_bench(settings) as bench:
            await bench.say("anna", "answer when Kafka is away")
        async with member(bench, "one") as one:
            assert one.stderr is not None
            while b"waits until Kafka is away" not in await one.stderr.readline():
                pass
            await one_broker.kill(broker)
            while b"NodeNotReadyError" not in await one.stderr.readline():
                pass

            one.send_signal(signal.SIGTERM)

            assert await one.wait() == 0
    await one_broker.restart(broker)
    assert await bench.committed() == {}


async def test_a_partition_whose_leader_is_lost_goes_on_with_another(
    three_brokers: BackgroundCluster,
) -> None:
    async with a_bench(quick_settings(three_brokers.bootstrap_servers), replicas=3) as bench:
        echo = Echo(bench)
        running = echo.start()
        await running.ready()
        speaking = asyncio.create_task(speak(bench, range(ROUNDS)))
        await eventually(lambda: len(echo.heard[KEYS[-1]]) > 20)

        await three_brokers.kill(await leader_of_first_partition(bench))

        await speaking
        await bench.passed(ROUNDS * len(KEYS))
        assert all(echo.heard[key] == list(range(ROUNDS)) for key in KEYS)
        assert set(map(int, await bench.answers(ROUNDS * len(KEYS)))) == set(range(ROUNDS))


async def leader_of_first_partition(bench: LoopHarness) -> int:
    async with admin(bench.settings) as client:
        (topic,) = await client.describe_topics([bench.heard.topic])
    leader: int = next(each["leader"] for each in topic["partitions"] if each["partition"] == 0)
    return leader
