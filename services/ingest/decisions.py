"""What of a leader's trade is new, and who copies it how? Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.domain.follows import Follow
from shared.domain.ids import intent_id
from shared.domain.money import cost_floor, shares_for
from shared.messages.intents import Intent
from shared.messages.leader_fills import LeaderFillSeen, Witness

DUST = 10_000
"""A hundredth of a share: two witnesses round differently, and no order is as small."""

RowKey = tuple[Witness, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a trade's shares that is copied at one time: from ``from_shares`` up to ``to_shares``."""

    from_shares: int
    to_shares: int
    made_known_by: RowKey
    """The row that made it known: handed to us again, that row gives the same part again."""
    controls_version: int
    intended_at: datetime

    @property
    def shares(self) -> int:
        return self.to_shares - self.from_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What is known of one trade: each witness's rows, and the parts that are copied already."""

    shares_by_row: Mapping[RowKey, int]
    parts: tuple[Part, ...]

    def part_of(self, row: RowKey) -> Part | None:
        return next((part for part in self.parts if part.made_known_by == row), None)

    @property
    def covered(self) -> int:
        return max((part.to_shares for part in self.parts), default=0)


def total_shares(shares_by_row: Mapping[RowKey, int]) -> int:
    """Micro-shares of the trade as far as it is known: what the witness who saw most of it saw.

    Each witness's sum is a lower bound of the truth (the activity feed cannot tell two equal fills apart, the chain can), so
    the largest is one too, and it can only grow: whatever the order of the rows, the end is the same.
    """
    sums: dict[Witness, int] = {}
    for (witness, _), shares in shares_by_row.items():
        sums[witness] = sums.get(witness, 0) + shares
    return max(sums.values(), default=0)


def row_of(fill: LeaderFillSeen) -> RowKey:
    return (fill.witness, fill.row_id)


def part_to_copy(gathered: Gathered, fill: LeaderFillSeen, *, controls_version: int, now: datetime) -> Part | None:
    """The part that ``fill`` makes known: the one it made known before, a new one, or none."""
    row = row_of(fill)
    if (known := gathered.part_of(row)) is not None:
        return known
    total = total_shares({**gathered.shares_by_row, row: fill.shares})
    if total - gathered.covered <= (DUST if gathered.parts else 0):
        return None
    return Part(from_shares=gathered.covered, to_shares=total, made_known_by=row, controls_version=controls_version, intended_at=now)


def intents_of(part: Part, fill: LeaderFillSeen, follows: Iterable[Follow]) -> tuple[Intent, ...]:
    """One intent per follow, sized by its terms at the leader's price."""
    leader_usdc = cost_floor(part.shares, fill.price)
    return tuple(_intent(part, fill, follow, usdc=follow.sized(leader_usdc)) for follow in follows)


def _intent(part: Part, fill: LeaderFillSeen, follow: Follow, *, usdc: int) -> Intent:
    return Intent(
        intent_id=intent_id(trade=fill.trade_id, from_shares=part.from_shares, follow_id=follow.follow_id),
        proxy=follow.proxy,
        leader=fill.leader,
        follow_id=follow.follow_id,
        controls_version=part.controls_version,
        transaction_hash=fill.transaction_hash,
        token_id=fill.token_id,
        side=fill.side,
        leader_price=fill.price,
        leader_shares=part.shares,
        usdc=usdc,
        shares=shares_for(usdc, fill.price),
        filled_at=fill.filled_at,
        seen_at=fill.occurred_at,
        intended_at=part.intended_at,
        title=fill.title,
        outcome=fill.outcome,
    )
