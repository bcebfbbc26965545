"""The rounds of the cleanup: what could not be done is done in the next one."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from services.preflight.adapters import cleanup
from services.preflight.adapters.cleanup import ROUNDS_BETWEEN_COPIES, CleanupFeed
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.testing.waiting import eventually
from tests.builders import NOON


class Rounds(CleanupFeed):
    """Its sums cannot be corrected in the first two rounds."""

    def __init__(self) -> None:
        super().__init__(
            create_async_engine("postgresql+asyncpg://nowhere"),
            now=lambda: NOON,
            reservations_kept=timedelta(minutes=3),
            copies_kept=timedelta(days=1),
        )
        self.done: list[str] = []

    async def delete_settled(self) -> None:
        self.done.append("settled")

    async def delete_copies(self) -> None:
        self.done.append("copies")

    async def correct_sums(self) -> None:
        self.done.append("sums")
        if self.done.count("sums") <= 2:
            raise Transient("the database is not there yet")


async def publish(_: Message) -> None:
    raise AssertionError("it publishes nothing")


async def test_sums_are_corrected_first_and_until_it_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleanup, "INTERVAL", timedelta(0))
    feed = Rounds()
    running = asyncio.create_task(feed(publish))
    await eventually(lambda: feed.done.count("sums") > 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    first = ["sums", "sums", "sums", "copies", *["settled"] * (ROUNDS_BETWEEN_COPIES - 2), "sums"]
    assert feed.done[: len(first)] == first
