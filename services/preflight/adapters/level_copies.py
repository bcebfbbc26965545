"""Acts on what the comparisons of levels have found: moves bases, waits, and publishes copies.

What was published is not stored: until its verdict is recorded it may be published again after a
restart, and then preflight refuses the second one, because the level was acted on.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.levels import save_bases
from services.preflight.decisions.expectations import NEVER, SETTLES_WITHIN
from services.preflight.decisions.levels import (
    HeldToken,
    IntendCopy,
    MoveBase,
    PendingDifference,
    Reading,
    Step,
    Wait,
)
from shared.messages.intents import CopyIntended, Intent
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""A follow, by its id, and a token."""
Compared = tuple[HeldToken, Reading, Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A copy that was published, and the base that it was intended by."""

    base_block_number: int
    sold_all: str
    block_at: datetime
    newest_trade_at: datetime
    """When the newest trade was judged that was known then: a later one supersedes the copy."""

    @classmethod
    def by(cls, held: HeldToken, intent: Intent) -> Self:
        """Raises: TypeError where the token has no base."""
        if held.base is None:
            raise TypeError("nothing is intended without a base")
        return cls(
            base_block_number=held.base.block_number,
            sold_all=held.base.sold_all,
            block_at=intent.filled_at,
            newest_trade_at=newest_trade_at(held),
        )

    def is_awaited(self, held: HeldToken, block_at: datetime) -> bool:
        """Whether its verdict may still come."""
        return (
            held.base is not None
            and held.base.block_number == self.base_block_number
            and held.base.sold_all == self.sold_all
            and newest_trade_at(held) == self.newest_trade_at
            and block_at - self.block_at < SETTLES_WITHIN
        )


class LevelCopies:
    """Remembers, from one round of a feed to the next, what is waited for and what was published.
    Tokens that a round did not compare are forgotten.
    """

    def __init__(self, engine: AsyncEngine, *, now: Callable[[], datetime]) -> None:
        self._engine, self._now = engine, now
        self._pending: dict[Key, PendingDifference] = {}
        self._published: dict[Key, Published] = {}

    def pending(self, held: HeldToken) -> PendingDifference | None:
        """The difference that earlier rounds have seen and that is not acted on yet."""
        return self._pending.get(held.key)

    async def act(self, compared: Sequence[Compared], publish: Publish) -> None:
        """Act on the steps of one round. Raises: Transient."""
        self._pending = {
            held.key: step.pending for held, _, step in compared if isinstance(step, Wait)
        }
        self._published = {
            held.key: published
            for held, reading, _ in compared
            if (published := self._published.get(held.key)) is not None
            and published.is_awaited(held, reading.block_at)
        }
        moved = [(held, step.base) for held, _, step in compared if isinstance(step, MoveBase)]
        await save_bases(self._engine, moved, now=self._now())
        for held, _, step in compared:
            if isinstance(step, IntendCopy) and held.key not in self._published:
                await self._publish(held, step.intent, publish)

    async def _publish(self, held: HeldToken, intent: Intent, publish: Publish) -> None:
        await publish(
            CopyIntended(
                message_id=f"{intent.intent_id}:intended",
                occurred_at=intent.intended_at,
                intent=intent,
            )
        )
        self._published[held.key] = Published.by(held, intent)
        metrics.copy_by_level(intent.cause)
        logger.info(
            "a %s copy is intended without a trade (%s): intent %s, follower %s, leader %s, "
            "token %s, at block %d the leader held %s micro-shares, expected were %s",
            intent.side.value,
            intent.cause.value,
            intent.intent_id,
            intent.proxy,
            intent.leader,
            intent.token_id,
            intent.level.block_number if intent.level else 0,
            intent.level.shares if intent.level else "unknown",
            intent.leader_held_shares,
        )


def newest_trade_at(held: HeldToken) -> datetime:
    """When the newest trade was judged that is accounted since the base."""
    return max((trade.judged_at for trade in held.accounted), default=NEVER)
