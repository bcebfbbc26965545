"""Handles leaders' fills: stores each row, and makes an intent per follower of what is new."""

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
        """The stored trade of the fill, and those of its neighbours that can matter to it.
        Raises: Transient.
        """
        ...

    async def record(self, fill: LeaderFillSeen, reconciliation: Reconciliation) -> None:
        """Store the row and its slices in one commit. Storing them again changes nothing.

        Raises: Transient where another process has stored another slice from the same share on:
        load and decide again.
        """
        ...


class ControlsReader(Protocol):
    def known(self) -> Controls:
        """The newest controls that were read, confirmed or not: whether they may be acted on is
        decided in preflight. Raises: Transient where none were read yet.
        """
        ...

    async def as_of(self, version: int) -> Controls:
        """The controls at that version. Raises: Transient."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    trades: Trades
    controls: ControlsReader
    now: Callable[[], datetime]

    async def on_leader_fill_seen(self, fill: LeaderFillSeen) -> Sequence[Message]:
        """The intents of what is new; and rows of other trades that must be handled again, because
        they were taken for resent settlements of this trade.
        """
        context = await self.trades.load(fill)
        reconciliation = reconcile(
            context, fill, controls_version=self.controls.known().version, now=self.now()
        )
        await self.trades.record(fill, reconciliation)
        _report(fill, reconciliation)
        intended = [
            message
            for copy_slice in reconciliation.to_copy
            for message in await self._build_messages(copy_slice, fill)
        ]
        return [*intended, *reconciliation.reported_again]

    async def _build_messages(
        self, copy_slice: CopySlice, fill: LeaderFillSeen
    ) -> list[CopyIntended]:
        controls = await self.controls.as_of(copy_slice.controls_version)
        return [
            CopyIntended(
                message_id=f"{intent.intent_id}:intended",
                occurred_at=copy_slice.intended_at,
                intent=intent,
            )
            for intent in build_intents(copy_slice, fill, controls.follows_for(fill.leader))
        ]


def _report(fill: LeaderFillSeen, reconciliation: Reconciliation) -> None:
    """Count and log ambiguous trades: they are rare, and explain a late or missing copy."""
    if reconciliation.row.awaits_confirmation:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.AWAITS_CONFIRMATION)
        logger.info(
            "transaction %s of leader %s may be a resent settlement of a known trade: "
            "it is not copied until it is in a block",
            fill.transaction_hash,
            fill.leader,
        )
    for copy_slice in reconciliation.resent:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.RESENT)
        logger.info(
            "%d micro-shares of transaction %s were copied already, as trade %s: "
            "the settlement was resent, no new copies are made",
            copy_slice.shares,
            fill.transaction_hash,
            copy_slice.resent_of,
        )
    for row in reconciliation.reported_again:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.REPORTED_AGAIN)
        logger.info(
            "transaction %s is in a block, so transaction %s is another trade and not a resent "
            "settlement: its row is published again",
            fill.transaction_hash,
            row.transaction_hash,
        )
