"""Finds trades that were copied because the activity socket reported them, and are in no block."""

import asyncio
import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.caching.lru_cache import LruCache
from shared.db.engine import fetch_rows, transaction
from shared.domain.errors import Transient
from shared.domain.money import ROUNDING_TOLERANCE_SHARES
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

LOAD_UNSETTLED = """
select distinct on (fills.trade_id)
       fills.transaction_hash, fills.leader, fills.side, fills.filled_at, copied.shares
from unnest(cast(:leaders as text[])) as followed(leader)
cross join lateral (
    select * from ingest.fills
    where leader = followed.leader and filled_at between :since and :until and source = 'rtds'
    offset 0
) as fills
join lateral (
    select sum(to_shares - from_shares)
               filter (where trade_id = fills.trade_id and resent_of = '') as shares,
           coalesce(sum(to_shares - from_shares)
               filter (where resent_of = fills.trade_id), 0) as resent
    from ingest.copy_slices
    where trade_id = fills.trade_id or (resent_of = fills.trade_id and resent_of <> '')
) as copied on copied.shares > copied.resent + :dust
where not exists (
    select from ingest.fills as confirming
    where confirming.trade_id = fills.trade_id and confirming.source <> 'rtds'
    offset 0
)
order by fills.trade_id
"""
"""A trade whose shares were settled under another transaction, as its resent slices say, is not
unsettled."""

LOOKBACK = timedelta(hours=1)
REMEMBERED = 10_000
"""Transactions of which it is remembered that they were logged."""


class UnsettledTradesCheck:
    """Checks for such trades at an interval, and logs an error once for each. Nothing undoes their
    copies: an operator must decide what happens to them.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
        after: timedelta,
        check_interval: timedelta,
    ) -> None:
        """``after``: how long after its match a trade must be in a block."""
        self._engine, self._leaders, self._now = engine, leaders, now
        self._after, self._check_interval = after, check_interval
        self._reported: LruCache[str, bool] = LruCache(REMEMBERED)

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self.check()
            except Transient as error:
                logger.warning(
                    "leaders' trades could not be checked for failed settlements, "
                    "and are checked again in %s: %s",
                    self._check_interval,
                    error,
                )
            await asyncio.sleep(self._check_interval.total_seconds())

    async def check(self) -> None:
        """Raises: Transient."""
        until = self._now() - self._after
        async with transaction(self._engine) as connection:
            unsettled = await fetch_rows(
                connection,
                LOAD_UNSETTLED,
                leaders=sorted(self._leaders()),
                since=until - LOOKBACK,
                until=until,
                dust=ROUNDING_TOLERANCE_SHARES,
            )
        metrics.trades_unsettled(len(unsettled))
        for trade in unsettled:
            if not self._reported.get(trade.transaction_hash):
                logger.error(
                    "transaction %s of leader %s at %s was copied (%d micro-shares, %s) when the "
                    "activity socket reported it, and is in no block after %s: its settlement has "
                    "failed, its copies remain",
                    trade.transaction_hash,
                    trade.leader,
                    trade.filled_at,
                    trade.shares,
                    trade.side,
                    self._after,
                )
                self._reported.put(trade.transaction_hash, True)  # noqa: FBT003 - used as a set
