"""Checks regularly whether the database answers, for the readiness of a service.

It is for services without controls: the others query the database for them regularly.
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

CHECK_INTERVAL = timedelta(seconds=1)
MAX_SILENCE = timedelta(seconds=5)


class DatabaseWatch:
    """A readiness check of its service, and a feed that publishes nothing."""

    name = "the database"

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        max_silence: timedelta = MAX_SILENCE,
        interval: timedelta = CHECK_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``max_silence``: after this long without an answer the database counts as unreachable."""
        self._engine, self._clock = engine, clock
        self._max_silence, self._interval = max_silence, interval
        self._answered_at: float | None = None

    @property
    def is_ready(self) -> bool:
        return (
            self._answered_at is not None
            and self._clock() - self._answered_at <= self._max_silence.total_seconds()
        )

    async def refresh(self) -> None:
        """Query the database. Raises: Transient where it does not answer."""
        requested_at = self._clock()
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, "select 1")
        self._answered_at = requested_at

    async def __call__(self, _: object) -> None:
        """Query the database regularly until cancelled."""
        while True:
            try:
                await self.refresh()
            except Transient as error:
                logger.warning("the database does not answer: %s", error)
            await asyncio.sleep(self._interval.total_seconds())
