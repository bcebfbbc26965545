"""One instance of a service: order, concurrency of keys, failures, and committed offsets."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from shared.domain.errors import InvalidMessage, Transient
from shared.messages.base import Message
from shared.observe import metrics
from shared.streams.codec import encode
from shared.streams.routes import ignored
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import (
    ExampleMessage,
    LoopHarness,
    build_message,
    fetch_records,
)

pytestmark = pytest.mark.integration

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_the_offset_is_committed_after_the_output_of_the_handler_is_published(
    harness: LoopHarness,
) -> None:
    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        return [build_message(harness.reply, message.sender, f"{message.text}!")]

    harness.start({harness.request: on_request})
    for number in range(20):
        await harness.send(f"key-{number % 5}", number)

    assert set(await harness.fetch_replies(20)) == {f"{number}!" for number in range(20)}
    await harness.wait_for_commits(20)


async def test_messages_of_a_key_never_overlap_and_keep_their_order_under_load(
    harness: LoopHarness,
) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    running: set[str] = set()

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        assert message.sender not in running, "two messages of one key at the same time"
        running.add(message.sender)
        await asyncio.sleep(0)
        running.remove(message.sender)
        seen[message.sender].append(int(message.text))
        return []

    await harness.producer.publish_all(
        [build_message(harness.request, f"key-{number % 50}", number) for number in range(5_000)]
    )
    harness.start({harness.request: on_request})

    await harness.wait_for_commits(5_000)
    assert sum(map(len, seen.values())) == 5_000
    assert all(numbers == sorted(numbers) for numbers in seen.values())


async def test_messages_of_a_key_never_overlap_across_topics(harness: LoopHarness) -> None:
    running: set[str] = set()
    max_running = 0

    async def on_either(message: ExampleMessage) -> Sequence[Message]:
        nonlocal max_running
        assert message.sender not in running, "two messages of one key at the same time"
        running.add(message.sender)
        max_running = max(max_running, len(running))
        await asyncio.sleep(0)
        running.remove(message.sender)
        return []

    kinds = (harness.request, harness.reply)
    await harness.producer.publish_all(
        [build_message(kinds[number % 2], f"key-{number % 7}", number) for number in range(700)]
    )
    harness.start({harness.request: on_either, harness.reply: on_either})

    await harness.wait_for_commits(700)
    assert max_running > 1, "different keys do overlap"


async def test_a_slow_key_delays_no_other_key_of_its_partition(harness: LoopHarness) -> None:
    gate = asyncio.Event()
    done: list[str] = []

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        if message.sender == "slow":
            await gate.wait()
        done.append(message.sender)
        return []

    await harness.send("slow", 0)
    for number in range(40):
        await harness.send(f"key-{number}", number)
    harness.start({harness.request: on_request})

    await eventually(lambda: len(done) == 40)
    assert "slow" not in done
    assert sum((await harness.fetch_committed()).values()) < 41
    gate.set()
    await harness.wait_for_commits(41)


async def test_a_long_queue_of_one_key_delays_no_other_key_of_its_partition(
    harness: LoopHarness,
) -> None:
    gate = asyncio.Event()
    done: set[str] = set()

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        if message.sender == "slow":
            await gate.wait()
        done.add(message.sender)
        return []

    await harness.producer.publish_all(
        [build_message(harness.request, "slow", f"{number}" * 200) for number in range(3_000)]
    )
    await harness.producer.publish_all(
        [build_message(harness.request, f"key-{number}", number) for number in range(40)]
    )
    harness.start({harness.request: on_request}, max_unfinished_per_partition=10)

    await eventually(lambda: len(done) == 40)
    assert "slow" not in done
    gate.set()
    await harness.wait_for_commits(3_040)


async def test_a_partition_with_too_many_unfinished_messages_is_paused_while_others_continue(
    harness: LoopHarness,
) -> None:
    gate = asyncio.Event()
    done: set[str] = set()

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        if message.sender == "slow":
            await gate.wait()
        done.add(message.sender)
        return []

    # A fetch brings at max_running 1 MiB of a partition: about fifty of these.
    await harness.producer.publish_all(
        [build_message(harness.request, "slow", "x" * 20_000) for _ in range(400)]
    )
    harness.start({harness.request: on_request}, max_unfinished=10, max_unfinished_per_partition=10)
    await eventually(lambda: _count_unfinished(harness) >= 10)
    await harness.producer.publish_all(
        [build_message(harness.request, f"key-{number}", number) for number in range(40)]
    )

    # Every partition has some of the forty; those of the other three partitions arrive.
    await eventually(lambda: len(done) >= 20)
    assert _count_unfinished(harness) < 100
    gate.set()
    await harness.wait_for_commits(440)


def _count_unfinished(harness: LoopHarness) -> float:
    labels = [
        {"topic": harness.request.topic, "partition": str(partition)} for partition in range(4)
    ]
    return max(
        metrics.REGISTRY.get_sample_value("slipstream_messages_unfinished", each) or 0
        for each in labels
    )


async def test_a_record_has_its_type_version_id_and_trace_exactly_once(
    harness: LoopHarness,
) -> None:
    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        return [build_message(harness.reply, message.sender, "fine")]

    harness.start({harness.request: on_request})
    sent = encode(build_message(harness.request, "anna", "how are you?"))
    await harness.send_raw(sent.key, sent.value, **dict(sent.headers), traceparent=TRACEPARENT)

    (reply,) = await fetch_records(harness.settings, harness.reply.topic, 1)
    assert sorted(reply.headers) == [
        ("message_id", b"anna:fine"),
        ("traceparent", TRACEPARENT),
        ("type", b"Reply"),
        ("version", b"1"),
    ]


async def test_a_field_that_a_newer_release_added_is_ignored(harness: LoopHarness) -> None:
    received: list[str] = []

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        received.append(message.text)
        return []

    harness.start({harness.request: on_request})
    newer = encode(build_message(harness.request, "anna", "hello"))
    await harness.send_raw(
        newer.key, newer.value.replace(b"{", b'{"colour":"red",', 1), **dict(newer.headers)
    )

    await harness.wait_for_commits(1)
    assert received == ["hello"]


async def test_what_can_never_be_handled_is_parked_with_the_reason_and_committed(
    harness: LoopHarness,
) -> None:
    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        if message.text == "nonsense":
            raise InvalidMessage("that is nonsense")
        return [build_message(harness.reply, message.sender, "fine")]

    good = encode(build_message(harness.request, "anna", "hello"))
    harness.start({harness.request: on_request})
    await harness.send_raw(b"anna", b"\xff not json", type=b"Request", version=b"1")
    await harness.send_raw(b"anna", good.value)
    await harness.send_raw(b"anna", good.value, type=b"Request")
    await harness.send_raw(b"berta", good.value, **dict(good.headers))
    await harness.send_raw(None, good.value, **dict(good.headers))
    await harness.send("anna", "nonsense", "hello")

    dead_letters = {each.reason: each for each in await harness.fetch_dead_letters(6)}
    assert set(dead_letters) == {
        "not a Request: value: json_invalid",
        "the record has no header 'type'",
        "the record has no readable header 'version'",
        "the record's key is not that of its Request: the order of the key would not be kept",
        "that is nonsense",
    }
    broken = dead_letters["not a Request: value: json_invalid"]
    assert (broken.record_key, broken.record_value, broken.record_type) == (
        b"anna",
        b"\xff not json",
        "Request",
    )
    assert broken.source_topic == harness.request.topic
    assert await harness.fetch_replies(1) == ["fine"]
    await harness.wait_for_commits(7)


async def test_more_dead_letters_than_the_limit_stop_the_process(
    harness: LoopHarness,
) -> None:
    async def on_request(_: ExampleMessage) -> Sequence[Message]:
        raise InvalidMessage("this release cannot handle anything")

    await harness.send("anna", *range(10))
    running = harness.start({harness.request: on_request}, dead_letters_per_minute=3)

    assert "TooManyDeadLetters" in await running.wait_for_failure()
    await harness.wait_for_commits(3)
    assert len(await harness.fetch_dead_letters(3)) == 3


async def test_a_bug_stops_the_process_without_a_commit_and_logs_no_payload(
    harness: LoopHarness, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        raise KeyError(message.text)

    await harness.send("anna", "the password is swordfish")
    running = harness.start({harness.request: on_request})

    failure = await running.wait_for_failure()

    assert f"{harness.request.topic}/" in failure
    assert "@0 stopped the process with KeyError" in failure
    assert "on_request" in caplog.text, "the log has the traceback"
    assert "swordfish" not in failure + caplog.text
    assert await harness.fetch_committed() == {}


async def test_a_stray_cancellation_stops_the_process_instead_of_blocking_the_key_forever(
    harness: LoopHarness,
) -> None:
    async def on_request(_: ExampleMessage) -> Sequence[Message]:
        raise asyncio.CancelledError

    await harness.send("anna", 1)
    running = harness.start({harness.request: on_request})

    assert "CancelledError" in await running.wait_for_failure()
    assert await harness.fetch_committed() == {}


async def test_a_transient_failure_is_retried_while_only_its_key_waits(
    harness: LoopHarness,
) -> None:
    attempts = 0
    order: list[str] = []

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        nonlocal attempts
        if message.sender == "failing" and message.text == "1":
            attempts += 1
            if len(order) < 40 or attempts < 4:
                raise Transient("not now")
        order.append(f"{message.sender}:{message.text}")
        return []

    await harness.send("failing", 1, 2)
    for number in range(40):
        await harness.send(f"key-{number}", number)
    harness.start({harness.request: on_request})

    await harness.wait_for_commits(42)
    assert attempts >= 4
    assert order[-2:] == ["failing:1", "failing:2"], (
        "all others came first, and the key kept its order"
    )


async def test_an_ignored_type_is_committed_without_being_decoded(harness: LoopHarness) -> None:
    harness.start({harness.request: ignored})
    await harness.send_raw(b"anna", b"\xff not json", type=b"Request", version=b"1")

    await harness.wait_for_commits(1)


class BrokenProducer:
    """A producer whose messages are never acknowledged."""

    def __init__(self, error: KafkaError) -> None:
        self.error = error

    async def publish_all(self, messages: Sequence[Message]) -> None:
        if messages:
            raise self.error


async def test_a_message_whose_outputs_were_not_acknowledged_is_not_committed(
    harness: LoopHarness,
) -> None:
    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        return [build_message(harness.reply, message.sender, "fine")] if message.text == "2" else []

    await harness.send("anna", 1, 2, 3)
    running = harness.start(
        {harness.request: on_request}, producer=BrokenProducer(MessageSizeTooLargeError())
    )

    assert "MessageSizeTooLargeError" in await running.wait_for_failure()
    await harness.wait_for_commits(1)


async def test_after_a_stop_running_handlers_finish_and_no_other_starts(
    harness: LoopHarness,
) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        started.set()
        await gate.wait()
        return [build_message(harness.reply, message.sender, message.text)]

    await harness.send("anna", "first", "second")
    running = harness.start({harness.request: on_request})
    await started.wait()
    running.loop.stop()
    asyncio.get_running_loop().call_later(0.1, gate.set)
    await running.task

    assert await harness.fetch_replies(1) == ["first"]
    await harness.wait_for_commits(1)


async def test_a_stop_has_a_timeout_and_commits_nothing_unfinished(
    harness: LoopHarness,
) -> None:
    started = asyncio.Event()

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        if message.text == "stuck":
            started.set()
            await asyncio.Event().wait()
        return [build_message(harness.reply, message.sender, message.text)]

    await harness.send("anna", "fine", "stuck")
    running = harness.start({harness.request: on_request}, drain_timeout_ms=100)
    await started.wait()

    await running.stop()

    await harness.wait_for_commits(1)
    assert await harness.fetch_replies(1) == ["fine"]
