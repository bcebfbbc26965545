"""Which receipts the feed fetches, and which of them it publishes."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.tx_monitor.adapters import ReceiptFeed
from services.tx_monitor.decisions.watches import Watch
from shared.chain.addresses import LIVE_EXCHANGES
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
GIVE_UP_AFTER = timedelta(hours=1)
MINED = replace(WATCHED, state=TransactionState.MINED, block_number=100, block_hash="0xblock")


class FixedWatches:
    def __init__(self, *watches: Watch) -> None:
        self._watches = list(watches)

    async def load_open(self) -> list[Watch]:
        return self._watches


class Chain:
    """Block 100 has hash 0xblock, unless a reorg replaced it. It contains every transaction, unless
    ``is_mined`` is False.
    """

    def __init__(
        self, *, finalized: int, canonical: str = "0xblock", is_mined: bool = True
    ) -> None:
        self._finalized, self._canonical, self._is_mined = finalized, canonical, is_mined
        self.requested_hashes: list[str] = []
        self.polls = 0

    async def fetch_finalized_block(self) -> Block:
        self.polls += 1
        return Block(number=self._finalized, hash="0xfinal", parent_hash="0xparent", timestamp=0)

    async def fetch_block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        return {number: self._canonical for number in numbers}

    async def fetch_receipts_or_failures(self, hashes: Sequence[str]) -> list[Receipt | None]:
        self.requested_hashes += hashes
        if not self._is_mined:
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


async def published(watch: Watch, chain: Chain) -> list[Message]:
    """What the feed publishes in its first two polls."""
    messages: list[Message] = []

    async def publish(message: Message) -> None:
        messages.append(message)

    feed = ReceiptFeed(
        FixedWatches(watch),  # type: ignore[arg-type]
        chain,  # type: ignore[arg-type]
        exchanges=LIVE_EXCHANGES,
        owns=lambda _: True,
        now=lambda: NOON,
        poll_interval=timedelta(milliseconds=1),
        batch_size=10,
        give_up_after=GIVE_UP_AFTER,
    )
    task = asyncio.create_task(feed(publish))
    await eventually(lambda: chain.polls >= 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return messages


async def test_an_unmined_transaction_is_polled_each_time() -> None:
    chain = Chain(finalized=90)
    assert await published(WATCHED, chain)
    assert chain.requested_hashes


async def test_a_mined_transaction_in_a_canonical_block_is_not_polled() -> None:
    chain = Chain(finalized=90)
    assert await published(MINED, chain) == []
    assert chain.requested_hashes == []


async def test_a_transaction_whose_block_was_replaced_is_polled_again() -> None:
    assert await published(MINED, Chain(finalized=90, canonical="0xother"))


async def test_a_transaction_that_became_final_is_published() -> None:
    assert await published(MINED, Chain(finalized=100))


async def test_a_missing_receipt_is_published_only_after_the_give_up_time() -> None:
    assert (
        await published(
            replace(WATCHED, changed_at=NOON - GIVE_UP_AFTER / 2),
            Chain(finalized=90, is_mined=False),
        )
        == []
    )
    assert await published(
        replace(WATCHED, changed_at=NOON - GIVE_UP_AFTER), Chain(finalized=90, is_mined=False)
    )
