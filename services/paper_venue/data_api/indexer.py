"""How does the index follow the chain, as far behind it as the real one?

It sleeps until somebody asks the Data API for the first time: a venue whose Data API nobody reads
pays nothing for it.
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

_BLOCKS_AT_ONCE = 2_000
_PATIENCE_S = 10


class Node(Protocol):
    """Who can be asked for blocks and logs."""

    async def call(self, method: str, *params: Any) -> Any:
        """Raises: Transient."""
        ...


class Indexer:
    """Reads each block once, and lets the index know of it ``lag_s`` seconds later, in the chain's
    order.
    """

    def __init__(
        self,
        node: Node,
        index: ActivityIndex,
        *,
        faults: Faults,
        lag_s: float,
        now_ms: Callable[[], int],
        poll_every_s: float = 0.25,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._node, self._index, self._faults = node, index, faults
        self._lag_ms, self._now_ms = int(lag_s * 1000), now_ms
        self._poll_every_s, self._sleep = poll_every_s, sleep
        self._next_block = 0
        self._waiting: deque[tuple[int, ChainTransaction]] = deque()
        """Transactions that were read, each with the time from which the index may know of it."""
        self._asked, self._has_caught_up = asyncio.Event(), asyncio.Event()

    async def ready(self) -> None:
        """Wake the indexer, and wait until it has read the chain once. Raises: Transient when that
        takes too long.
        """
        self._asked.set()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._has_caught_up.wait()
        except TimeoutError:
            raise Transient("the index has not caught up with the chain yet") from None

    async def run(self) -> None:
        """Follow the chain from the first question on; until cancelled."""
        await self._asked.wait()
        while True:
            try:
                await self.poll()
            except Transient:
                # the node is away: the index stays behind, as a real one would, and reads on where
                # it stopped
                pass
            else:
                self._has_caught_up.set()
            await self._sleep(self._poll_every_s)

    async def poll(self) -> None:
        """Read the blocks that are new, and take over what has waited long enough. Raises:
        Transient, MalformedLog.
        """
        head = int(await self._node.call("eth_blockNumber"), 16)
        while self._next_block <= head:
            last = min(self._next_block + _BLOCKS_AT_ONCE - 1, head)
            wanted = {
                "fromBlock": hex(self._next_block),
                "toBlock": hex(last),
                "address": list(CONTRACTS),
                "topics": [list(TOPICS)],
            }
            transactions = decode_transactions(await self._node.call("eth_getLogs", wanted))
            self._next_block = last + 1
            self._waiting += [(self._due(transaction), transaction) for transaction in transactions]
        self._take_over()

    def _due(self, transaction: ChainTransaction) -> int:
        """From when the index may know of it. Counted from the block's time where that lies before
        now: old blocks are known at once.
        """
        seen_at = min(self._now_ms(), transaction.timestamp * 1000)
        strike = self._faults.trigger_for_row(Fault.ROWS_LATE, transaction.wallets)
        return seen_at + self._lag_ms + (int(strike.seconds * 1000) if strike else 0)

    def _take_over(self) -> None:
        """In the chain's order: a late transaction holds up those behind it, so that an index is
        late, but never has holes.
        """
        now_ms = self._now_ms()
        while self._waiting and self._waiting[0][0] <= now_ms:
            _, transaction = self._waiting.popleft()
            transaction.indexed_at_ms = now_ms
            self._index.fold(transaction)
