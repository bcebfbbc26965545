"""Several instances of a service: who has what, how it is handed over, and what a lost instance
leaves behind.
"""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.streams.backoff import Backoff
from shared.streams.routes import Handle, Routes
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import PARTITIONS, LoopHarness, Running, Said, said

pytestmark = pytest.mark.integration

KEYS = [f"key-{number}" for number in range(40)]


async def shared_by(*instances: Running) -> None:
    """Wait until every partition is with one of the instances, and each has some."""

    def shared() -> bool:
        held = [instance.ownership.partitions for instance in instances]
        return (
            all(held)
            and len(frozenset[TopicPartition]().union(*held)) == sum(map(len, held)) == PARTITIONS
        )

    await eventually(shared)


async def test_each_key_belongs_to_exactly_one_instance_and_its_messages_go_there(
    bench: LoopHarness,
) -> None:
    heard_by: dict[str, set[str]] = defaultdict(set)

    def instance(name: str) -> Running:
        async def on_heard(message: Said) -> Sequence[Message]:
            heard_by[message.who].add(name)
            return []

        return bench.start({bench.heard: on_heard})

    first, second = instance("first"), instance("second")
    await shared_by(first, second)
    owner = {
        key: "first" if first.ownership.owns(key.encode(), bench.heard.topic) else "second"
        for key in KEYS
    }
    assert all(
        (owner[key] == "second") == second.ownership.owns(key.encode(), bench.heard.topic)
        for key in KEYS
    )

    for key in KEYS:
        await bench.say(key, "hello")

    await bench.passed(len(KEYS))
    assert set(owner.values()) == {"first", "second"}
    assert heard_by == {key: {name} for key, name in owner.items()}


async def test_nobody_owns_anything_of_a_topic_that_is_not_consumed(bench: LoopHarness) -> None:
    running = bench.start({bench.heard: _answer(bench)})
    await running.ready()

    assert not any(running.ownership.owns(key.encode(), bench.answered.topic) for key in KEYS)


async def test_equal_partitions_of_all_topics_go_to_one_instance(bench: LoopHarness) -> None:
    routes: Routes = {bench.heard: _answer(bench), bench.answered: _nothing}
    first, second = bench.start(routes), bench.start(routes)
    await eventually(
        lambda: len(first.ownership.partitions) == len(second.ownership.partitions) == PARTITIONS
    )

    for running in (first, second):
        numbers = {
            topic: {each.partition for each in running.ownership.partitions if each.topic == topic}
            for topic in _topics(bench)
        }
        assert numbers[bench.heard.topic] == numbers[bench.answered.topic]


async def test_instances_that_come_and_go_under_load_lose_nothing_and_keep_every_keys_order(
    bench: LoopHarness,
) -> None:
    first_heard: dict[str, list[int]] = defaultdict(list)

    async def on_heard(message: Said) -> Sequence[Message]:
        await asyncio.sleep(0)
        number = int(message.what)
        if number not in first_heard[message.who]:
            first_heard[message.who].append(number)
        return []

    async def speak() -> None:
        for number in range(100):
            await bench.producer.publish_all([said(bench.heard, key, number) for key in KEYS])

    first = bench.start({bench.heard: on_heard})
    speaking = asyncio.create_task(speak())
    await first.ready()
    second = bench.start({bench.heard: on_heard})
    await shared_by(first, second)
    await first.stop()
    third = bench.start({bench.heard: on_heard})
    await shared_by(second, third)
    await speaking

    await bench.passed(100 * len(KEYS))
    assert all(first_heard[key] == list(range(100)) for key in KEYS)


async def test_what_a_handler_returns_after_its_partition_was_given_back_is_dropped_and_handled_again(
    bench: LoopHarness,
) -> None:
    gate = asyncio.Event()
    calls = 0

    async def on_heard(message: Said) -> Sequence[Message]:
        nonlocal calls
        calls += 1
        if calls <= len(KEYS):
            await gate.wait()
        return [said(bench.answered, message.who, f"call {calls}")]

    for key in KEYS:
        await bench.say(key, "hello")
    first = bench.start({bench.heard: on_heard}, revocation_timeout_ms=100)
    await eventually(lambda: calls == len(KEYS))
    second = bench.start({bench.heard: on_heard})
    await shared_by(first, second)
    gate.set()

    await bench.passed(len(KEYS))
    await first.stop()
    await second.stop()
    assert calls == 2 * len(KEYS), "every message was handled twice"
    assert len(await bench.answers(len(KEYS))) == len(KEYS), "and answered once"


async def test_a_key_that_backs_off_does_not_hold_up_the_hand_over(bench: LoopHarness) -> None:
    well = asyncio.Event()

    async def on_heard(_: Said) -> Sequence[Message]:
        if not well.is_set():
            raise Transient("not now")
        return []

    for key in KEYS:
        await bench.say(key, "hello")
    long_backoff = Backoff(first_s=600, max_s=600)
    first = bench.start({bench.heard: on_heard}, backoff=long_backoff, revocation_timeout_ms=60_000)
    await first.ready()
    second = bench.start({bench.heard: on_heard}, backoff=long_backoff)
    await shared_by(first, second)
    well.set()
    await first.stop()
    third = bench.start({bench.heard: on_heard})
    await second.stop()
    await third.ready()

    await bench.passed(len(KEYS))


async def test_a_killed_instance_is_evicted_and_its_messages_are_handled_by_another(
    bench: LoopHarness,
) -> None:
    async with member(bench, "killed") as killed:
        for key in KEYS:
            await bench.say(key, "hello")
        await bench.answers(len(KEYS))
        await bench.say("anna", "hang")
        await bench.passed(len(KEYS))

        killed.kill()
        await killed.wait()
        bench.start({bench.heard: _answer(bench)})

        assert "survivor heard hang" in await bench.answers(len(KEYS) + 1)
        await bench.passed(len(KEYS) + 1)


async def test_a_static_member_that_comes_back_in_time_moves_no_partition(
    bench: LoopHarness,
) -> None:
    stays = bench.start({bench.heard: _answer(bench)}, group_instance_id="stays")
    await stays.ready()
    leaves = bench.start({bench.heard: _answer(bench)}, group_instance_id="comes-back")
    await shared_by(stays, leaves)
    held, revocations = stays.ownership.partitions, stays.ownership.revocations

    await leaves.stop()
    comes_back = bench.start({bench.heard: _answer(bench)}, group_instance_id="comes-back")
    await shared_by(stays, comes_back)
    for key in KEYS:
        await bench.say(key, "hello")
    await bench.passed(len(KEYS))

    assert stays.ownership.partitions == held
    assert stays.ownership.revocations == revocations, (
        "the one that stayed never gave anything back"
    )


async def test_sigterm_ends_a_service_with_status_0_and_a_bug_with_status_1(
    bench: LoopHarness,
) -> None:
    async with member(bench, "one") as one, asyncio.timeout(20):
        await bench.say("anna", "hello")
        assert await bench.answers(1) == ["one heard hello"]
        one.send_signal(signal.SIGTERM)
        assert await one.wait() == 0
    async with member(bench, "two") as two, asyncio.timeout(20):
        await bench.say("anna", "a bug")
        assert await two.wait() == 1
    await bench.passed(1)


async def test_a_service_says_which_topics_are_missing(bench: LoopHarness) -> None:
    bench.answered.topic = "never-created"
    async with member(bench, "one") as one, asyncio.timeout(20):
        assert one.stderr is not None
        said_why = (await one.stderr.read()).decode()

        assert await one.wait() == 1
    assert (
        "these topics do not exist: never-created. Create them with `slipstream topics apply`"
        in said_why
    )
    assert "Traceback" not in said_why


@asynccontextmanager
async def member(bench: LoopHarness, name: str) -> AsyncIterator[Process]:
    """An instance in a process of its own."""
    environment = {
        "PATH": "",
        "KAFKA_BOOTSTRAP_SERVERS": bench.settings.bootstrap_servers,
        "KAFKA_SESSION_TIMEOUT_MS": "6000",
        "KAFKA_DRAIN_TIMEOUT_MS": "1000",
    }
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.integration.streams.member",
            name,
            bench.group,
            bench.heard.topic,
            bench.answered.topic,
        ),
        cwd=Path(__file__).parents[3],
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _answer(bench: LoopHarness) -> Handle:
    async def on_heard(message: Said) -> Sequence[Message]:
        return [said(bench.answered, message.who, f"survivor heard {message.what}")]

    return on_heard


async def _nothing(_: Said) -> Sequence[Message]:
    return []


def _topics(bench: LoopHarness) -> tuple[str, str]:
    return bench.heard.topic, bench.answered.topic
