"""Follows the chain and updates the index, with the delay of the live index.

It does nothing until the first request to the Data API, so a venue whose Data API nobody uses pays
nothing for it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from services.paper_venue.data_api.activity_index import ActivityIndex
from services.paper_venue.data_api.chain_events import (
    CONTRACTS,
    TOPICS,
    ChainTransaction,
    decode_transactions,
)
from services.paper_venue.faults.catalogue import Fault, Faults
from shared.domain.errors import Transient

_BLOCKS_PER_REQUEST = 2_000
_CATCH_UP_TIMEOUT_S = 10


class Node(Protocol):
    """A JSON-RPC node."""

    async def call(self, method: str, *params: Any) -> Any:
        """Raises: Transient."""
        ...


class Indexer:
    """Reads each block once, and adds it to the index ``lag_s`` seconds later, in chain order."""

    def __init__(
        self,
        node: Node,
        index: ActivityIndex,
        *,
        faults: Faults,
        lag_s: float,
        now_ms: Callable[[], int],
        poll_interval_s: float = 0.25,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._node, self._index, self._faults = node, index, faults
        self._lag_ms, self._now_ms = int(lag_s * 1000), now_ms
        self._poll_interval_s, self._sleep = poll_interval_s, sleep
        self._next_block = 0
        self._waiting: deque[tuple[int, ChainTransaction]] = deque()
        """Transactions that were read but not indexed yet, each with the time when it is due."""
        self._was_requested, self._has_caught_up = asyncio.Event(), asyncio.Event()

    async def wait_until_ready(self) -> None:
        """Start the indexer, and wait until it has read the chain once.

        Raises: Transient (it takes too long).
        """
        self._was_requested.set()
        try:
            async with asyncio.timeout(_CATCH_UP_TIMEOUT_S):
                await self._has_caught_up.wait()
        except TimeoutError:
            raise Transient("the index has not caught up with the chain yet") from None

    async def run(self) -> None:
        """Follow the chain from the first request on, until cancelled."""
        await self._was_requested.wait()
        while True:
            try:
                await self.poll()
            except Transient:
                # the node is unreachable: the index lags, as the live one would, and continues
                # where it stopped
                pass
            else:
                self._has_caught_up.set()
            await self._sleep(self._poll_interval_s)

    async def poll(self) -> None:
        """Read the new blocks, and index what is due. Raises: Transient, MalformedLog."""
        head = int(await self._node.call("eth_blockNumber"), 16)
        while self._next_block <= head:
            last = min(self._next_block + _BLOCKS_PER_REQUEST - 1, head)
            log_filter = {
                "fromBlock": hex(self._next_block),
                "toBlock": hex(last),
                "address": list(CONTRACTS),
                "topics": [list(TOPICS)],
            }
            transactions = decode_transactions(await self._node.call("eth_getLogs", log_filter))
            self._next_block = last + 1
            self._waiting += [
                (self._due_ms(transaction), transaction) for transaction in transactions
            ]
        self._apply_due()

    def _due_ms(self, transaction: ChainTransaction) -> int:
        """When the transaction is due, in ms since 1970. The lag counts from the block's time if
        that is earlier than now, so old blocks are due at once.
        """
        seen_at = min(self._now_ms(), transaction.timestamp * 1000)
        strike = self._faults.trigger_for_row(Fault.ROWS_LATE, transaction.wallets)
        return seen_at + self._lag_ms + (int(strike.seconds * 1000) if strike else 0)

    def _apply_due(self) -> None:
        """Add what is due, in chain order: a late transaction delays those after it, so that the
        index may be late but never has gaps.
        """
        now_ms = self._now_ms()
        while self._waiting and self._waiting[0][0] <= now_ms:
            _, transaction = self._waiting.popleft()
            transaction.indexed_at_ms = now_ms
            self._index.apply(transaction)
