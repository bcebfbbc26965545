"""Whatever record is on a topic, the service handles it, or parks it with a reason that contains
none of its content. No record stops a service.
"""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import note

from shared.messages.base import Message
from shared.messages.dead_letters import DeadLetter
from shared.streams.backoff import Backoff
from shared.streams.codec import encode
from shared.streams.dead_letter_store import BlockedKeys
from shared.streams.dead_letters import DeadLetterLimit
from shared.streams.key_queues import Delivery
from shared.streams.message_processor import MessageProcessor
from shared.streams.routes import Output
from shared.testing.dead_letters import MemoryDeadLetters
from tests.batches import list_messages
from tests.unit.fuzz.fuzzing import TRIED_INPUTS, fuzzed
from tests.unit.fuzz.mutations import SECRET, mutate
from tests.unit.fuzz.services import ROUTES_BY_SERVICE
from tests.unit.messages.samples import SAMPLES
from tests.unit.streams.fake_kafka import FakeRecord

pytestmark = pytest.mark.timeout(3600)

KEYS = (None, b"", b"\xff\xfe", b"another key")
HEADER_VALUES: tuple[Any, ...] = (
    None,
    b"",
    b"\xff",
    b"-1",
    b"0",
    b"2",
    b"1e3",
    b"9" * 5000,
    b"NaN",
    b"DeadLetter",
    b"\x00",
)
TIMESTAMPS = (0, -1, -(2**63), 2**63 - 1, 253402300800000)
"""A topic can be configured to keep the timestamp that the producer sent."""


class ServiceUnderTest:
    """One service's message handling, with stores and producer in memory."""

    def __init__(self, service: str) -> None:
        self.dead_letter_store = MemoryDeadLetters()
        self.produced, self.finished = list[Message](), list[Delivery]()
        self.routes = ROUTES_BY_SERVICE[service]()
        self.processor = MessageProcessor(
            service,
            self.routes,
            producer=self,
            dead_letters=self.dead_letter_store,
            blocked_keys=BlockedKeys(self.dead_letter_store, service),
            on_finished=self.finished.append,
            dead_letter_limit=DeadLetterLimit(limit=10**9, window_s=60),
            backoff=Backoff(),
            clock=lambda: 0,
        )

    async def publish_all(self, outputs: Sequence[Output]) -> None:
        messages = list_messages(outputs)
        for message in messages:
            assert encode(message).value
        self.produced += messages


class FakeAssignment:
    """A partition assignment that ends as soon as something must wait."""

    ended = False

    def start_handling(self, offset: int) -> None:
        """Nothing to record."""

    def stop_handling(self, offset: int) -> None:
        """Nothing to record."""

    async def wait_before_retry(self, offset: int, delay: object) -> bool:
        return True


@pytest.mark.parametrize("service", ROUTES_BY_SERVICE)
@fuzzed
async def test_every_mutated_record_is_handled_or_parked(service: str, rng: Random) -> None:
    tested, assignment = ServiceUnderTest(service), FakeAssignment()
    for offset in range(rng.randint(1, 3)):
        record = a_record(
            rng, [message for message, _ in SAMPLES if type(message) in tested.routes], offset
        )
        note(str(record))
        TRIED_INPUTS[f"records of {service}"] += 1
        finished_before, parked_before = len(tested.finished), len(tested.dead_letter_store.entries)
        await tested.processor.process(Delivery(assignment, record))  # type: ignore[arg-type]

        parked = tested.dead_letter_store.entries[parked_before:]
        dead_letters = [
            message
            for message in tested.produced
            if isinstance(message, DeadLetter) and message.source_offset == offset
        ]
        assert len(parked) == len(dead_letters)
        assert all(
            each.reason and SECRET not in each.reason and "\x00" not in each.reason
            for each in parked
        )
        assert len(tested.finished) == finished_before + 1 or not parked


def a_record(rng: Random, samples: Sequence[Message], offset: int) -> FakeRecord:
    message = rng.choice(samples)
    sent = encode(message)
    mutated = mutate(rng, [json.loads(sent.value)]).encode("utf-8", "surrogatepass")
    key = rng.choice(KEYS) if rng.randint(0, 7) == 0 else sent.key
    headers: list[tuple[str, Any]] = [
        (name, rng.choice(HEADER_VALUES) if rng.randint(0, 9) == 0 else value)
        for name, value in sent.headers
    ]
    headers += [("traceparent", rng.choice(HEADER_VALUES))] if rng.randint(0, 3) == 0 else []
    return FakeRecord(
        topic=sent.topic,
        partition=0,
        offset=offset,
        timestamp=rng.choice(TIMESTAMPS) if rng.randint(0, 9) == 0 else 1790272257115,
        key=key,
        value=rng.choice((None, b"", b"\xff")) if rng.randint(0, 19) == 0 else mutated,
        headers=headers,
    )
