"""Entries of follows that mirror their leader: what he holds more than his known trades explain, at
the start and after gaps. Pure.

A token of which the follow knows no trade is compared with nothing: all that the leader holds of it
is more than explained. Each increase is one entry, sized by the follow's terms as a trade of that
worth. Whatever its verdict is, the increase counts as explained from then on.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendEntry,
    Nothing,
    Reading,
    Step,
    Suspicion,
    Wait,
)
from services.preflight.decisions.reconciliation import (
    NEVER,
    accounted_until,
    confirm,
    expected_shares,
    may_be_settled,
    move_base,
)
from shared.domain.follows import Follow, Mode
from shared.domain.ids import derived_id
from shared.domain.money import (
    MIN_BUY_USDC,
    MIN_REMAINDER_SHARES,
    Side,
    cost_floor,
    shares_for,
)
from shared.domain.terms import EntryMode
from shared.messages.intents import CopyCause, Intent, LeaderLevel

NOTHING_KNOWN = Base(leader_shares=0, block_number=0, accounted_at=NEVER)
"""Of a token of which the follow knows no trade: each that is seen later counts."""


def mirrors(follow: Follow) -> bool:
    """Whether the follow enters by what its leader holds."""
    return follow.active and follow.entries is EntryMode.MIRROR


def is_unknown(held: HeldToken) -> bool:
    """Whether the follow has nothing to do with the token so far."""
    return held.base is None and not held.trades and held.shares == 0


def decide_entry(
    held: HeldToken,
    reading: Reading,
    *,
    price: Decimal,
    mode: Mode,
    suspicion: Suspicion | None,
    act_after: timedelta,
    now: datetime,
) -> Step:
    """What is to be bought of a token that has a base. ``price``: about what a share costs, by
    which the entry is sized; what it may cost is decided by its verdict.
    """
    if held.base is None:
        raise TypeError("a token without a base has to get its first one before")
    if held.is_under_way:
        return Nothing(why="an entry or exit is under way")
    if mode is not Mode.ACTIVE:
        return Nothing(why=mode.value)
    accounted = [trade for trade in held.trades if not trade.is_missed]
    if any(may_be_settled(trade, reading, now=now) for trade in accounted):
        return Nothing(why="a trade of the leader is not settled yet")
    expected = expected_shares(held.base, accounted, reading)
    newest = accounted_until(accounted, reading)
    increase = reading.leader_shares - expected
    if cost_floor(max(0, increase), price) < MIN_BUY_USDC:
        is_compared = held.shares >= MIN_REMAINDER_SHARES
        if newest is None or is_compared:  # what is held, its exits compare
            return Nothing(why="")
        return move_base(held, held.base, reading, newest, expected)
    confirmed = confirm(
        suspicion, held.base, newest, difference=increase, act_after=act_after, reading=reading
    )
    if isinstance(confirmed, Wait):
        return confirmed
    return IntendEntry(
        intent=_build_entry(
            held, held.base, reading, increase=confirmed, expected=expected, price=price, now=now
        )
    )


def _build_entry(
    held: HeldToken,
    base: Base,
    reading: Reading,
    *,
    increase: int,
    expected: int,
    price: Decimal,
    now: datetime,
) -> Intent:
    follow = held.follow
    worth = cost_floor(increase, price)
    usdc = follow.copy_usdc(worth)
    return Intent(
        intent_id=derived_id(
            "level",
            CopyCause.MIRRORED.value,
            follow.follow_id,
            held.token_id,
            base.block_number,
            reading.block_number,
            increase,
            expected,
        ),
        proxy=follow.proxy,
        leader=follow.leader,
        follow_id=follow.follow_id,
        controls_version=follow.version,
        transaction_hash="",
        token_id=held.token_id,
        side=Side.BUY,
        leader_price=None,
        leader_shares=increase,
        leader_held_shares=expected,
        leader_usdc=worth,
        needs_market_details=follow.filters.need_market_details,
        usdc=usdc,
        shares=shares_for(usdc, price),
        filled_at=reading.block_at,
        seen_at=now,
        intended_at=now,
        cause=CopyCause.MIRRORED,
        level=LeaderLevel(
            shares=reading.leader_shares,
            block_number=reading.block_number,
            base_block_number=base.block_number,
        ),
    )
