"""The feed of leaders' fills from the exchanges' logs on the chain."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from services.ingest.adapters.fills import add_price_ranges, publish_fill
from services.ingest.adapters.shared_leaders import LeaseId, SharedLeaders
from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.domain.errors import Transient
from shared.domain.ids import derived_id
from shared.domain.money import BASE_UNIT
from shared.messages.base import MAX_MICROS
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


class PartitionCursors(Protocol):
    """Up to which block the leaders of each partition were read."""

    async def load(self, partitions: Sequence[int], *, count: int) -> Mapping[int, int | None]:
        """The last block that was read of each of these; None where none ever was. ``count``: of
        all partitions. Raises: Transient.
        """
        ...

    async def save(self, leases: Sequence[LeaseId], block: int) -> None:
        """Move the cursors of these partitions forward, never back, and none of which the lease is
        not the newest one. Raises: Transient.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Partitions that were read up to the same block, and are read on together."""

    start: int
    """The first block to read."""
    leases: tuple[LeaseId, ...]
    leaders: tuple[str, ...]


class ChainFeed:
    """Publishes the fills of this instance's leaders from the exchanges' logs: exact, a block late,
    and complete, because it reads on from its cursors, also where another instance has left them.
    """

    def __init__(
        self,
        chain: ChainClient,
        cursors: PartitionCursors,
        *,
        leaders: SharedLeaders,
        now: Callable[[], datetime],
        poll_interval: timedelta,
        lookback_blocks: int,
        first_lookback_blocks: int,
    ) -> None:
        self._chain, self._cursors, self._shared, self._now = chain, cursors, leaders, now
        self._poll_interval, self._lookback_blocks, self._first_lookback_blocks = (
            poll_interval,
            lookback_blocks,
            first_lookback_blocks,
        )
        self._next_block: dict[LeaseId, int | None] = {}
        """The block to read from, of each leased partition; None: none was read ever."""
        self._published: dict[str, int] = {}
        """The head at which each message id was published: blocks are read several times, and a
        fill is published once."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            is_behind = False
            try:
                is_behind = await self.read_new_blocks(publish)
            except Transient as error:
                metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.FAILED)
                logger.warning(
                    "chain: the exchanges' logs could not be read, and are read again in %s: %s",
                    self._poll_interval,
                    error,
                )
            await asyncio.sleep(0 if is_behind else self._poll_interval.total_seconds())

    async def read_new_blocks(self, publish: Publish) -> bool:
        """Read the next span of each group of partitions; those that are behind are read on in the
        next round, so that they hold up no other. Return whether any is. Raises: Transient, once
        all groups were tried: one that fails holds up no other either.
        """
        leaders = self._shared.by_lease()
        await self._load_cursors(leaders.keys())
        if not leaders:
            return False
        head = (await self._chain.fetch_latest_block()).number
        groups = self._group(leaders, head)
        failures, is_behind = list[Transient](), False
        for group in groups:
            try:
                is_behind |= await self._read_group(group, head, publish) < head
            except Transient as error:
                failures.append(error)
        self._forget(before=min((group.start for group in groups), default=0))
        if failures:
            raise failures[0]
        return is_behind

    async def _load_cursors(self, leases: Collection[LeaseId]) -> None:
        """Begin with the partitions that are new here where their last owner ended, and forget
        those that are lost. Raises: Transient.
        """
        self._next_block = {each: at for each, at in self._next_block.items() if each in leases}
        new = [each for each in leases if each not in self._next_block]
        if new:
            stored = await self._cursors.load(
                [partition for partition, _ in new], count=self._shared.partition_count()
            )
            self._next_block |= {each: self._start_after(stored[each[0]]) for each in new}

    def _start_after(self, last_read: int | None) -> int | None:
        return None if last_read is None else max(0, last_read + 1 - self._lookback_blocks)

    def _group(self, leaders: Mapping[LeaseId, Sequence[str]], head: int) -> list[_Group]:
        """The partitions by the block to read from, those that are the furthest first: nothing
        that can still be copied waits for what is old.
        """
        by_start: dict[int, list[LeaseId]] = {}
        for lease in leaders:
            start = self._next_block[lease]
            first = max(0, head - self._first_lookback_blocks) if start is None else start
            by_start.setdefault(first, []).append(lease)
        return [
            _Group(
                start=start,
                leases=tuple(leases),
                leaders=tuple(sorted(leader for each in leases for leader in leaders[each])),
            )
            for start, leases in sorted(by_start.items(), reverse=True)
            if start <= head
        ]

    async def _read_group(self, group: _Group, head: int, publish: Publish) -> int:
        """Publish what is new in the group's next span of blocks, save its cursors, and return its
        last block. Raises: Transient.
        """
        if group.leaders:
            span = await anext(self._chain.read_order_fills(group.start, head, group.leaders))
            await self._publish_fills(span.fills, publish, head=head)
            through = span.through_block
        else:
            # Nothing is read that would show that the node knows this block.
            through = (await self._chain.fetch_blocks([head]))[0].number
        await self._cursors.save(group.leases, through)
        # Only what is near the head may still be changed by a reorg.
        start = self._start_after(through) if through == head else through + 1
        self._next_block |= dict.fromkeys(group.leases, start)
        return through

    async def _publish_fills(
        self, logs: Sequence[OrderFilledLog], publish: Publish, *, head: int
    ) -> None:
        blocks = await self._chain.fetch_blocks(sorted({log.block_number for log in logs}))
        mined_at = {block.number: datetime.fromtimestamp(block.timestamp, UTC) for block in blocks}
        fills = parse_fills(logs, mined_at=mined_at, seen_at=self._now())
        self._count_invalid_logs(len(logs) - len(fills))
        for fill in fills:
            if fill.message_id not in self._published:
                metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.LEADER_FILL)
                await publish_fill(fill, publish)
                self._published[fill.message_id] = head

    def _count_invalid_logs(self, count: int) -> None:
        if count:
            metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.NO_TRADE)
            logger.warning(
                "chain: %d logs of leaders' orders have an impossible amount or price, "
                "and are not copied",
                count,
            )

    def _forget(self, *, before: int) -> None:
        self._published = {
            message: block for message, block in self._published.items() if block >= before
        }


def parse_fills(
    logs: Sequence[OrderFilledLog], *, mined_at: Mapping[int, datetime], seen_at: datetime
) -> list[LeaderFillSeen]:
    """Each log as a fill of its maker. Logs with an impossible amount or price are left out.

    The row id is the order's hash and a number: 1 for its first fill in the transaction, 2 for its
    second. It is not the log's index, because a reorg changes that.
    """
    fills_of_order: dict[tuple[str, str], int] = {}
    fills = []
    for log in logs:
        order = (log.tx_hash, log.order_hash)
        fills_of_order[order] = fills_of_order.get(order, 0) + 1
        if is_valid_trade(log):
            fills.append(
                _build_fill(
                    log,
                    f"{log.order_hash}:{fills_of_order[order]}",
                    filled_at=mined_at[log.block_number],
                    seen_at=seen_at,
                )
            )
    return add_price_ranges(fills)


def is_valid_trade(log: OrderFilledLog) -> bool:
    """Whether the amounts can be those of a trade: more than nothing, at a price from 0 to 1."""
    return 0 < log.shares <= MAX_MICROS and BASE_UNIT <= Decimal(log.usdc) / log.shares < 1


def _build_fill(
    log: OrderFilledLog, row_id: str, *, filled_at: datetime, seen_at: datetime
) -> LeaderFillSeen:
    token_id = str(log.token_id)
    return LeaderFillSeen(
        message_id=derived_id("fill", log.tx_hash.lower(), log.maker, token_id, row_id),
        occurred_at=seen_at,
        leader=log.maker,
        transaction_hash=log.tx_hash.lower(),
        token_id=token_id,
        side=log.side,
        shares=log.shares,
        price=Decimal(log.usdc) / log.shares,
        source=FillSource.CHAIN,
        row_id=row_id,
        filled_at=filled_at,
    )
