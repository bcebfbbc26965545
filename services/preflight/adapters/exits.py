"""Publishes the next attempts of exits as new intents, which go through the pricer and preflight.

What was published is not stored. After a restart it is published again, which changes nothing: the
id of an attempt is derived from its exit's, so the pricer, preflight and the executor recognise it.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters import statements
from services.preflight.adapters.rows import parse_exit
from services.preflight.decisions import Exit, build_continuation
from services.preflight.handler import ControlsReader
from shared.db.engine import autocommit, fetch_rows
from shared.domain.errors import Transient
from shared.domain.follows import may_trade
from shared.messages.intents import CopyIntended
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


async def load_due_exits(engine: AsyncEngine, *, now: datetime) -> list[Exit]:
    """Exits whose next attempt is due, of all instances. Raises: Transient."""
    async with autocommit(engine) as connection:
        rows = await fetch_rows(connection, statements.LOAD_DUE_EXITS, now=now)
    return [parse_exit(row) for row in rows]


class ExitFeed:
    """Publishes each attempt once it is due. While its mode forbids the exit it waits, because
    preflight would only refuse it; one that expires meanwhile is published, and ends.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        controls: ControlsReader,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        poll_interval: timedelta,
    ) -> None:
        self._engine, self._controls, self._owns, self._now = engine, controls, owns, now
        self._poll_interval = poll_interval
        self._published: set[tuple[str, int]] = set()
        """Exits and the numbers of their attempts that were published; forgotten once they are no
        longer loaded."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._poll(publish)
            except Transient as error:
                logger.warning("exits could not be attempted again, retrying: %s", error)
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def _poll(self, publish: Publish) -> None:
        due = [
            each
            for each in await load_due_exits(self._engine, now=self._now())
            if self._owns(each.intent.proxy)
        ]
        self._published &= {_attempt(each) for each in due}
        for each in due:
            if _attempt(each) in self._published or not self._may_attempt(each):
                continue
            with tracing.continue_trace(each.traceparent):
                await publish(build_copy_intended(each, now=self._now()))
            self._published.add(_attempt(each))

    def _may_attempt(self, exit_: Exit) -> bool:
        intent = exit_.intent
        mode = self._controls.current().mode(leader=intent.leader, proxy=intent.proxy)
        return may_trade(mode, intent.side) or self._now() >= exit_.expires_at


def _attempt(exit_: Exit) -> tuple[str, int]:
    return exit_.exit_id, exit_.attempts


def build_copy_intended(exit_: Exit, *, now: datetime) -> CopyIntended:
    continuation = build_continuation(exit_, now=now)
    return CopyIntended(
        message_id=f"{continuation.intent_id}:intended", occurred_at=now, intent=continuation
    )
