"""What each follow copies of a slice.

A BUY is sized by the follow's terms, and terms apply to a trade: a slice intends what the trade is
sized to with this slice, less what was intended for it already. What is below the venue's minimum
is not intended yet, and counts with a later slice of the trade. So the sum of a trade's intents is
the same, whatever the rows that reported it. While the trade is smaller than the follow's filters
allow, it is sized to nothing; the slice that lifts it over that minimum intends all of it.

A SELL is not sized by terms: it sells the proportion that the leader sold of what he held, which
preflight applies to what the follow holds.

A counter follow copies the complementary token: sized by what the leader's trade is worth at his
price, and judged by what the complementary token costs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from services.ingest.decisions.trades import CopySlice
from shared.domain.follows import Controls, Follow
from shared.domain.ids import intent_id
from shared.domain.money import BASE_UNIT, MIN_BUY_USDC, Side, cost_floor, shares_for
from shared.domain.outcomes import OutcomeToken
from shared.messages.intents import Intent, Missing
from shared.messages.leader_fills import LeaderFillSeen

Complement = OutcomeToken | Missing
"""The other token of a binary market, or why it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What an intent spends or sells, and what it is sized by. Micro-USDC and micro-shares."""

    usdc: int
    shares: int
    leader_usdc: int | None = None
    """Of a BUY: the leader's trade so far."""


def build_intents(
    copied: CopySlice,
    fill: LeaderFillSeen,
    slices: Iterable[CopySlice],
    controls_by_version: Mapping[int, Controls],
    *,
    complement: Complement | None = None,
) -> tuple[Intent, ...]:
    """The intents of one slice: at most one per follow.

    ``slices``: of the trade; those before the slice count. ``controls_by_version``: the controls of
    these slices. ``complement``: of the fill's token; None where no follow is a counter follow.
    """
    follows = controls_by_version[copied.controls_version].follows_for(fill.leader, fill.side)
    walked = sorted(
        (each for each in slices if each.sequence <= copied.sequence),
        key=lambda each: each.sequence,
    )
    sized = [
        (follow, _size(copied, walked, fill, follow, controls_by_version)) for follow in follows
    ]
    return tuple(
        _build_intent(copied, fill, follow, size, complement)
        for follow, size in sized
        if size is not None
    )


def _size(
    copied: CopySlice,
    walked: Iterable[CopySlice],
    fill: LeaderFillSeen,
    follow: Follow,
    controls_by_version: Mapping[int, Controls],
) -> _Size | None:
    """None where nothing is intended yet."""
    price = _copied_price(fill.price, follow)
    if fill.side is Side.SELL:
        return _Size(usdc=cost_floor(copied.shares, price), shares=copied.shares)
    usdc, leader_usdc = _size_buy(walked, fill, follow, controls_by_version)
    if usdc is None:
        return None
    return _Size(usdc=usdc, shares=shares_for(usdc, price), leader_usdc=leader_usdc)


def _copied_price(leader_price: Decimal, follow: Follow) -> Decimal:
    """The leader's price, or what it says of the complementary token: both cost 1 together."""
    return max(BASE_UNIT, 1 - leader_price) if follow.counter else leader_price


def _size_buy(
    walked: Iterable[CopySlice],
    fill: LeaderFillSeen,
    follow: Follow,
    controls_by_version: Mapping[int, Controls],
) -> tuple[int | None, int]:
    """The micro-USDC that the last slice intends, of the trade's slices in their sequence, and what
    the leader's trade is worth with it.

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
        missing = max(0, _copy_usdc(terms, leader_usdc) - intended_usdc)
        intended = missing if missing >= MIN_BUY_USDC else 0
        usdc = missing if intended or not number else None
        number += 1
        intended_usdc += intended
        if each.resent_of:
            resent.append((each, intended))
    return usdc, leader_usdc


def _copy_usdc(terms: Follow, leader_usdc: int) -> int:
    return terms.copy_usdc(leader_usdc) if leader_usdc >= terms.filters.min_leader_usdc else 0


def _leader_usdc(copy_slice: CopySlice, fill: LeaderFillSeen) -> int:
    if copy_slice.leader_usdc is not None:
        return copy_slice.leader_usdc
    return cost_floor(copy_slice.shares, fill.price)


def _build_intent(
    copied: CopySlice,
    fill: LeaderFillSeen,
    follow: Follow,
    size: _Size,
    complement: Complement | None,
) -> Intent:
    missing = None
    token = OutcomeToken(token_id=fill.token_id, outcome=fill.outcome)
    if follow.counter and isinstance(complement, OutcomeToken):
        token = complement
    elif follow.counter:
        token, missing = replace(token, outcome=""), complement or Missing.UNAVAILABLE
    return Intent(
        intent_id=intent_id(
            trade=fill.trade_id, from_shares=copied.from_shares, follow_id=follow.follow_id
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
        leader_usdc=size.leader_usdc,
        leader_held_shares=copied.leader_held_shares,
        usdc=size.usdc,
        shares=size.shares,
        filled_at=fill.filled_at,
        seen_at=fill.occurred_at,
        intended_at=copied.intended_at,
        title=fill.title,
        outcome=token.outcome,
        needs_market_details=fill.side is Side.BUY and follow.filters.need_market_details,
    )
