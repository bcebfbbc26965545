"""Several instances of a service: the assignment of partitions, rebalances, and lost instances."""

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
from aiokafka.protocol.group import LeaveGroupRequest

from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.streams.backoff import Backoff
from shared.streams.routes import Handle, Routes
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import (
    PARTITIONS,
    ExampleMessage,
    LoopHarness,
    RunningLoop,
    build_message,
)

pytestmark = pytest.mark.integration

KEYS = [f"key-{number}" for number in range(40)]


async def wait_until_shared_by(*instances: RunningLoop) -> None:
    """Wait until every partition is assigned to one of the instances, and each has some."""

    def is_shared() -> bool:
        held = [instance.ownership.partitions for instance in instances]
        return (
            all(held)
            and len(frozenset[TopicPartition]().union(*held)) == sum(map(len, held)) == PARTITIONS
        )

    await eventually(is_shared)


async def test_each_key_belongs_to_exactly_one_instance_which_gets_its_messages(
    harness: LoopHarness,
) -> None:
    received_by: dict[str, set[str]] = defaultdict(set)

    def instance(name: str) -> RunningLoop:
        async def on_request(message: ExampleMessage) -> Sequence[Message]:
            received_by[message.sender].add(name)
            return []

        return harness.start({harness.request: on_request})

    first, second = instance("first"), instance("second")
    await wait_until_shared_by(first, second)
    owner = {
        key: "first" if first.ownership.owns(key.encode(), harness.request.topic) else "second"
        for key in KEYS
    }
    assert all(
        (owner[key] == "second") == second.ownership.owns(key.encode(), harness.request.topic)
        for key in KEYS
    )

    for key in KEYS:
        await harness.send(key, "hello")

    await harness.wait_for_commits(len(KEYS))
    assert set(owner.values()) == {"first", "second"}
    assert received_by == {key: {name} for key, name in owner.items()}


async def test_no_instance_owns_keys_of_a_topic_that_is_not_consumed(harness: LoopHarness) -> None:
    running = harness.start({harness.request: _reply_handler(harness)})
    await running.wait_until_ready()

    assert not any(running.ownership.owns(key.encode(), harness.reply.topic) for key in KEYS)


async def test_the_same_partition_number_of_all_topics_is_assigned_to_one_instance(
    harness: LoopHarness,
) -> None:
    routes: Routes = {harness.request: _reply_handler(harness), harness.reply: _no_output}
    first, second = harness.start(routes), harness.start(routes)
    await eventually(
        lambda: len(first.ownership.partitions) == len(second.ownership.partitions) == PARTITIONS
    )

    for running in (first, second):
        numbers = {
            topic: {each.partition for each in running.ownership.partitions if each.topic == topic}
            for topic in _topics(harness)
        }
        assert numbers[harness.request.topic] == numbers[harness.reply.topic]


async def test_instances_that_start_and_stop_under_load_lose_nothing_and_keep_the_order_of_keys(
    harness: LoopHarness,
) -> None:
    first_received: dict[str, list[int]] = defaultdict(list)

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        await asyncio.sleep(0)
        number = int(message.text)
        if number not in first_received[message.sender]:
            first_received[message.sender].append(number)
        return []

    async def send_all() -> None:
        for number in range(100):
            await harness.producer.publish_all(
                [build_message(harness.request, key, number) for key in KEYS]
            )

    first = harness.start({harness.request: on_request})
    sending = asyncio.create_task(send_all())
    await first.wait_until_ready()
    second = harness.start({harness.request: on_request})
    await wait_until_shared_by(first, second)
    await first.stop()
    third = harness.start({harness.request: on_request})
    await wait_until_shared_by(second, third)
    await sending

    await harness.wait_for_commits(100 * len(KEYS))
    assert all(first_received[key] == list(range(100)) for key in KEYS)


async def test_output_after_the_partition_was_revoked_is_dropped_and_the_message_redelivered(
    harness: LoopHarness,
) -> None:
    gate = asyncio.Event()
    calls = 0

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        nonlocal calls
        calls += 1
        if calls <= len(KEYS):
            await gate.wait()
        return [build_message(harness.reply, message.sender, f"call {calls}")]

    for key in KEYS:
        await harness.send(key, "hello")
    first = harness.start({harness.request: on_request}, revocation_timeout_ms=100)
    await eventually(lambda: calls == len(KEYS))
    second = harness.start({harness.request: on_request})
    await wait_until_shared_by(first, second)
    gate.set()

    await harness.wait_for_commits(len(KEYS))
    await first.stop()
    await second.stop()
    assert calls == 2 * len(KEYS), "every message was handled twice"
    assert len(await harness.fetch_replies(len(KEYS))) == len(KEYS), "and has one reply"


async def test_a_key_that_waits_for_a_retry_does_not_delay_the_rebalance(
    harness: LoopHarness,
) -> None:
    recovered = asyncio.Event()

    async def on_request(_: ExampleMessage) -> Sequence[Message]:
        if not recovered.is_set():
            raise Transient("not now")
        return []

    for key in KEYS:
        await harness.send(key, "hello")
    long_backoff = Backoff(first_s=600, max_s=600)
    first = harness.start(
        {harness.request: on_request}, backoff=long_backoff, revocation_timeout_ms=60_000
    )
    await first.wait_until_ready()
    second = harness.start({harness.request: on_request}, backoff=long_backoff)
    await wait_until_shared_by(first, second)
    recovered.set()
    await first.stop()
    third = harness.start({harness.request: on_request})
    await second.stop()
    await third.wait_until_ready()

    await harness.wait_for_commits(len(KEYS))


async def test_a_killed_instance_is_removed_and_another_handles_its_messages(
    harness: LoopHarness,
) -> None:
    async with member(harness, "killed") as killed:
        for key in KEYS:
            await harness.send(key, "hello")
        await harness.fetch_replies(len(KEYS))
        await harness.send("anna", "hang")
        await harness.wait_for_commits(len(KEYS))

        killed.kill()
        await killed.wait()
        harness.start({harness.request: _reply_handler(harness)})

        assert "survivor received hang" in await harness.fetch_replies(len(KEYS) + 1)
        await harness.wait_for_commits(len(KEYS) + 1)


async def test_a_static_member_that_restarts_in_time_moves_no_partition(
    harness: LoopHarness,
) -> None:
    remaining = harness.start(
        {harness.request: _reply_handler(harness)}, group_instance_id="remaining"
    )
    await remaining.wait_until_ready()
    restarting = harness.start(
        {harness.request: _reply_handler(harness)}, group_instance_id="restarts"
    )
    await wait_until_shared_by(remaining, restarting)
    held, revocations = remaining.ownership.partitions, remaining.ownership.revocations

    await restarting.stop()
    restarted = harness.start(
        {harness.request: _reply_handler(harness)}, group_instance_id="restarts"
    )
    await wait_until_shared_by(remaining, restarted)
    for key in KEYS:
        await harness.send(key, "hello")
    await harness.wait_for_commits(len(KEYS))

    assert remaining.ownership.partitions == held
    assert remaining.ownership.revocations == revocations, (
        "no partition of the other instance was revoked"
    )


async def test_of_two_processes_with_one_name_the_first_ends_and_says_why(
    harness: LoopHarness,
) -> None:
    async with (
        member(harness, "first", group_instance_id="twice") as first,
        asyncio.timeout(120),
    ):
        await harness.send("anna", "hello")
        assert await harness.fetch_replies(1) == ["first received hello"]
        async with member(harness, "second", group_instance_id="twice"):
            assert await first.wait() == 1
            assert first.stderr is not None
            stderr = (await first.stderr.read()).decode()

            for key in KEYS:
                await harness.send(key, "again")
            replies = await harness.fetch_replies(1 + len(KEYS))
            await harness.wait_for_commits(1 + len(KEYS))

    assert "another process with KAFKA_GROUP_INSTANCE_ID=twice has joined the group" in stderr
    assert "Traceback" not in stderr
    assert sorted(replies) == ["first received hello"] + ["second received again"] * len(KEYS)


async def test_an_instance_that_lost_its_membership_to_nobody_joins_again(
    harness: LoopHarness,
) -> None:
    """As after a pause that was longer than the session."""
    running = harness.start({harness.request: _reply_handler(harness)}, group_instance_id="paused")
    # Its name is how the other one's begins.
    other = harness.start(
        {harness.request: _reply_handler(harness)}, group_instance_id="paused-not"
    )
    await wait_until_shared_by(running, other)
    coordinator = running.loop._consumer._coordinator
    await coordinator._send_req(LeaveGroupRequest(harness.group, coordinator.member_id))
    revocations = running.ownership.revocations

    await eventually(lambda: running.ownership.revocations > revocations)
    await wait_until_shared_by(running, other)

    assert not running.task.done()


async def test_sigterm_ends_a_service_with_status_0_and_a_bug_with_status_1(
    harness: LoopHarness,
) -> None:
    async with member(harness, "one") as one, asyncio.timeout(120):
        await harness.send("anna", "hello")
        assert await harness.fetch_replies(1) == ["one received hello"]
        one.send_signal(signal.SIGTERM)
        assert await one.wait() == 0
    async with member(harness, "two") as two, asyncio.timeout(120):
        await harness.send("anna", "a bug")
        assert await two.wait() == 1
    await harness.wait_for_commits(1)


async def test_a_service_that_cannot_start_names_the_missing_topics(harness: LoopHarness) -> None:
    harness.reply.topic = "never-created"
    async with member(harness, "one") as one, asyncio.timeout(120):
        assert one.stderr is not None
        stderr = (await one.stderr.read()).decode()

        assert await one.wait() == 1
    assert (
        "these topics do not exist: never-created. Create them with `slipstream topics apply`"
        in stderr
    )
    assert "Traceback" not in stderr


@asynccontextmanager
async def member(
    harness: LoopHarness, name: str, *options: str, group_instance_id: str = ""
) -> AsyncIterator[Process]:
    """Run an instance in a process of its own."""
    environment = {
        "PATH": "",
        "KAFKA_BOOTSTRAP_SERVERS": harness.settings.bootstrap_servers,
        "KAFKA_SESSION_TIMEOUT_MS": "6000",
        "KAFKA_DRAIN_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_INSTANCE_ID": group_instance_id,
    }
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.integration.streams.member",
            name,
            harness.group,
            harness.request.topic,
            harness.reply.topic,
            *options,
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


def _reply_handler(harness: LoopHarness) -> Handle:
    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        return [build_message(harness.reply, message.sender, f"survivor received {message.text}")]

    return on_request


async def _no_output(_: ExampleMessage) -> Sequence[Message]:
    return []


def _topics(harness: LoopHarness) -> tuple[str, str]:
    return harness.request.topic, harness.reply.topic
