"""What is published together waits for nothing of each other, and no error is lost."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from shared.streams.backoff import Backoff
from shared.streams.producer import Producer, Publication
from shared.streams.settings import KafkaSettings
from tests.unit.streams.test_loop_properties import a_task, settle


class FullPartition:
    """The part of AIOKafkaProducer that sends: a key's batch can be full, for which it waits."""

    def __init__(self) -> None:
        self.has_room = asyncio.Event()
        self.errors: list[Exception] = []
        """Raised instead of sending, one after another."""
        self.sent: list[bytes] = []

    async def send(self, _: str, value: bytes, *, key: bytes, **__: Any) -> asyncio.Future[None]:
        if key == b"full":
            await self.has_room.wait()
        if self.errors:
            raise self.errors.pop()
        self.sent.append(key)
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged


@pytest.fixture
def kafka() -> FullPartition:
    return FullPartition()


@pytest.fixture
def producer(kafka: FullPartition) -> Producer:
    settings = KafkaSettings(bootstrap_servers="none")
    producer = Producer(settings, backoff=Backoff(first_s=0.001, max_s=0.001))
    producer._kafka = kafka
    return producer


async def test_a_full_partition_holds_up_no_other(kafka: FullPartition, producer: Producer) -> None:
    acknowledged: list[str] = []
    publishing = asyncio.create_task(
        producer.publish_batch(
            [
                Publication([a_task(key, 1)], None, lambda key=key: acknowledged.append(key))  # type: ignore[misc]
                for key in ("full", "anna", "full", "berta")
            ]
        )
    )
    await settle()
    assert acknowledged == ["anna", "berta"]

    kafka.has_room.set()
    await publishing
    assert acknowledged == ["anna", "berta", "full", "full"]


async def test_what_found_no_room_in_time_is_sent_again(
    kafka: FullPartition, producer: Producer
) -> None:
    kafka.errors.append(KafkaTimeoutError())

    await producer.publish(a_task("anna", 1))

    assert kafka.sent == [b"anna"]


@pytest.mark.parametrize("others", [0, 2])
async def test_an_error_in_what_is_called_back_is_raised(producer: Producer, others: int) -> None:
    def fail() -> None:
        raise KeyError("swordfish")

    publications = [Publication([a_task("berta", n)], None) for n in range(others)]

    with pytest.raises(KeyError, match="swordfish"):
        await producer.publish_batch([*publications, Publication([a_task("anna", 9)], None, fail)])
