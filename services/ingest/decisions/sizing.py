"""What each follow copies of a slice.

A BUY is sized by the follow's terms, and terms apply to a trade: a slice intends what the trade is
sized to with this slice, less what was intended for it already. What is below the venue's minimum
is not intended yet, and counts with a later slice of the trade. So the sum of a trade's intents is
the same, whatever the rows that reported it.

A SELL is not sized by terms: it sells the proportion that the leader sold of what he held, which
preflight applies to what the follow holds.
"""

from collections.abc import Iterable, Mapping

from services.ingest.decisions.trades import CopySlice
from shared.domain.follows import Controls, Follow
from shared.domain.ids import intent_id
from shared.domain.money import MIN_BUY_USDC, Side, cost_floor, shares_for
from shared.messages.intents import Intent
from shared.messages.leader_fills import LeaderFillSeen


def build_intents(
    copied: CopySlice,
    fill: LeaderFillSeen,
    slices: Iterable[CopySlice],
    controls_by_version: Mapping[int, Controls],
) -> tuple[Intent, ...]:
    """The intents of one slice: at most one per follow.

    ``slices``: of the trade; those before the slice count. ``controls_by_version``: the controls of
    these slices.
    """
    follows = controls_by_version[copied.controls_version].follows_for(fill.leader, fill.side)
    if fill.side is Side.SELL:
        usdc = cost_floor(copied.shares, fill.price)
        return tuple(
            _build_intent(copied, fill, follow, usdc=usdc, shares=copied.shares)
            for follow in follows
        )
    walked = sorted(
        (each for each in slices if each.sequence <= copied.sequence),
        key=lambda each: each.sequence,
    )
    sized = [(follow, _size_buy(walked, fill, follow, controls_by_version)) for follow in follows]
    return tuple(
        _build_intent(copied, fill, follow, usdc=usdc, shares=shares_for(usdc, fill.price))
        for follow, usdc in sized
        if usdc is not None
    )


def _size_buy(
    walked: Iterable[CopySlice],
    fill: LeaderFillSeen,
    follow: Follow,
    controls_by_version: Mapping[int, Controls],
) -> int | None:
    """The micro-USDC that the last slice intends, of the trade's slices in their sequence.

    None where it intends nothing yet, because that is below the venue's minimum. A first slice is
    intended all the same, so that its refusal is seen; it counts as not intended.

    A resent slice was intended as another trade. It counts until a later slice covers its shares:
    then it has turned out that they were not resent.
    """
    usdc: int | None = None
    number = leader_usdc = intended_usdc = 0
    """Of the slices that count."""
    resent: list[tuple[CopySlice, int]] = []
    for each in walked:
        terms = controls_by_version[each.controls_version].follow(
            leader=follow.leader, proxy=follow.proxy
        )
        if terms is None:
            continue
        for covered in [pair for pair in resent if pair[0].overlaps(each)]:
            resent.remove(covered)
            number -= 1
            leader_usdc -= _leader_usdc(covered[0], fill)
            intended_usdc -= covered[1]
        leader_usdc += _leader_usdc(each, fill)
        missing = max(0, terms.copy_usdc(leader_usdc) - intended_usdc)
        intended = missing if missing >= MIN_BUY_USDC else 0
        usdc = missing if intended or not number else None
        number += 1
        intended_usdc += intended
        if each.resent_of:
            resent.append((each, intended))
    return usdc


def _leader_usdc(copy_slice: CopySlice, fill: LeaderFillSeen) -> int:
    if copy_slice.leader_usdc is not None:
        return copy_slice.leader_usdc
    return cost_floor(copy_slice.shares, fill.price)


def _build_intent(
    copied: CopySlice, fill: LeaderFillSeen, follow: Follow, *, usdc: int, shares: int
) -> Intent:
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
        leader_held_shares=copied.leader_held_shares,
        usdc=usdc,
        shares=shares,
        filled_at=fill.filled_at,
        seen_at=fill.occurred_at,
        intended_at=copied.intended_at,
        title=fill.title,
        outcome=fill.outcome,
    )
