"""Deletes what no judgement needs any more, so that what a copy is judged by does not grow with the
past, and corrects sums that are wrong. The history itself is in ``preflight.intents`` and
``preflight.verdicts``.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.reservation_sums import correct_sums
from shared.db.engine import autocommit, fetch_rows
from shared.domain.errors import Transient
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=10)
ROUNDS_BETWEEN_COPIES = 60
"""Reservations are deleted in each round. The other tables are read whole to find what can go, and
are cleaned once in so many rounds; so are the sums of reservations, of which all are read."""
MAX_ROWS = 5_000
"""Of one statement: it holds its locks for some ten milliseconds."""

DELETE_SETTLED = f"""
delete from preflight.reservations where intent_id in (
    select intent_id from preflight.reservations
    where settled_at < :before
    order by intent_id limit {MAX_ROWS} for update skip locked
)
returning intent_id
"""
DELETE_COPIES = f"""
delete from preflight.newest_copies where (follow_id, token_id) in (
    select c.follow_id, c.token_id from preflight.newest_copies c
    where c.judged_at < :before
      and not exists (
          select from preflight.positions p
          where p.follow_id = c.follow_id and p.token_id = c.token_id and p.shares <> 0
      )
      and not exists (
          select from preflight.reservations r
          where r.proxy = c.proxy and r.settled_at is null
            and r.follow_id = c.follow_id and r.token_id = c.token_id
      )
    order by c.follow_id, c.token_id limit {MAX_ROWS} for update of c skip locked
)
returning follow_id
"""
"""Of tokens that the follow neither holds nor is buying or selling."""
DELETE_SOLD = f"""
delete from preflight.positions where (follow_id, token_id) in (
    select follow_id, token_id from preflight.positions
    where shares = 0
    order by follow_id, token_id limit {MAX_ROWS} for update skip locked
)
returning follow_id
"""
DELETE_SUMS = f"""
delete from preflight.reservation_sums where proxy = any(array(
    select s.proxy from preflight.reservation_sums s
    where s.open_usdc = 0
      and not exists (select from preflight.reservations r where r.proxy = s.proxy)
    order by s.proxy limit {MAX_ROWS} for update of s skip locked
))
returning proxy
"""
"""Of followers without a recent copy. A copy that is recorded meanwhile locks the row, which stays,
or inserts it again."""


class CleanupFeed:
    """Deletes the rows of all instances, and corrects their sums. It publishes nothing."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        now: Callable[[], datetime],
        reservations_kept: timedelta,
        copies_kept: timedelta,
    ) -> None:
        """``reservations_kept``: since they were settled; ``copies_kept``: since the newest copy of
        a follow and token was judged.
        """
        self._engine, self._now = engine, now
        self._reservations_kept, self._copies_kept = reservations_kept, copies_kept

    async def __call__(self, _publish: Publish) -> None:
        number, is_due = 0, False
        while True:
            is_due = is_due or number % ROUNDS_BETWEEN_COPIES == 0
            try:
                if is_due:
                    await self.correct_sums()
                    await self.delete_copies()
                    is_due = False
                await self.delete_settled()
            except Transient as error:
                logger.warning("what is not needed could not be deleted, will retry: %s", error)
            number += 1
            await asyncio.sleep(INTERVAL.total_seconds())

    async def delete_settled(self) -> None:
        """Reservations that every balance shows by now. Raises: Transient."""
        before = self._now() - self._reservations_kept
        while await self._delete(DELETE_SETTLED, before=before) == MAX_ROWS:
            pass

    async def delete_copies(self) -> None:
        """Positions without shares, and the newest copies of tokens that are not held. Raises:
        Transient.
        """
        while await self._delete(DELETE_SOLD) == MAX_ROWS:
            pass
        before = self._now() - self._copies_kept
        while await self._delete(DELETE_COPIES, before=before) == MAX_ROWS:
            pass

    async def correct_sums(self) -> None:
        """The sums of open reservations, without those of followers that copy nothing. Raises:
        Transient.
        """
        await correct_sums(self._engine)
        while await self._delete(DELETE_SUMS) == MAX_ROWS:
            pass

    async def _delete(self, statement: str, **parameters: datetime) -> int:
        async with autocommit(self._engine) as connection:
            return len(await fetch_rows(connection, statement, **parameters))
