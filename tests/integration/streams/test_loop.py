"""One instance of a service: order, independence, failure, and what is passed."""

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
from tests.integration.streams.loop_harness import LoopHarness, Said, records, said

pytestmark = pytest.mark.integration

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_what_a_handler_returns_is_produced_and_then_the_offset_moves(
    bench: LoopHarness,
) -> None:
    async def on_heard(message: Said) -> Sequence[Message]:
        return [said(bench.answered, message.who, f"{message.what}!")]

    bench.start({bench.heard: on_heard})
    for number in range(20):
        await bench.say(f"key-{number % 5}", number)

    assert set(await bench.answers(20)) == {f"{number}!" for number in range(20)}
    await bench.passed(20)


async def test_messages_of_a_key_never_overlap_and_keep_their_order_under_load(
    bench: LoopHarness,
) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    running: set[str] = set()

    async def on_heard(message: Said) -> Sequence[Message]:
        assert message.who not in running, "two messages of one key at once"
        running.add(message.who)
        await asyncio.sleep(0)
        running.remove(message.who)
        seen[message.who].append(int(message.what))
        return []

    await bench.producer.publish_all(
        [said(bench.heard, f"key-{number % 50}", number) for number in range(5_000)]
    )
    bench.start({bench.heard: on_heard})

    await bench.passed(5_000)
    assert sum(map(len, seen.values())) == 5_000
    assert all(numbers == sorted(numbers) for numbers in seen.values())


async def test_messages_of_a_key_never_overlap_across_topics(bench: LoopHarness) -> None:
    running: set[str] = set()
    most = 0

    async def on_either(message: Said) -> Sequence[Message]:
        nonlocal most
        assert message.who not in running, "two messages of one key at once"
        running.add(message.who)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(message.who)
        return []

    kinds = (bench.heard, bench.answered)
    await bench.producer.publish_all(
        [said(kinds[number % 2], f"key-{number % 7}", number) for number in range(700)]
    )
    bench.start({bench.heard: on_either, bench.answered: on_either})

    await bench.passed(700)
    assert most > 1, "different keys do overlap"


async def test_a_slow_key_delays_nobody_else_in_its_partition(bench: LoopHarness) -> None:
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
    bench.start({bench.heard: on_heard})

    await eventually(lambda: len(done) == 40)
    assert "slow" not in done
    assert sum((await bench.committed()).values()) < 41
    gate.set()
    await bench.passed(41)


async def test_a_partition_with_too_much_unfinished_is_read_no_further_while_others_go_on(
    bench: LoopHarness,
) -> None:
    gate = asyncio.Event()
    done: set[str] = set()

    async def on_heard(message: Said) -> Sequence[Message]:
        if message.who == "slow":
            await gate.wait()
        done.add(message.who)
        return []

    # A fetch brings at most 1 MiB of a partition: about fifty of these.
    await bench.producer.publish_all([said(bench.heard, "slow", "x" * 20_000) for _ in range(400)])
    bench.start({bench.heard: on_heard}, max_unfinished_per_partition=10)
    await eventually(lambda: _unfinished(bench) >= 10)
    await bench.producer.publish_all(
        [said(bench.heard, f"key-{number}", number) for number in range(40)]
    )

    # Every partition has some of the forty; those of the three that go on arrive.
    await eventually(lambda: len(done) >= 20)
    assert _unfinished(bench) < 100
    gate.set()
    await bench.passed(440)


def _unfinished(bench: LoopHarness) -> float:
    labels = [{"topic": bench.heard.topic, "partition": str(partition)} for partition in range(4)]
    return max(
        metrics.REGISTRY.get_sample_value("slipstream_messages_unfinished", each) or 0
        for each in labels
    )


async def test_a_message_says_what_it_is_and_which_trace_it_belongs_to_exactly_once(
    bench: LoopHarness,
) -> None:
    async def on_heard(message: Said) -> Sequence[Message]:
        return [said(bench.answered, message.who, "fine")]

    bench.start({bench.heard: on_heard})
    asked = encode(said(bench.heard, "anna", "how are you?"))
    await bench.send_raw(asked.key, asked.value, **dict(asked.headers), traceparent=TRACEPARENT)

    (answer,) = await records(bench.settings, bench.answered.topic, 1)
    assert sorted(answer.headers) == [
        ("message_id", b"anna:fine"),
        ("traceparent", TRACEPARENT),
        ("type", b"Answered"),
        ("version", b"1"),
    ]


async def test_a_field_that_a_newer_release_added_is_no_reason_to_stop(bench: LoopHarness) -> None:
    heard: list[str] = []

    async def on_heard(message: Said) -> Sequence[Message]:
        heard.append(message.what)
        return []

    bench.start({bench.heard: on_heard})
    newer = encode(said(bench.heard, "anna", "hello"))
    await bench.send_raw(
        newer.key, newer.value.replace(b"{", b'{"mood":"good",', 1), **dict(newer.headers)
    )

    await bench.passed(1)
    assert heard == ["hello"]


async def test_what_can_never_be_handled_is_parked_with_the_reason_and_passed(
    bench: LoopHarness,
) -> None:
    async def on_heard(message: Said) -> Sequence[Message]:
        if message.what == "nonsense":
            raise InvalidMessage("that is nonsense")
        return [said(bench.answered, message.who, "fine")]

    good = encode(said(bench.heard, "anna", "hello"))
    bench.start({bench.heard: on_heard})
    await bench.send_raw(b"anna", b"\xff not json", type=b"Heard", version=b"1")
    await bench.send_raw(b"anna", good.value)
    await bench.send_raw(b"anna", good.value, type=b"Heard")
    await bench.send_raw(b"berta", good.value, **dict(good.headers))
    await bench.send_raw(None, good.value, **dict(good.headers))
    await bench.say("anna", "nonsense", "hello")

    letters = {letter.reason: letter for letter in await bench.dead_letters(6)}
    assert set(letters) == {
        "not a Heard: value: json_invalid",
        "the record has no header 'type'",
        "the record has no readable header 'version'",
        "the record's key is not that of its Heard: its order would not be kept",
        "that is nonsense",
    }
    broken = letters["not a Heard: value: json_invalid"]
    assert (broken.record_key, broken.record_value, broken.record_type) == (
        b"anna",
        b"\xff not json",
        "Heard",
    )
    assert broken.source_topic == bench.heard.topic
    assert await bench.answers(1) == ["fine"]
    await bench.passed(7)


async def test_more_dead_letters_than_can_be_an_accident_stop_the_process(
    bench: LoopHarness,
) -> None:
    async def on_heard(_: Said) -> Sequence[Message]:
        raise InvalidMessage("a release that understands nothing")

    await bench.say("anna", *range(10))
    running = bench.start({bench.heard: on_heard}, dead_letters_per_minute=3)

    assert "TooManyDeadLetters" in await running.failure()
    await bench.passed(3)
    assert len(await bench.dead_letters(3)) == 3


async def test_a_bug_stops_the_process_unpassed_and_tells_no_payload(
    bench: LoopHarness, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_heard(message: Said) -> Sequence[Message]:
        raise KeyError(message.what)

    await bench.say("anna", "the password is swordfish")
    running = bench.start({bench.heard: on_heard})

    failure = await running.failure()

    assert f"{bench.heard.topic}/" in failure
    assert "@0 stopped the process with KeyError" in failure
    assert "on_heard" in caplog.text, "the log says where it was raised"
    assert "swordfish" not in failure + caplog.text
    assert await bench.committed() == {}


async def test_a_stray_cancellation_stops_the_process_instead_of_blocking_the_key_for_ever(
    bench: LoopHarness,
) -> None:
    async def on_heard(_: Said) -> Sequence[Message]:
        raise asyncio.CancelledError

    await bench.say("anna", 1)
    running = bench.start({bench.heard: on_heard})

    assert "CancelledError" in await running.failure()
    assert await bench.committed() == {}


async def test_a_transient_failure_is_tried_again_while_its_key_alone_waits(
    bench: LoopHarness,
) -> None:
    attempts = 0
    order: list[str] = []

    async def on_heard(message: Said) -> Sequence[Message]:
        nonlocal attempts
        if message.who == "ill" and message.what == "1":
            attempts += 1
            if len(order) < 40 or attempts < 4:
                raise Transient("the doctor is out")
        order.append(f"{message.who}:{message.what}")
        return []

    await bench.say("ill", 1, 2)
    for number in range(40):
        await bench.say(f"key-{number}", number)
    bench.start({bench.heard: on_heard})

    await bench.passed(42)
    assert attempts >= 4
    assert order[-2:] == ["ill:1", "ill:2"], "everybody else was first, and the key kept its order"


async def test_an_ignored_type_is_passed_without_being_decoded(bench: LoopHarness) -> None:
    bench.start({bench.heard: ignored})
    await bench.send_raw(b"anna", b"\xff not json", type=b"Heard", version=b"1")

    await bench.passed(1)


class BrokenProducer:
    """Kafka never acknowledges."""

    def __init__(self, error: KafkaError) -> None:
        self.error = error

    async def publish_all(self, messages: Sequence[Message]) -> None:
        if messages:
            raise self.error


async def test_a_message_whose_outputs_were_not_acknowledged_is_not_passed(
    bench: LoopHarness,
) -> None:
    async def on_heard(message: Said) -> Sequence[Message]:
        return [said(bench.answered, message.who, "fine")] if message.what == "2" else []

    await bench.say("anna", 1, 2, 3)
    running = bench.start(
        {bench.heard: on_heard}, producer=BrokenProducer(MessageSizeTooLargeError())
    )

    assert "MessageSizeTooLargeError" in await running.failure()
    await bench.passed(1)


async def test_a_stop_lets_what_runs_finish_and_starts_nothing_new(bench: LoopHarness) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def on_heard(message: Said) -> Sequence[Message]:
        entered.set()
        await gate.wait()
        return [said(bench.answered, message.who, message.what)]

    await bench.say("anna", "first", "second")
    running = bench.start({bench.heard: on_heard})
    await entered.wait()
    running.loop.stop()
    asyncio.get_running_loop().call_later(0.1, gate.set)
    await running.task

    assert await bench.answers(1) == ["first"]
    await bench.passed(1)


async def test_a_stop_does_not_wait_for_ever_and_passes_nothing_that_did_not_finish(
    bench: LoopHarness,
) -> None:
    entered = asyncio.Event()

    async def on_heard(message: Said) -> Sequence[Message]:
        if message.what == "stuck":
            entered.set()
            await asyncio.Event().wait()
        return [said(bench.answered, message.who, message.what)]

    await bench.say("anna", "fine", "stuck")
    running = bench.start({bench.heard: on_heard}, drain_timeout_ms=100)
    await entered.wait()

    await running.stop()

    await bench.passed(1)
    assert await bench.answers(1) == ["fine"]
