"""The message loop on real Kafka."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import pytest

from shared.messages.base import Message
from shared.testing.waiting import eventually
from tests.integration.streams.conftest import Bench, Said, said

pytestmark = pytest.mark.integration


async def test_what_a_handler_returns_is_produced_and_the_offset_moves(bench: Bench) -> None:
    async def on_heard(message: Said) -> Sequence[Message]:
        return [said(bench.answered, message.who, f"{message.what}!")]

    await bench.start({bench.heard: on_heard})
    for number in range(20):
        await bench.say(f"key-{number % 5}", number)

    answers = await bench.records(bench.answered.topic, 20)

    assert {answer.key for answer in answers} == {b"key-0", b"key-1", b"key-2", b"key-3", b"key-4"}
    await eventually(lambda: _is(bench, 20))


async def _is(bench: Bench, passed: int) -> bool:
    return await bench.committed() == passed


async def test_messages_of_a_key_never_overlap_and_keep_their_order_under_load(bench: Bench) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    running: set[str] = set()

    async def on_heard(message: Said) -> Sequence[Message]:
        assert message.who not in running, "two messages of one key at once"
        running.add(message.who)
        await asyncio.sleep(0)
        running.remove(message.who)
        seen[message.who].append(int(message.what))
        return []

    await bench.producer.publish_all([said(bench.heard, f"key-{number % 50}", number) for number in range(5_000)])
    await bench.start({bench.heard: on_heard})

    await eventually(lambda: sum(map(len, seen.values())) == 5_000)
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    await eventually(lambda: _is(bench, 5_000))


async def test_a_slow_key_delays_nobody_else_in_its_partition(bench: Bench) -> None:
    gate = asyncio.Event()
    done: list[str] = []

    async def on_heard(message: Said) -> Sequence[Message]:
        if message.who == "slow":
            await gate.wait()
        done.append(message.who)
        return []

    await bench.say("slow", 0)
    for number in range(40):
        await bench.say(f"key-{number}", number)
    running = await bench.start({bench.heard: on_heard})

    await eventually(lambda: len(done) == 40)
    await running.ready()
    assert "slow" not in done
    assert await bench.committed() < 41
    gate.set()
    await eventually(lambda: _is(bench, 41))
