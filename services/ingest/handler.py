"""Gather a leader's fills into trades, and intend a copy of what is new for everybody who follows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.ingest.decisions import Gathered, Part, intents_of, part_to_copy
from shared.domain.follows import Controls
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import LeaderFillSeen


class Trades(Protocol):
    async def load(self, fill: LeaderFillSeen) -> Gathered:
        """What is known of the fill's trade. Raises: Transient."""
        ...

    async def record(self, fill: LeaderFillSeen, part: Part | None) -> None:
        """Keep the row, and the part that it makes known, in one commit; keeping them again changes nothing.

        Raises: Transient where somebody else has recorded another part from the same share on: load and decide again.
        """
        ...


class ControlsBook(Protocol):
    def known(self) -> Controls:
        """The newest controls that were read; whether they may be acted on is judged before money moves, not here."""
        ...

    async def as_of(self, version: int) -> Controls:
        """The controls as they were. Raises: Transient."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    trades: Trades
    controls: ControlsBook
    now: Callable[[], datetime]

    async def on_leader_fill_seen(self, fill: LeaderFillSeen) -> Sequence[CopyIntended]:
        gathered = await self.trades.load(fill)
        part = part_to_copy(gathered, fill, controls_version=self.controls.known().version, now=self.now())
        await self.trades.record(fill, part)
        if part is None:
            return []
        controls = await self.controls.as_of(part.controls_version)
        return [
            CopyIntended(message_id=f"{intent.intent_id}:intended", occurred_at=part.intended_at, intent=intent)
            for intent in intents_of(part, fill, controls.follows_of(fill.leader))
        ]
