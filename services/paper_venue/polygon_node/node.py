"""The node: a pool, a producer and a chain behind any number of fronts, with its control."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from services.paper_venue.polygon_node.faults import RpcFaults
from services.paper_venue.polygon_node.front import Front
from services.paper_venue.polygon_node.pool import Pool, PoolLimits
from services.paper_venue.polygon_node.producer import Producer, Reorg
from services.paper_venue.polygon_node.refusals import Refused
from services.paper_venue.polygon_node.transactions import Transaction, parse_transaction
from services.paper_venue.polygon_node.upstream import Upstream
from shared.domain.errors import Transient

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finality:
    """Where the tags stand, as block numbers."""

    finalized: int
    safe: int


class PolygonNode:
    """A node like Polygon's in front of one anvil, while the ``async with`` block runs.

    It belongs to the event loop that it was entered on. Fees are in wei per gas. Every method that
    reaches anvil raises Transient when anvil is away.
    """

    def __init__(
        self,
        anvil_url: str,
        *,
        limits: PoolLimits | None = None,
        block_seconds: float | None = None,
        ports: Sequence[int] = (0,),
    ) -> None:
        """``block_seconds``: from one block to the next; None: blocks are built by ``mine`` alone.
        ``ports``: of the fronts that it begins with; 0: any free one.

        Nobody else may mine on the anvil or send transactions to it, except in its automine mode.
        """
        self.pool = Pool(limits)
        self.upstream = Upstream(anvil_url)
        self.producer = Producer(self.pool, self.upstream)
        self.fronts: list[Front] = []
        self.stalled: Finality | None = None
        """Where finality stands still; None: it follows the head."""
        self.is_mining = True
        """Whether blocks are built by time; has no effect without ``block_seconds``."""
        self._block_seconds = block_seconds
        self._ports = tuple(ports)
        self._lock = asyncio.Lock()
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises: Transient where anvil does not answer; OSError where a port is taken."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.upstream.close)
            await self.upstream.fetch_header()
            if self._block_seconds is not None:
                timer = asyncio.create_task(self._mine_periodically(self._block_seconds))
                closing.push_async_callback(self._stop, timer)
            for port in self._ports:
                await self._add_front(closing, host=HOST, port=port)
            self._closing = closing.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._closing.__aexit__(kind, error, trace)

    @property
    def url(self) -> str:
        """The address of the first front."""
        return self.fronts[0].url

    async def open_front(self, *, port: int = 0, host: str = HOST) -> Front:
        """Serve JSON-RPC on a port (0: any free one), with faults of its own, until the node ends.

        Raises: OSError where the port is taken.
        """
        return await self._add_front(self._closing, host=host, port=port)

    async def send(self, raw: str) -> str:
        """Take a raw transaction, 0x hex, into the pool and return its hash. Raises: Refused."""
        async with self._lock:
            transaction = parse_transaction(raw)
            accounts = await self.upstream.fetch_accounts([transaction.sender])
            header = await self.upstream.fetch_header()
            self.pool.add(
                transaction,
                accounts[transaction.sender],
                block_gas=int(header["gasLimit"], 16),
                now_s=int(header["timestamp"], 16),
            )
            return transaction.hash

    async def mine(self, blocks: int = 1) -> int:
        """Build so many blocks of what the pool has and return the number of the last one (of the
        head, where it is none).
        """
        async with self._lock:
            number = int((await self.upstream.fetch_header())["number"], 16)
            for _ in range(blocks):
                number = await self.producer.mine()
            return number

    def set_base_fee(self, base_fee: int | None) -> None:
        """Give every next block this base fee; None: as Polygon computes it."""
        self.producer.base_fee = base_fee

    def hold(self, target: str) -> None:
        """Keep a transaction (by its hash) or all of a sender out of blocks; they stay pending."""
        self.producer.held.add(target.lower())

    def release(self, target: str | None = None) -> None:
        """Hold this transaction or sender no longer; None: nothing."""
        if target is None:
            self.producer.held.clear()
        else:
            self.producer.held.discard(target.lower())

    async def drop(self, tx_hash: str) -> Transaction | None:
        """Remove a transaction from the pool and return it; None: it is not there.

        Those of higher nonces stay, and wait behind the gap. It may be sent again.
        """
        async with self._lock:
            return self.pool.drop(tx_hash)

    async def reorg(
        self,
        depth: int,
        *,
        reinject: bool = True,
        competing: Sequence[str] = (),
        blocks: int | None = None,
    ) -> Reorg:
        """Replace the last ``depth`` blocks by a new branch of ``blocks`` (None: as many) blocks.

        ``competing``: raw transactions for the first block of the new branch, whatever the pool
        thinks of them; its other blocks are empty. ``reinject``: what was un-mined is pending again
        where its nonce is still free; otherwise no node knows it any more.
        Raises: Refused, where the chain is shorter, or where anvil refuses a competing transaction:
        the blocks are gone then, and the new branch is not there.
        """
        async with self._lock:
            return await self.producer.reorg(
                depth,
                blocks=depth if blocks is None else blocks,
                reinject=reinject,
                competing=competing,
            )

    async def stall_finality(self, *, stalled: bool = True) -> None:
        """Let ``finalized`` and ``safe`` stand still where they are, or follow the head again."""
        self.stalled = await self._read_finality() if stalled else None

    async def fetch_finality(self) -> Finality:
        """The blocks that ``finalized`` and ``safe`` name."""
        return self.stalled or await self._read_finality()

    async def _add_front(self, closing: AsyncExitStack, *, host: str, port: int) -> Front:
        front = Front(self, RpcFaults())
        await front.start(host=host, port=port, closing=closing)
        self.fronts.append(front)
        return front

    async def _read_finality(self) -> Finality:
        numbers = [
            int((await self.upstream.fetch_header(tag))["number"], 16)
            for tag in ("finalized", "safe")
        ]
        return Finality(finalized=numbers[0], safe=numbers[1])

    async def _mine_periodically(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            if self.is_mining:
                try:
                    await self.mine()
                except (Refused, Transient) as error:
                    logger.warning("no block was built: %s", error)

    async def _stop(self, timer: asyncio.Task[None]) -> None:
        """End the timer between two blocks; raises what has ended it before."""
        async with self._lock:
            timer.cancel()
        await asyncio.wait({timer})
        if not timer.cancelled():
            timer.result()
