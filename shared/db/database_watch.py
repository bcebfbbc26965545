"""Does the database answer? For the readiness of a service that asks it of nothing else regularly
(those with controls ask it for them).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows
from shared.domain.errors import Transient

logger = logging.getLogger(__name__)

ASK_EVERY = timedelta(seconds=1)
LIMIT = timedelta(seconds=5)


class DatabaseWatch:
    """A feed of its service that feeds nobody, and a part of its readiness: it has "recovered"
    while the database answers.
    """

    name = "the database"

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        limit: timedelta = LIMIT,
        every: timedelta = ASK_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``limit``: after this long without an answer it counts as away."""
        self._engine, self._limit, self._every, self._clock = engine, limit, every, clock
        self._answered_at: float | None = None

    @property
    def is_ready(self) -> bool:
        return (
            self._answered_at is not None
            and self._clock() - self._answered_at <= self._limit.total_seconds()
        )

    async def refresh(self) -> None:
        """Raises: Transient where it does not answer."""
        asked_at = self._clock()
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, "select 1")
        self._answered_at = asked_at

    async def __call__(self, _: object) -> None:
        """Ask for the life of the process."""
        while True:
            try:
                await self.refresh()
            except Transient as error:
                logger.warning("the database does not answer: %s", error)
            await asyncio.sleep(self._every.total_seconds())
