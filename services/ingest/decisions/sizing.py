"""What each follow copies of a slice."""

from collections.abc import Iterable

from services.ingest.decisions.trades import CopySlice
from shared.domain.follows import Follow
from shared.domain.ids import intent_id
from shared.domain.money import cost_floor, shares_for
from shared.messages.intents import Intent
from shared.messages.leader_fills import LeaderFillSeen


def build_intents(
    copied: CopySlice, fill: LeaderFillSeen, follows: Iterable[Follow]
) -> tuple[Intent, ...]:
    """One intent per follow, sized by the follow's terms at the leader's price."""
    leader_usdc = cost_floor(copied.shares, fill.price)
    return tuple(
        _build_intent(copied, fill, follow, usdc=follow.copy_usdc(leader_usdc))
        for follow in follows
    )


def _build_intent(copied: CopySlice, fill: LeaderFillSeen, follow: Follow, *, usdc: int) -> Intent:
    return Intent(
        intent_id=intent_id(
            trade=fill.trade_id, from_shares=copied.from_shares, follow_id=follow.follow_id
        ),
        proxy=follow.proxy,
        leader=fill.leader,
        follow_id=follow.follow_id,
        controls_version=copied.controls_version,
        transaction_hash=fill.transaction_hash,
        token_id=fill.token_id,
        side=fill.side,
        leader_price=fill.price,
        leader_shares=copied.shares,
        usdc=usdc,
        shares=shares_for(usdc, fill.price),
        filled_at=fill.filled_at,
        seen_at=fill.occurred_at,
        intended_at=copied.intended_at,
        title=fill.title,
        outcome=fill.outcome,
    )
