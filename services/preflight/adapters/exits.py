"""Publishes the next attempts of exits as new intents, which go through the pricer and preflight.

What was published is not stored. After a restart it is published again, which changes nothing: the
id of an attempt is derived from its exit's, so the pricer, preflight and the executor recognise it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters import statements
from services.preflight.adapters.rows import parse_exit
from services.preflight.decisions import Exit, build_continuation
from services.preflight.handler import ControlsReader
from shared.db.engine import autocommit, fetch_rows
from shared.domain.errors import Transient
from shared.domain.follows import may_trade
from shared.domain.money import Side
from shared.messages.intents import CopyIntended
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

MAX_ATTEMPTS_PER_POLL = 500
"""The others follow with the next poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueExit:
    """An exit whose next attempt is due: what decides whether it is published."""

    exit_id: str
    attempts: int
    """The number of its next attempt."""
    proxy: str
    leader: str
    expires_at: datetime


async def load_due_exits(engine: AsyncEngine, *, now: datetime) -> list[DueExit]:
    """Those of all instances. Raises: Transient."""
    async with autocommit(engine) as connection:
        rows = await fetch_rows(connection, statements.LOAD_DUE_EXITS, now=now)
    return [
        DueExit(
            exit_id=row.exit_id,
            attempts=row.attempts,
            proxy=row.proxy,
            leader=row.leader,
            expires_at=row.expires_at,
        )
        for row in rows
    ]


async def load_exits(engine: AsyncEngine, exits: Sequence[DueExit]) -> list[Exit]:
    """Those of which no further attempt was judged meanwhile, by another instance. Raises:
    Transient.
    """
    exit_ids = [each.exit_id for each in exits]
    attempts = {each.exit_id: each.attempts for each in exits}
    async with autocommit(engine) as connection:
        rows = await fetch_rows(connection, statements.LOAD_EXITS_BY_ID, exit_ids=exit_ids)
    return [parse_exit(row) for row in rows if row.attempts == attempts[row.exit_id]]


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
        self._published: set[DueExit] = set()
        """Whose next attempts were published; forgotten once they are no longer due."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._poll(publish)
            except Transient as error:
                logger.warning("exits could not be attempted again, retrying: %s", error)
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def _poll(self, publish: Publish) -> None:
        due = await load_due_exits(self._engine, now=self._now())
        self._published &= set(due)
        ready = [
            each
            for each in due
            if each not in self._published and self._owns(each.proxy) and self._may_attempt(each)
        ][:MAX_ATTEMPTS_PER_POLL]
        by_id = {each.exit_id: each for each in ready}
        for exit_ in await load_exits(self._engine, ready) if ready else ():
            with tracing.continue_trace(exit_.traceparent):
                await publish(build_copy_intended(exit_, now=self._now()))
            self._published.add(by_id[exit_.exit_id])

    def _may_attempt(self, due: DueExit) -> bool:
        mode = self._controls.current().mode(leader=due.leader, proxy=due.proxy)
        return may_trade(mode, Side.SELL) or self._now() >= due.expires_at


def build_copy_intended(exit_: Exit, *, now: datetime) -> CopyIntended:
    continuation = build_continuation(exit_, now=now)
    return CopyIntended(
        message_id=f"{continuation.intent_id}:intended", occurred_at=now, intent=continuation
    )
