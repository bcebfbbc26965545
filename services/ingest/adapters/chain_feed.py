"""The feed of leaders' fills from the exchanges' logs on the chain."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.ingest.adapters.fills import add_price_ranges, publish_fill
from services.ingest.adapters.shared_leaders import SharedLeaders
from shared.chain.block_positions import BlockGroup, BlockPositions, PartitionCursors
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
        self._chain, self._shared, self._now = chain, leaders, now
        self._poll_interval = poll_interval
        self._positions = BlockPositions(
            cursors, lookback_blocks=lookback_blocks, first_lookback_blocks=first_lookback_blocks
        )
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
        await self._positions.load(leaders.keys(), partition_count=self._shared.partition_count())
        if not leaders:
            return False
        head = (await self._chain.fetch_latest_block()).number
        groups = self._positions.group(leaders, head)
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

    async def _read_group(self, group: BlockGroup, head: int, publish: Publish) -> int:
        """Publish what is new in the group's next span of blocks, save its cursors, and return its
        last block. Raises: Transient.
        """
        if group.wallets:
            span = await anext(self._chain.read_order_fills(group.start, head, group.wallets))
            await self._publish_fills(span.fills, publish, head=head)
            through = span.through_block
        else:
            # Nothing is read that would show that the node knows this block.
            through = (await self._chain.fetch_blocks([head]))[0].number
        await self._positions.save(group.leases, through, head=head)
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
