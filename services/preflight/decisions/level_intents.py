"""Builds the intents of copies by level: no trade of the leader is copied. Pure."""

from datetime import datetime

from services.preflight.decisions.expectations import accounted_until
from services.preflight.decisions.levels import Base, HeldToken, Reading
from shared.domain.ids import level_intent_id
from shared.domain.money import Side
from shared.messages.intents import CopyCause, Intent, LeaderLevel


def build_level_intent(
    held: HeldToken,
    base: Base,
    reading: Reading,
    cause: CopyCause,
    *,
    side: Side,
    leader_shares: int,
    leader_held_shares: int,
    shares: int,
    now: datetime,
    usdc: int = 0,
    leader_usdc: int | None = None,
    controls_version: int | None = None,
) -> Intent:
    """The same reading gives the same intent. ``controls_version``: by which it is made; None: that
    of the follow's terms.
    """
    follow = held.follow
    return Intent(
        intent_id=level_intent_id(
            *(cause.value, follow.follow_id, held.token_id),
            *(base.block_number, reading.block_number, leader_shares, leader_held_shares),
            read_at=reading.block_at,
        ),
        proxy=follow.proxy,
        leader=follow.leader,
        follow_id=follow.follow_id,
        controls_version=follow.version if controls_version is None else controls_version,
        transaction_hash="",
        token_id=held.token_id,
        leader_token_id="" if held.leader_token_id == held.token_id else held.leader_token_id,
        side=side,
        leader_price=None,
        leader_shares=leader_shares,
        leader_held_shares=leader_held_shares,
        leader_usdc=leader_usdc,
        needs_market_details=side is Side.BUY and follow.filters.need_market_details,
        usdc=usdc,
        shares=shares,
        filled_at=reading.block_at,
        seen_at=now,
        intended_at=now,
        cause=cause,
        level=_build_level(held, base, reading),
    )


def _build_level(held: HeldToken, base: Base, reading: Reading) -> LeaderLevel:
    return LeaderLevel(
        shares=reading.leader_shares,
        block_number=reading.block_number,
        base_block_number=base.block_number,
        accounted_through=accounted_until(held.accounted, reading) or base.accounted_at,
    )
