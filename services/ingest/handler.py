"""Gather a leader's fills into trades, and intend a copy of what is new for everybody who follows."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.ingest.decisions import (
    CopySlice,
    Reconciliation,
    TradeContext,
    build_intents,
    reconcile,
)
from shared.domain.follows import Controls
from shared.messages.base import Message
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe import metrics

logger = logging.getLogger(__name__)


class Trades(Protocol):
    async def load(self, fill: LeaderFillSeen) -> TradeContext:
        """What is known of the fill's trade, and of its neighbours as far as they can matter.
        Raises: Transient.
        """
        ...

    async def record(self, fill: LeaderFillSeen, finding: Reconciliation) -> None:
        """Keep the row, and the parts that it makes known, in one commit; keeping them again
        changes nothing.

        Raises: Transient where somebody else has recorded another part from the same share on: load
        and decide again.
        """
        ...


class ControlsBook(Protocol):
    def known(self) -> Controls:
        """The newest controls that were read; whether they may be acted on is judged before money
        moves, not here.
        """
        ...

    async def as_of(self, version: int) -> Controls:
        """The controls as they were. Raises: Transient."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    trades: Trades
    controls: ControlsBook
    now: Callable[[], datetime]

    async def on_leader_fill_seen(self, fill: LeaderFillSeen) -> Sequence[Message]:
        """The intents that follow; and rows to be told again, which come back here once what they
        were taken for is known to be another.
        """
        gathered = await self.trades.load(fill)
        finding = reconcile(
            gathered, fill, controls_version=self.controls.known().version, now=self.now()
        )
        await self.trades.record(fill, finding)
        _tell(fill, finding)
        intended = [
            message for part in finding.to_copy for message in await self._intended(part, fill)
        ]
        return [*intended, *finding.reported_again]

    async def _intended(self, part: CopySlice, fill: LeaderFillSeen) -> list[CopyIntended]:
        controls = await self.controls.as_of(part.controls_version)
        return [
            CopyIntended(
                message_id=f"{intent.intent_id}:intended",
                occurred_at=part.intended_at,
                intent=intent,
            )
            for intent in build_intents(part, fill, controls.follows_of(fill.leader))
        ]


def _tell(fill: LeaderFillSeen, finding: Reconciliation) -> None:
    """What is in doubt is rare, and somebody will ask why a copy was late or is none."""
    if finding.row.awaits_confirmation:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.AWAITS_CONFIRMATION)
        logger.info(
            "the row of %s may be another trade's: it waits until its transaction is in a block",
            fill.transaction_hash,
        )
    for part in finding.resent:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.RESENT)
        logger.info(
            "%d micro-shares of %s are taken for those copied as trade %s",
            part.shares,
            fill.transaction_hash,
            part.resent_of,
        )
    for again in finding.reported_again:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.REPORTED_AGAIN)
        logger.info(
            "%s is in a block of its own: %s is another trade",
            fill.transaction_hash,
            again.transaction_hash,
        )
