"""The feed of leaders' fills from the exchanges' logs on the chain."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters.fills import add_price_ranges, publish_fill
from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.db.engine import fetch_rows, transaction
from shared.domain.errors import Transient
from shared.domain.ids import derived_id
from shared.domain.money import BASE_UNIT
from shared.messages.base import MAX_MICROS
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

SAVE_CURSOR = text("""
insert into ingest.cursors (feed, block_number) values (:feed, :block)
on conflict (feed) do update
set block_number = greatest(cursors.block_number, excluded.block_number)
""")


class Cursor:
    """The stored position of a feed that reads the chain: the last block that it has read."""

    def __init__(self, engine: AsyncEngine, feed: str) -> None:
        self._engine, self._feed = engine, feed

    async def load(self) -> int | None:
        """The last block that was read; None before the first one. Raises: Transient."""
        async with transaction(self._engine) as connection:
            rows = await fetch_rows(
                connection,
                "select block_number from ingest.cursors where feed = :feed",
                feed=self._feed,
            )
        return int(rows[0].block_number) if rows else None

    async def save(self, block: int) -> None:
        """Move the cursor forward, never back: another instance may be ahead. Raises: Transient."""
        async with transaction(self._engine) as connection:
            await connection.execute(SAVE_CURSOR, {"feed": self._feed, "block": block})


class ChainFeed:
    """Publishes the leaders' fills from the exchanges' logs: exact, a block late, and complete,
    because it reads on from its cursor.
    """

    def __init__(
        self,
        chain: ChainClient,
        cursor: Cursor,
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
        poll_interval: timedelta,
        lookback_blocks: int,
        first_lookback_blocks: int,
    ) -> None:
        self._chain, self._cursor, self._leaders, self._now = chain, cursor, leaders, now
        self._poll_interval, self._lookback_blocks, self._first_lookback_blocks = (
            poll_interval,
            lookback_blocks,
            first_lookback_blocks,
        )
        self._published: dict[str, int] = {}
        """The head at which each message id was published: blocks are read several times, and a
        fill is published once."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._read_new_blocks(publish)
            except Transient as error:
                metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.FAILED)
                logger.warning(
                    "chain: the exchanges' logs could not be read, and are read again in %s: %s",
                    self._poll_interval,
                    error,
                )
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def _read_new_blocks(self, publish: Publish) -> None:
        """Read on from the cursor to the head. The cursor is saved after each span of blocks: what
        was read stays read where a later span fails.
        """
        head = (await self._chain.fetch_latest_block()).number
        last_read = await self._cursor.load()
        start = max(
            0,
            head - self._first_lookback_blocks
            if last_read is None
            else last_read + 1 - self._lookback_blocks,
        )
        leaders = frozenset(self._leaders())
        async for span in self._chain.read_order_fills(start, head, sorted(leaders)):
            await self._publish_fills(span.fills, publish, head=head)
            await self._cursor.save(span.through_block)
            if self._leaders() != leaders:
                break  # the next poll reads on for the new ones too
        self._forget(before=start)

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
