"""Batches on real Kafka: order, rebalances, and an instance that is killed."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import pytest

from shared.messages.base import Message
from shared.streams.routes import BatchRoutes, Outcome, Received, Routes
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import ExampleMessage, LoopHarness, build_message
from tests.integration.streams.test_groups import KEYS, member, wait_until_shared_by

pytestmark = pytest.mark.integration

Batch = Sequence[Received[ExampleMessage]]


async def never(_: ExampleMessage) -> Sequence[Message]:
    raise AssertionError("the batch handler leaves nothing to the ordinary route")


async def test_each_message_of_a_batch_is_answered_and_committed(harness: LoopHarness) -> None:
    sizes: list[int] = []

    async def on_requests(batch: Batch) -> Sequence[Outcome]:
        sizes.append(len(batch))
        await asyncio.sleep(0)
        return [
            [build_message(harness.reply, message.sender, message.text)]
            for message in (received.message for received in batch)
        ]

    await harness.producer.publish_all(
        [build_message(harness.request, f"key-{number % 50}", number) for number in range(2_000)]
    )
    harness.start({harness.request: never}, batch_routes={harness.request: on_requests})

    await harness.wait_for_commits(2_000)
    replies = await harness.fetch_replies(2_000)
    assert sorted(map(int, replies)) == list(range(2_000))
    for key in range(50):
        numbers = [int(each) for each in replies if int(each) % 50 == key]
        assert numbers == sorted(numbers), "the replies of a key are in the order of its messages"
    assert sum(sizes) == 2_000
    assert max(sizes) > 1


async def test_instances_with_batches_that_start_and_stop_under_load_lose_nothing(
    harness: LoopHarness,
) -> None:
    first_received: dict[str, list[int]] = defaultdict(list)

    async def on_requests(batch: Batch) -> Sequence[Outcome]:
        await asyncio.sleep(0)
        return [decide(received.message) for received in batch]

    def decide(message: ExampleMessage) -> Outcome:
        number = int(message.text)
        return (
            on_request(message) if number % 3 == 1 else None if number % 3 == 2 else note(message)
        )

    def note(message: ExampleMessage) -> Sequence[Message]:
        if (number := int(message.text)) not in first_received[message.sender]:
            first_received[message.sender].append(number)
        return []

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        await asyncio.sleep(0)
        return note(message)

    async def send_all() -> None:
        for number in range(100):
            await harness.producer.publish_all(
                [build_message(harness.request, key, number) for key in KEYS]
            )

    routes: Routes = {harness.request: on_request}
    batch_routes: BatchRoutes = {harness.request: on_requests}
    first = harness.start(routes, batch_routes=batch_routes)
    sending = asyncio.create_task(send_all())
    await first.wait_until_ready()
    second = harness.start(routes, batch_routes=batch_routes)
    await wait_until_shared_by(first, second)
    await first.stop()
    third = harness.start(routes, batch_routes=batch_routes)
    await wait_until_shared_by(second, third)
    await sending

    await harness.wait_for_commits(100 * len(KEYS))
    assert all(first_received[key] == list(range(100)) for key in KEYS)


async def test_a_batch_that_outlives_its_partitions_publishes_nothing(
    harness: LoopHarness,
) -> None:
    gate = asyncio.Event()
    calls = 0

    async def on_requests(batch: Batch) -> Sequence[Outcome]:
        nonlocal calls
        calls += len(batch)
        call = calls
        if call <= len(KEYS):
            await gate.wait()
        return [
            [build_message(harness.reply, received.message.sender, f"call {call}")]
            for received in batch
        ]

    batch_routes: BatchRoutes = {harness.request: on_requests}
    for key in KEYS:
        await harness.send(key, "hello")
    first = harness.start(
        {harness.request: never}, batch_routes=batch_routes, revocation_timeout_ms=100
    )
    await eventually(lambda: calls > 0)
    second = harness.start({harness.request: never}, batch_routes=batch_routes)
    await wait_until_shared_by(first, second)
    gate.set()

    await harness.wait_for_commits(len(KEYS))
    await first.stop()
    await second.stop()
    assert len(await harness.fetch_replies(len(KEYS))) == len(KEYS), "each has one reply"


async def test_a_killed_instance_with_batches_is_replaced(harness: LoopHarness) -> None:
    async with member(harness, "killed", "batches") as killed:
        for key in KEYS:
            await harness.send(key, "hello")
        await harness.fetch_replies(len(KEYS))
        await harness.send("anna", "hang", "after it")
        await harness.wait_for_commits(len(KEYS))

        killed.kill()
        await killed.wait()

        async def on_requests(batch: Batch) -> Sequence[Outcome]:
            return [
                [
                    build_message(
                        harness.reply, each.message.sender, f"survivor: {each.message.text}"
                    )
                ]
                for each in batch
            ]

        harness.start({harness.request: never}, batch_routes={harness.request: on_requests})

        replies = await harness.fetch_replies(len(KEYS) + 2)
        assert [each for each in replies if each.startswith("survivor")] == [
            "survivor: hang",
            "survivor: after it",
        ]
        await harness.wait_for_commits(len(KEYS) + 2)
