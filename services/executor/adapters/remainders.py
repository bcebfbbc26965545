"""Publishes the remainders of exits as new intents, which go through the pricer and preflight.

What was published is not stored. After a restart it is published again, which changes nothing: the
remainder's id is derived from its intent's, so the pricer, preflight and the executor recognise it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.rows import parse_order
from services.executor.decisions import UnfinishedExit, build_remainder, is_remainder_due
from services.executor.handler import ControlsReader
from shared.db.engine import autocommit, fetch_rows
from shared.db.tables import ORDER_HAS_REMAINDER
from shared.domain.errors import Transient
from shared.domain.follows import may_trade
from shared.messages.intents import CopyIntended, Intent
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

LOAD_UNFINISHED_EXITS = f"""
select * from executor.orders where {ORDER_HAS_REMAINDER} and expires_at > :now order by signed_at
"""


async def load_unfinished_exits(engine: AsyncEngine, *, now: datetime) -> list[UnfinishedExit]:
    """Exits with a remainder that have not expired, of all instances. Raises: Transient."""
    async with autocommit(engine) as connection:
        rows = await fetch_rows(connection, LOAD_UNFINISHED_EXITS, now=now)
    return [
        UnfinishedExit(
            order=parse_order(row),
            intent=Intent.model_validate_json(row.intent),
            requested_shares=row.requested_shares,
        )
        for row in rows
    ]


class RemainderFeed:
    """Publishes each remainder once it is due. While its mode forbids the exit it waits, because
    preflight would refuse it for good.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        controls: ControlsReader,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        poll_interval: timedelta,
        delay: timedelta,
    ) -> None:
        self._engine, self._controls, self._owns, self._now = engine, controls, owns, now
        self._poll_interval, self._delay = poll_interval, delay
        self._published: set[str] = set()
        """Intents whose remainders were published; forgotten once they are no longer loaded."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._poll(publish)
            except Transient as error:
                logger.warning("remainders of exits could not be published, retrying: %s", error)
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def _poll(self, publish: Publish) -> None:
        unfinished = [
            each
            for each in await load_unfinished_exits(self._engine, now=self._now())
            if self._owns(each.order.proxy)
        ]
        self._published &= {each.intent.intent_id for each in unfinished}
        for each in self._due(unfinished):
            with tracing.continue_trace(each.order.traceparent):
                await publish(build_copy_intended(each, now=self._now()))
            self._published.add(each.intent.intent_id)

    def _due(self, unfinished: Sequence[UnfinishedExit]) -> list[UnfinishedExit]:
        return [
            each
            for each in unfinished
            if each.intent.intent_id not in self._published
            and is_remainder_due(each, now=self._now(), delay=self._delay)
            and self._may_exit(each.intent)
        ]

    def _may_exit(self, intent: Intent) -> bool:
        return may_trade(
            self._controls.current().mode(leader=intent.leader, proxy=intent.proxy), intent.side
        )


def build_copy_intended(unfinished: UnfinishedExit, *, now: datetime) -> CopyIntended:
    remainder = build_remainder(unfinished, now=now)
    return CopyIntended(
        message_id=f"{remainder.intent_id}:intended", occurred_at=now, intent=remainder
    )
