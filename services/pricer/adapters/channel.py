"""The feed that keeps the books current from the market channel."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from services.pricer.adapters.books import QuoteCache, SharedCache, TrackedBook, build_book_seen
from services.pricer.adapters.markets import MarketCache
from shared.domain.errors import InvalidMessage
from shared.messages.dead_letters import park_frame
from shared.observe import metrics
from shared.polymarket.market_data import (
    KEEP_ALIVE,
    BestPrices,
    BookEvent,
    EventUnreadable,
    LevelChanged,
    TickChanged,
    is_text,
    parse_events,
)
from shared.polymarket.sockets import Channel
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

MAX_LOGGED_TEXT = 200


class MarketChannelFeed:
    """Keeps the tracked books current from the market channel, and shares them with the other
    instances.
    """

    def __init__(
        self,
        channel: Channel,
        quotes: QuoteCache,
        markets: MarketCache,
        shared: SharedCache,
        *,
        now: Callable[[], datetime],
        share_interval: timedelta,
    ) -> None:
        self._channel, self._quotes, self._markets, self._shared = channel, quotes, markets, shared
        self._now, self._share_interval = now, share_interval

    async def __call__(self, publish: Publish) -> None:
        # The channel is opened once a first token is tracked; the first frame subscribes to it.
        await self._quotes.subscription_changes.get()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_subscription_changes())
            async for frame in self._channel.frames():
                if frame is None:
                    self._quotes.invalidate_books()
                else:
                    await self._on_frame(frame, publish)

    async def _send_subscription_changes(self) -> None:
        while True:
            operation, token_ids = await self._quotes.subscription_changes.get()
            await self._channel.send(json.dumps({"operation": operation, "assets_ids": token_ids}))

    async def _on_frame(self, frame: str, publish: Publish) -> None:
        if frame in KEEP_ALIVE:
            return
        if is_text(frame):
            metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.TEXT)
            logger.warning("the market channel says: %s", frame[:MAX_LOGGED_TEXT])
            return
        try:
            events = list(parse_events(frame))
        except InvalidMessage as error:
            self._quotes.invalidate_books()  # the unreadable frame may have changed any of them
            self._quotes.request_snapshots(self._quotes.tracked_tokens())
            await self._park(frame, str(error), publish)
            return
        if not events:
            metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.IGNORED)
        await self._on_events(events)
        unreadable = [event for event in events if isinstance(event, EventUnreadable)]
        if unreadable:
            self._quotes.request_snapshots([event.token_id for event in unreadable])
            await self._park(frame, unreadable[0].reason, publish)

    async def _on_events(self, events: list[BookEvent]) -> None:
        """Apply the events of one frame, then compare each book with what the venue named last."""
        best_by_token: dict[str, BestPrices | None] = {}
        for event in events:
            if isinstance(event, TickChanged):
                self._markets.invalidate(event.token_id)
            if not isinstance(event, EventUnreadable):
                metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.BOOK)
            self._quotes.apply(event)
            best_by_token[event.token_id] = event.best if isinstance(event, LevelChanged) else None
        for token_id, best in best_by_token.items():
            if best is None or not self._quotes.drop_if_diverged(token_id, best):
                await self._share(token_id)

    async def _share(self, token_id: str) -> None:
        tracked = self._quotes.peek(token_id)
        if tracked is None or not self._is_share_due(tracked):
            return
        book = tracked.read()
        if book is not None:
            tracked.shared_at = self._now()
            await self._shared.put(build_book_seen(token_id, book))

    def _is_share_due(self, tracked: TrackedBook) -> bool:
        if tracked.shared_at is None:
            return True
        return self._now() - tracked.shared_at >= self._share_interval

    async def _park(self, frame: str, reason: str, publish: Publish) -> None:
        metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.MALFORMED)
        await publish(park_frame(frame, feed="market", reason=reason, at=self._now()))


def build_subscription(tokens: list[str]) -> list[str]:
    """The frames that a new socket of the market channel starts with: one, with all tokens."""
    return [json.dumps({"type": "market", "assets_ids": tokens, "custom_feature_enabled": False})]
