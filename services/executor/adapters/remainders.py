"""What exits have left over goes around again: through the pricer and preflight, as a copy of its
own.

Nothing is kept here of what was told. After a restart it is told again, and the first telling
stands: the remainder's name is derived from its intent's, so that the pricer, preflight and we
ourselves know it again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import parse_order
from services.executor.decisions import UnfinishedExit, is_remainder_due, remainder_of
from services.executor.handler import ControlsBook
from shared.db.engine import autocommit, fetch_rows
from shared.domain.errors import Transient
from shared.domain.follows import may_trade
from shared.messages.intents import CopyIntended, Intent
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

UNFINISHED = """
select * from executor.orders
where intent <> '' and requested_shares - shares >= 100000 and (state = 'confirmed' or (state = 'killed' and last_reply = 'killed'))
  and expires_at > :now
order by signed_at
"""
"""Exits that are final and sold less than they were to, by a tenth of a share or more; none that
ended by the venue's silence alone."""


async def unfinished_exits(engine: AsyncEngine, *, now: datetime) -> list[UnfinishedExit]:
    """Of all instances, as long as their time is not over. Raises: Transient."""
    async with autocommit(engine) as connection:
        found = await fetch_rows(connection, UNFINISHED, now=now)
    return [
        UnfinishedExit(
            order=parse_order(row),
            intent=Intent.model_validate_json(row.intent),
            requested_shares=row.requested_shares,
        )
        for row in found
    ]


class RemainderFeed:
    """Tells of what is left, once it is due; what is halted then waits, instead of being refused
    for good.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        controls: ControlsBook,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        look_every: timedelta,
        continue_after: timedelta,
    ) -> None:
        self._engine, self._controls, self._owns, self._now = engine, controls, owns, now
        self._look_every, self._continue_after = look_every, continue_after
        self._told: set[str] = set()
        """Intents whose remainders were told, as long as they can be found."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._look(publish)
            except Transient as error:
                logger.warning("what exits have left over could not be looked at: %s", error)
            await asyncio.sleep(self._look_every.total_seconds())

    async def _look(self, publish: Publish) -> None:
        unfinished = [
            each
            for each in await unfinished_exits(self._engine, now=self._now())
            if self._owns(each.order.proxy)
        ]
        self._told &= {each.intent.intent_id for each in unfinished}
        for each in self._due(unfinished):
            with tracing.continue_trace(each.order.traceparent):
                await publish(intended(each, now=self._now()))
            self._told.add(each.intent.intent_id)

    def _due(self, unfinished: Sequence[UnfinishedExit]) -> list[UnfinishedExit]:
        return [
            each
            for each in unfinished
            if each.intent.intent_id not in self._told
            and is_remainder_due(each, now=self._now(), after=self._continue_after)
            and self._may_exit(each.intent)
        ]

    def _may_exit(self, intent: Intent) -> bool:
        return may_trade(
            self._controls.current().mode(leader=intent.leader, proxy=intent.proxy), intent.side
        )


def intended(unfinished: UnfinishedExit, *, now: datetime) -> CopyIntended:
    remainder = remainder_of(unfinished, now=now)
    return CopyIntended(
        message_id=f"{remainder.intent_id}:intended", occurred_at=now, intent=remainder
    )
