"""Entries of follows that mirror their leader: what he holds more than his known trades explain, at
the start and after gaps. Pure.

A token of which the follow knows no trade is compared with nothing: all that the leader holds of it
is more than explained. Each increase is one entry, sized by the follow's terms as a trade of that
worth. Whatever its verdict is, the increase counts as explained from then on.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from services.preflight.decisions.expectations import (
    NEVER,
    accounted_until,
    explained_shares,
    may_be_settled,
)
from services.preflight.decisions.level_intents import build_level_intent
from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendCopy,
    Nothing,
    PendingDifference,
    Reading,
    Step,
    Wait,
)
from services.preflight.decisions.reconciliation import confirm, move_base
from shared.domain.follows import Mode
from shared.domain.money import (
    MIN_BUY_USDC,
    MIN_REMAINDER_SHARES,
    Side,
    cost_floor,
    shares_for,
)
from shared.messages.intents import CopyCause

NOTHING_KNOWN = Base(leader_shares=0, block_number=0, accounted_at=NEVER)
"""Of a token of which the follow knows no trade: each that is seen later counts."""


def first_unknown_base(held: HeldToken) -> Base:
    """The base of a token that is unknown."""
    return replace(NOTHING_KNOWN, accounted_at=held.resumed_at or NEVER)


def is_unknown(held: HeldToken) -> bool:
    """Whether the follow has nothing to do with the token so far."""
    return held.base is None and not held.accounted and held.shares == 0


def decide_entry(
    held: HeldToken,
    reading: Reading,
    *,
    price: Decimal,
    mode: Mode,
    pending: PendingDifference | None,
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
    if any(may_be_settled(trade, reading, now=now) for trade in held.accounted):
        return Nothing(why="a trade of the leader is not settled yet")
    explained = explained_shares(held.base, held.accounted, reading)
    newest = accounted_until(held.accounted, reading)
    increase = reading.leader_shares - explained
    is_active = mode is Mode.ACTIVE
    if not is_active or cost_floor(max(0, increase), price) < MIN_BUY_USDC:
        is_compared = held.shares >= MIN_REMAINDER_SHARES
        if newest is None or is_compared:  # what is held, its exits compare
            return Nothing(why="" if is_active else mode.value)
        return move_base(held, held.base, reading, newest)
    confirmed = confirm(
        pending, held.base, newest, difference=increase, act_after=act_after, reading=reading
    )
    if isinstance(confirmed, Wait):
        return confirmed
    worth = cost_floor(confirmed, price)
    usdc = held.follow.copy_usdc(worth)
    return IntendCopy(
        intent=build_level_intent(
            held,
            held.base,
            reading,
            CopyCause.MIRRORED,
            side=Side.BUY,
            leader_shares=confirmed,
            leader_held_shares=explained,
            leader_usdc=worth,
            usdc=usdc,
            shares=shares_for(usdc, price),
            now=now,
        )
    )
