"""The intents of a slice: one for each follow that copies something of it.

A BUY spends what it was sized to (``sizing``). A SELL is not sized by terms: it sells the
proportion that the leader sold of what he held, which preflight applies to what the follow holds.

A follow that mirrors its leader gets an intent of each slice. One that adds nothing to buy is
refused, so that preflight knows the whole trade: it would buy what no trade explains.

A counter follow copies the complementary token: sized by what the leader's trade is worth at his
price, and judged by what the complementary token costs.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from services.ingest.decisions.sizing import Sizes
from services.ingest.decisions.trades import CopySlice
from shared.domain.follows import Controls, Follow
from shared.domain.ids import intent_id
from shared.domain.money import BASE_UNIT, Side, cost_floor, shares_for
from shared.domain.outcomes import OutcomeToken
from shared.domain.terms import EntryMode
from shared.messages.intents import Intent, Missing
from shared.messages.leader_fills import LeaderFillSeen

Complement = OutcomeToken | Missing
"""The other token of a binary market, or why it is not known."""


def build_intents(
    copied: CopySlice,
    fill: LeaderFillSeen,
    controls: Controls,
    sizes: Sizes,
    *,
    complement: Complement | None = None,
) -> tuple[Intent, ...]:
    """The intents of one slice: at most one per follow.

    ``controls``: those of the slice. ``sizes``: of the trade's slices. ``complement``: of the
    fill's token; None where no follow is a counter follow.
    """
    trade_id = fill.trade_id
    return tuple(
        _build_intent(copied, fill, trade_id, follow, complement, **size)
        for follow in controls.follows_for(fill.leader, fill.side)
        if (size := _list_size(copied, fill, follow, sizes)) is not None
    )


def _list_size(
    copied: CopySlice, fill: LeaderFillSeen, follow: Follow, sizes: Sizes
) -> dict[str, Any] | None:
    """The fields of the intent that say how much is copied; None where nothing is intended yet."""
    price = _copied_price(fill.price, follow)
    if fill.side is Side.SELL:
        return {"usdc": cost_floor(copied.shares, price), "shares": copied.shares}
    key = copied.sequence, follow.follow_id
    size = sizes.by_slice[key]
    if not size.has_intent and follow.entries is not EntryMode.MIRROR:
        return None
    equities = size.equities
    return dict(
        usdc=size.usdc,
        carried_usdc=size.carried_usdc,
        sized_by_equity=equities is not None,
        leader_equity_usdc=None if equities is None else equities.leader_usdc,
        follower_equity_usdc=None if equities is None else equities.follower_usdc,
        shares=shares_for(size.usdc, price),
        leader_usdc=sizes.leader_usdc_by_slice[key],
    )


def _copied_price(leader_price: Decimal, follow: Follow) -> Decimal:
    """The leader's price, or what it says of the complementary token: both cost 1 together."""
    return max(BASE_UNIT, 1 - leader_price) if follow.counter else leader_price


def _build_intent(
    copied: CopySlice,
    fill: LeaderFillSeen,
    trade_id: str,
    follow: Follow,
    complement: Complement | None,
    **size: Any,
) -> Intent:
    missing = None
    token = OutcomeToken(token_id=fill.token_id, outcome=fill.outcome)
    if follow.counter and isinstance(complement, OutcomeToken):
        token = complement
    elif follow.counter:
        token, missing = replace(token, outcome=""), complement or Missing.UNAVAILABLE
    return Intent(
        intent_id=intent_id(
            trade=trade_id,
            from_shares=copied.from_shares,
            follow_id=follow.follow_id,
            intended_at=copied.intended_at if copied.has_dated_ids else None,
        ),
        proxy=follow.proxy,
        leader=fill.leader,
        follow_id=follow.follow_id,
        controls_version=copied.controls_version,
        transaction_hash=fill.transaction_hash,
        token_id=token.token_id,
        leader_token_id=fill.token_id if follow.counter else "",
        complement_missing=missing,
        side=fill.side,
        leader_price=_copied_price(fill.price, follow),
        leader_shares=copied.shares,
        leader_held_shares=copied.leader_held_shares,
        filled_at=fill.filled_at,
        seen_at=fill.occurred_at,
        intended_at=copied.intended_at,
        title=fill.title,
        outcome=token.outcome,
        needs_market_details=fill.side is Side.BUY and follow.filters.need_market_details,
        **size,
    )
