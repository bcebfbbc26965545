"""What is known of parked keys is never older than the last assignment."""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import pytest

from shared.domain.errors import Transient
from shared.streams.parking import ParkedKeys
from shared.testing.parking import MemoryParking


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    topic: str = "money"
    partition: int = 0
    offset: int = 7
    timestamp: int = 0
    key: bytes = b"anna"
    value: bytes = b""
    headers: tuple[tuple[str, bytes], ...] = ()


class SlowParking(MemoryParking):
    """Answers with what it had when it was asked, once the test lets it."""

    def __init__(self) -> None:
        super().__init__(frozenset({"money"}))
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        found = await super().keys(service)
        self.asked.set()
        await self.may_answer.wait()
        return found


async def test_a_look_from_before_an_assignment_tells_nothing_of_what_came_with_it() -> None:
    parking = SlowParking()
    known = ParkedKeys(parking, "service")
    looking = asyncio.create_task(known.look())
    await parking.asked.wait()

    await parking.park(Said(), service="service", reason="by the instance that had the partition until now", waits=False)
    known.forget()
    parking.may_answer.set()
    await looking

    with pytest.raises(Transient):
        known.hold_up(Said(offset=8))
    await known.look()
    assert known.hold_up(Said(offset=8))
