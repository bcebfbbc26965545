"""Who tells of leaders' fills: the activity socket, the chain's logs and the Data API."""

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

from shared.caching.recent import LruCache
from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.db.engine import fetch_rows, transaction
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.ids import derived_id
from shared.domain.money import BASE_UNIT
from shared.messages.base import MOST_MICROS
from shared.messages.dead_letters import LONGEST_FRAME, FrameParked
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.observe import metrics, tracing
from shared.polymarket import data_api, rtds
from shared.polymarket.sockets import Channel
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

SAVE_CURSOR = text("""
insert into ingest.cursors (feed, block_number) values (:feed, :block)
on conflict (feed) do update set block_number = greatest(cursors.block_number, excluded.block_number)
""")

ROWS_REMEMBERED = 10_000
"""Both subscriptions tell every row: told on twice, each trade would go through the whole pipeline
twice, to the same end."""


class ActivityFeed:
    """The activity socket: every fill of every wallet, of which the leaders' are taken. Never the
    truth, always the first.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._channel, self._leaders, self._now = channel, leaders, now
        self._told: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)

    async def __call__(self, publish: Publish) -> None:
        async for frame in self._channel.frames():
            if frame is not None:
                await self._take(frame, publish)

    async def _take(self, frame: str, publish: Publish) -> None:
        try:
            envelopes = rtds.parse_envelopes(frame)
        except InvalidMessage as error:
            await self._park(frame, str(error), publish)
            return
        for envelope in envelopes:
            await self._take_envelope(envelope, frame, publish)

    async def _take_envelope(self, envelope: Any, frame: str, publish: Publish) -> None:
        """One that cannot be read does not hide the others of its frame."""
        try:
            rows = tuple(rtds.parse_rows(envelope))
            if not rows:
                metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.IGNORED)
            for row in rows:
                await self._take_row(row, publish)
        except InvalidMessage as error:
            await self._park(frame, str(error), publish)
        except rtds.SubscriptionRefused as error:
            metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.REFUSED)
            logger.error("rtds: the subscription was refused: %s", error)

    async def _take_row(self, row: rtds.Row, publish: Publish) -> None:
        if rtds.parse_wallet(row) not in self._leaders():
            metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.NOT_FOLLOWED)
            return
        fill = rtds.parse_fill(row, seen_at=self._now())
        if self._told.get(fill.message_id):
            metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.REPEATED)
            return
        metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.LEADER_FILL)
        with tracing.start_span(
            "observe leader fill", **{"slipstream.source": FillSource.RTDS.value}
        ):
            await publish(fill)
        self._told.put(fill.message_id, True)  # noqa: FBT003 - a set that forgets

    async def _park(self, frame: str, reason: str, publish: Publish) -> None:
        metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.MALFORMED)
        kept = frame[:LONGEST_FRAME]
        await publish(
            FrameParked(
                message_id=derived_id("frame", kept),
                occurred_at=self._now(),
                feed="rtds",
                reason=reason,
                frame=kept,
            )
        )


class DataFeed:
    """The Data API's trades of each leader, asked for in turn: slow, but it tells what both other
    feeds have missed.
    """

    def __init__(
        self,
        trades: Callable[[str, datetime], Awaitable[Sequence[data_api.Row]]],
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
        poll_every: timedelta,
        look_back: timedelta,
    ) -> None:
        self._trades, self._leaders, self._now = trades, leaders, now
        self._poll_every, self._look_back = poll_every, look_back
        self._told: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)

    async def __call__(self, publish: Publish) -> None:
        while True:
            await self.ask_all(publish)
            await asyncio.sleep(self._poll_every.total_seconds())

    async def ask_all(self, publish: Publish) -> None:
        """One round: a leader that cannot be asked now is asked again in the next."""
        for leader in sorted(self._leaders()):
            try:
                rows = await self._trades(leader, self._now() - self._look_back)
            except (Transient, InvalidMessage) as error:
                metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.FAILED)
                logger.warning("data: the trades of %s could not be read: %s", leader, error)
                continue
            for row in reversed(rows):
                await self._take(row, publish)

    async def _take(self, row: data_api.Row, publish: Publish) -> None:
        try:
            fill = data_api.parse_fill(row, seen_at=self._now())
        except InvalidMessage as error:
            await self._park(row, str(error), publish)
            return
        if fill.leader not in self._leaders():
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.NOT_FOLLOWED)
            return
        if self._told.get(fill.message_id):
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.REPEATED)
            return
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.LEADER_FILL)
        with tracing.start_span(
            "observe leader fill", **{"slipstream.source": FillSource.DATA.value}
        ):
            await publish(fill)
        self._told.put(fill.message_id, True)  # noqa: FBT003 - a set that forgets

    async def _park(self, row: data_api.Row, reason: str, publish: Publish) -> None:
        """Once: the row comes again with every round."""
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.MALFORMED)
        kept = json.dumps(row, default=str)[:LONGEST_FRAME]
        message_id = derived_id("frame", kept)
        if self._told.get(message_id):
            return
        await publish(
            FrameParked(
                message_id=message_id,
                occurred_at=self._now(),
                feed="data",
                reason=reason,
                frame=kept,
            )
        )
        self._told.put(message_id, True)  # noqa: FBT003 - a set that forgets


class Cursor:
    """How far the chain's logs were read."""

    def __init__(self, engine: AsyncEngine, feed: str) -> None:
        self._engine, self._feed = engine, feed

    async def load(self) -> int | None:
        """The last block that was read; None at the very first start. Raises: Transient."""
        async with transaction(self._engine) as connection:
            found = await fetch_rows(
                connection,
                "select block_number from ingest.cursors where feed = :feed",
                feed=self._feed,
            )
        return int(found[0].block_number) if found else None

    async def save(self, block: int) -> None:
        """Never backwards: another instance may be ahead. Raises: Transient."""
        async with transaction(self._engine) as connection:
            await connection.execute(SAVE_CURSOR, {"feed": self._feed, "block": block})


class ChainFeed:
    """The exchanges' logs of the leaders' orders: exact, a block late, and complete: what was
    missed is read again.
    """

    def __init__(
        self,
        chain: ChainClient,
        cursor: Cursor,
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
        poll_every: timedelta,
        look_back: int,
        first_look_back: int,
    ) -> None:
        self._chain, self._cursor, self._leaders, self._now = chain, cursor, leaders, now
        self._poll_every, self._look_back, self._first_look_back = (
            poll_every,
            look_back,
            first_look_back,
        )
        self._published: dict[str, int] = {}
        """Message id to block of what this instance has told already, so that looking back does not
        tell it every second."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._read_on(publish)
            except Transient as error:
                metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.FAILED)
                logger.warning("chain: the logs could not be read: %s", error)
            await asyncio.sleep(self._poll_every.total_seconds())

    async def _read_on(self, publish: Publish) -> None:
        head = await self._chain.fetch_latest_block()
        read = await self._cursor.load()
        start = max(
            0, head.number - self._first_look_back if read is None else read + 1 - self._look_back
        )
        if start > head.number:
            return
        logs = await self._chain.fetch_order_fills(start, head.number, sorted(self._leaders()))
        blocks = await self._chain.fetch_blocks(sorted({log.block_number for log in logs}))
        mined_at = {block.number: datetime.fromtimestamp(block.timestamp, UTC) for block in blocks}
        fills = parse_fills(logs, mined_at=mined_at, seen_at=self._now())
        self._count_what_is_no_trade(len(logs) - len(fills))
        for fill in fills:
            if fill.message_id not in self._published:
                metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.LEADER_FILL)
                with tracing.start_span(
                    "observe leader fill", **{"slipstream.source": FillSource.CHAIN.value}
                ):
                    await publish(fill)
                self._published[fill.message_id] = head.number
        await self._cursor.save(head.number)
        self._forget(before=start)

    def _count_what_is_no_trade(self, count: int) -> None:
        if count:
            metrics.feed_frame(metrics.Feed.CHAIN, metrics.FrameKind.NO_TRADE)
            logger.warning(
                "chain: %d logs of leaders' orders give nothing or more than there can be, and are not copied",
                count,
            )

    def _forget(self, *, before: int) -> None:
        self._published = {
            message: block for message, block in self._published.items() if block >= before
        }


def parse_fills(
    logs: Sequence[OrderFilledLog], *, mined_at: Mapping[int, datetime], seen_at: datetime
) -> list[LeaderFillSeen]:
    """Each log as a fill of its maker.

    The log index is no identity, a reorg moves it: a row is the n-th fill of its order within its
    transaction.
    """
    seen: dict[tuple[str, str], int] = {}
    fills = []
    for log in logs:
        order = (log.tx_hash, log.order_hash)
        seen[order] = seen.get(order, 0) + 1
        if is_a_trade(log):
            fills.append(
                _fill(
                    log,
                    f"{log.order_hash}:{seen[order]}",
                    filled_at=mined_at[log.block_number],
                    seen_at=seen_at,
                )
            )
    return fills


def is_a_trade(log: OrderFilledLog) -> bool:
    """Whatever a log says: for more than nothing, at a price that a market has."""
    return 0 < log.shares <= MOST_MICROS and BASE_UNIT <= Decimal(log.usdc) / log.shares < 1


def _fill(
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
