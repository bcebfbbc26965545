"""The three feeds of leaders' fills: the activity socket, the chain's logs and the Data API."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.caching.lru_cache import LruCache
from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.db.engine import fetch_rows, transaction
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.ids import derived_id
from shared.domain.money import BASE_UNIT
from shared.messages.base import MAX_MICROS
from shared.messages.dead_letters import park_frame
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.observe import metrics, tracing
from shared.polymarket import data_api, rtds
from shared.polymarket.sockets import Channel
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

SAVE_CURSOR = text("""
insert into ingest.cursors (feed, block_number) values (:feed, :block)
on conflict (feed) do update
set block_number = greatest(cursors.block_number, excluded.block_number)
""")

ROWS_REMEMBERED = 10_000
"""The socket may bring a row again, and the Data API brings each row in every poll. A row that was
published is not published again: the result would be the same, for twice the work. A row of the
socket under its other type is another row: each type is summed on its own."""


async def _publish_fill(fill: LeaderFillSeen, publish: Publish) -> None:
    """Publish it in the span that its whole trace begins with."""
    with tracing.start_span("observe leader fill", **{"slipstream.source": fill.source.value}):
        await publish(fill)


class ActivityFeed:
    """Publishes the leaders' fills of the activity socket, which brings the fills of all wallets.
    It is the fastest source, and a provisional one: it reports matches before they are settled.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._channel, self._leaders, self._now = channel, leaders, now
        self._published: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)
        self._logged: set[metrics.FrameKind] = set()
        """What was logged as an error since the socket was opened."""

    async def __call__(self, publish: Publish) -> None:
        async for frame in self._channel.frames():
            if frame is None:
                self._logged.clear()
            else:
                await self._on_frame(frame, publish)

    async def _on_frame(self, frame: str, publish: Publish) -> None:
        try:
            envelopes = rtds.parse_envelopes(frame)
        except InvalidMessage as error:
            await self._park(frame, str(error), publish)
            return
        for envelope in envelopes:
            await self._on_envelope(envelope, frame, publish)

    async def _on_envelope(self, envelope: Any, frame: str, publish: Publish) -> None:
        """An envelope that cannot be parsed does not stop the others of its frame."""
        try:
            rows = tuple(rtds.parse_rows(envelope))
            if not rows:
                metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.IGNORED)
            for row in rows:
                await self._on_row(row, publish)
        except InvalidMessage as error:
            await self._park(frame, str(error), publish)
        except rtds.SubscriptionRefused as error:
            self._log_once(metrics.FrameKind.REFUSED, "refused the subscription", error)
        except rtds.UnknownEnvelope as error:
            self._log_once(metrics.FrameKind.UNKNOWN, "sends what we do not know", error)

    def _log_once(self, kind: metrics.FrameKind, problem: str, error: Exception) -> None:
        """Count the frame, and log the first of its kind on each socket."""
        metrics.feed_frame(metrics.Feed.RTDS, kind)
        if kind not in self._logged:
            logger.error("rtds: the activity socket %s: %s", problem, error)
            self._logged.add(kind)

    async def _on_row(self, row: rtds.Row, publish: Publish) -> None:
        """A row that can be read is the socket's sign of life: of a wallet that is no leader only
        the wallet is read.
        """
        if rtds.parse_wallet(row) not in self._leaders():
            self._channel.mark_alive()
            metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.NOT_FOLLOWED)
            return
        fill = rtds.parse_fill(row, seen_at=self._now())
        self._channel.mark_alive()
        if self._published.get(fill.message_id):
            metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.REPEATED)
            return
        metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.LEADER_FILL)
        await _publish_fill(fill, publish)
        self._published.put(fill.message_id, True)  # noqa: FBT003 - used as a set

    async def _park(self, frame: str, reason: str, publish: Publish) -> None:
        metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.MALFORMED)
        await publish(park_frame(frame, feed="rtds", reason=reason, at=self._now()))


class DataFeed:
    """Publishes each leader's trades from the Data API, one leader after the other. It is slow, but
    has what both other feeds have missed.
    """

    def __init__(
        self,
        fetch_trades: Callable[[str, datetime], Awaitable[Sequence[data_api.Row]]],
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
        poll_interval: timedelta,
        lookback: timedelta,
    ) -> None:
        self._fetch_trades, self._leaders, self._now = fetch_trades, leaders, now
        self._poll_interval, self._lookback = poll_interval, lookback
        self._published: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)

    async def __call__(self, publish: Publish) -> None:
        while True:
            await self.poll_leaders(publish)
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def poll_leaders(self, publish: Publish) -> None:
        """One round. A leader whose request fails is skipped until the next one."""
        for leader in sorted(self._leaders()):
            try:
                rows = await self._fetch_trades(leader, self._now() - self._lookback)
            except (Transient, InvalidMessage) as error:
                metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.FAILED)
                logger.warning(
                    "data: the trades of leader %s could not be fetched, "
                    "and are fetched again in %s: %s",
                    leader,
                    self._poll_interval,
                    error,
                )
                continue
            parsed = [await self._parse(row, publish) for row in reversed(rows)]
            for fill in add_price_ranges([fill for fill in parsed if fill is not None]):
                await self._on_fill(fill, publish)

    async def _parse(self, row: data_api.Row, publish: Publish) -> LeaderFillSeen | None:
        """None where it cannot be parsed, and is parked."""
        try:
            return data_api.parse_fill(row, seen_at=self._now())
        except InvalidMessage as error:
            await self._park(row, str(error), publish)
            return None

    async def _on_fill(self, fill: LeaderFillSeen, publish: Publish) -> None:
        if fill.leader not in self._leaders():
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.NOT_FOLLOWED)
            return
        if self._published.get(fill.message_id):
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.REPEATED)
            return
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.LEADER_FILL)
        await _publish_fill(fill, publish)
        self._published.put(fill.message_id, True)  # noqa: FBT003 - used as a set

    async def _park(self, row: data_api.Row, reason: str, publish: Publish) -> None:
        """Publish it once: the row comes again with every round."""
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.MALFORMED)
        frame = json.dumps(row, default=str)
        parked = park_frame(frame, feed="data", reason=reason, at=self._now())
        if self._published.get(parked.message_id):
            return
        await publish(parked)
        self._published.put(parked.message_id, True)  # noqa: FBT003 - used as a set


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
        head = await self._chain.fetch_latest_block()
        last_read = await self._cursor.load()
        start = max(
            0,
            head.number - self._first_lookback_blocks
            if last_read is None
            else last_read + 1 - self._lookback_blocks,
        )
        if start > head.number:
            return
        logs = await self._chain.fetch_order_fills(start, head.number, sorted(self._leaders()))
        blocks = await self._chain.fetch_blocks(sorted({log.block_number for log in logs}))
        mined_at = {block.number: datetime.fromtimestamp(block.timestamp, UTC) for block in blocks}
        fills = parse_fills(logs, mined_at=mined_at, seen_at=self._now())
        self._count_invalid_logs(len(logs) - len(fills))
        for fill in fills:
            if fill.message_id not in self._published:
                metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.LEADER_FILL)
                await _publish_fill(fill, publish)
                self._published[fill.message_id] = head.number
        await self._cursor.save(head.number)
        self._forget(before=start)

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


def add_price_ranges(fills: Sequence[LeaderFillSeen]) -> list[LeaderFillSeen]:
    """The fills, each with the lowest and the highest price of those of its trade. For sources that
    report a trade whole: all of its fills must be given.
    """
    prices_by_trade: dict[str, list[Decimal]] = {}
    for fill in fills:
        prices_by_trade.setdefault(fill.trade_id, []).append(fill.price)
    return [
        fill.model_copy(
            update={
                "lowest_price": min(prices_by_trade[fill.trade_id]),
                "highest_price": max(prices_by_trade[fill.trade_id]),
            }
        )
        for fill in fills
    ]


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
