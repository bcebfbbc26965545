"""Which receipts does the feed ask for, and what does it tell of them?"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.tx_monitor.adapters import ReceiptFeed
from services.tx_monitor.decisions import Watch
from shared.chain.blocks import Block, Receipt
from shared.messages.base import Message
from shared.messages.transactions import Purpose, TransactionState
from shared.testing.waiting import eventually

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WATCHED = Watch(
    request_id="request-1",
    proxy="0x" + "11" * 20,
    transaction_hash="0x" + "aa" * 32,
    purpose=Purpose.SETTLEMENT,
    intent_id="intent-1",
)
LONG = timedelta(hours=1)
MINED = replace(WATCHED, state=TransactionState.MINED, block_number=100, block_hash="0xblock")


class Watches:
    def __init__(self, *watches: Watch) -> None:
        self._watches = list(watches)

    async def load_open(self) -> list[Watch]:
        return self._watches


class Chain:
    """Block 100 is called 0xblock, unless a reorg renamed it; every transaction that it ``knows``
    is in it.
    """

    def __init__(self, *, finalized: int, canonical: str = "0xblock", knows: bool = True) -> None:
        self._finalized, self._canonical, self._knows = finalized, canonical, knows
        self.asked: list[str] = []
        self.looks = 0

    async def fetch_finalized_block(self) -> Block:
        self.looks += 1
        return Block(number=self._finalized, hash="0xfinal", parent_hash="0xparent", timestamp=0)

    async def fetch_block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        return {number: self._canonical for number in numbers}

    async def fetch_receipts(self, hashes: Sequence[str]) -> list[Receipt | None]:
        self.asked += hashes
        if not self._knows:
            return [None for _ in hashes]
        return [
            Receipt(
                tx_hash=each,
                block_number=100,
                block_hash=self._canonical,
                succeeded=True,
                gas_used=1,
                logs=(),
            )
            for each in hashes
        ]


async def told(watch: Watch, chain: Chain) -> list[Message]:
    """What the feed publishes in its first two looks."""
    messages: list[Message] = []

    async def publish(message: Message) -> None:
        messages.append(message)

    feed = ReceiptFeed(
        Watches(watch),  # type: ignore[arg-type]
        chain,  # type: ignore[arg-type]
        owns=lambda _: True,
        now=lambda: NOON,
        poll_interval=timedelta(milliseconds=1),
        batch_size=10,
        give_up_after=LONG,
    )
    task = asyncio.create_task(feed(publish))
    await eventually(lambda: chain.looks >= 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return messages


async def test_a_transaction_that_is_not_mined_yet_is_asked_for_each_time() -> None:
    chain = Chain(finalized=90)
    assert await told(WATCHED, chain)
    assert chain.asked


async def test_what_is_mined_and_rests_in_a_standing_block_is_left_alone() -> None:
    chain = Chain(finalized=90)
    assert await told(MINED, chain) == []
    assert chain.asked == []


async def test_a_block_that_was_replaced_is_looked_into_again() -> None:
    assert await told(MINED, Chain(finalized=90, canonical="0xother"))


async def test_what_the_finalized_block_has_passed_is_told() -> None:
    assert await told(MINED, Chain(finalized=100))


async def test_what_is_in_no_block_is_told_only_once_it_has_been_so_for_long() -> None:
    assert (
        await told(replace(WATCHED, changed_at=NOON - LONG / 2), Chain(finalized=90, knows=False))
        == []
    )
    assert await told(replace(WATCHED, changed_at=NOON - LONG), Chain(finalized=90, knows=False))
