"""Compares what a leader holds with what his known trades explain, and intends the exits that are
missing. Pure.

Trades are edges, and any of them can be lost; the level is what the chain says that a leader holds.
Per follow and token one level is recorded, the *base*: so many shares at that block. What the
leader is expected to hold at a later block is the base and his accounted trades between the two
blocks. *Accounted* is a trade whose copy was judged, approved or refused: the follow has dealt with
it. The exceptions are sales that were too old to be copied when they were first seen, of a mirrored
leader also such purchases, and those that an exit by level has covered.

What the leader holds less than expected left him in another way: a lost sale, a merge, a
redemption, a transfer. Then the follow exits by the same proportion. What he holds more is bought
only by a follow that mirrors him (``mirror.py``), and raises the base only together with a trade.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from services.preflight.decisions.exits import proportion
from services.preflight.decisions.expectations import (
    NEVER,
    SETTLES_WITHIN,
    accounted_until,
    expected_shares,
    explained_shares,
    is_shown,
    may_be_settled,
)
from services.preflight.decisions.level_intents import build_level_intent
from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendCopy,
    MoveBase,
    Nothing,
    PendingDifference,
    Reading,
    Step,
    Wait,
    mirrors,
)
from services.preflight.decisions.superseded import sold_all_marker
from shared.domain.follows import Follow, Mode, is_closed_out
from shared.domain.money import MIN_REMAINDER_SHARES, ROUNDING_TOLERANCE_SHARES, Side
from shared.domain.terms import ExitMode
from shared.messages.intents import CopyCause


def first_base(held: HeldToken, *, shares_then: int | None, reading: Reading) -> Base:
    """The base of a token that was never compared.

    ``shares_then``: what the leader held at the block of his newest accounted trade; None where the
    node does not know it any more: then what he holds now, and what his missed sales took. Trades
    that were judged shortly before may have been settled after it: they are accounted for anew.
    """
    newest = max(held.accounted, key=lambda trade: trade.judged_at, default=None)
    mined_in = None if newest is None else reading.mined_in.get(newest.transaction_hash)
    since = held.resumed_at or NEVER
    if newest is not None:
        since = max(since, newest.judged_at - SETTLES_WITHIN)
    if shares_then is not None and mined_in is not None:
        return Base(leader_shares=shares_then, block_number=mined_in, accounted_at=since)
    missed = _missed_shares(held, reading)
    return Base(
        leader_shares=max(0, reading.leader_shares + missed),
        block_number=reading.block_number,
        accounted_at=since,
    )


def _missed_shares(held: HeldToken, reading: Reading) -> int:
    """What the reading lacks by missed sales, less what it shows by purchases that a follow that
    mirrors its leader has missed.
    """
    missed = [trade for trade in held.trades if trade.is_missed]
    sold = sum(trade.leader_shares for trade in missed if trade.side is Side.SELL)
    if not mirrors(held.follow):
        return sold
    bought = (trade for trade in missed if trade.side is Side.BUY and is_shown(trade, reading))
    return sold - sum(trade.leader_shares for trade in bought)


def decide(
    held: HeldToken,
    reading: Reading,
    *,
    mode: Mode,
    pending: PendingDifference | None,
    act_after: timedelta,
    now: datetime,
    closing_version: int = 0,
) -> Step:
    """What is to be done about a token that has a base. ``closing_version``: of the controls by
    which the mode is closing.
    """
    if held.base is None:
        raise TypeError("a token without a base has to get its first one before")
    if held.is_under_way:
        return Nothing(why="an entry or exit is under way")
    stopped = _stop(held, held.base, reading, mode=mode, version=closing_version, now=now)
    if isinstance(stopped, IntendCopy):
        return stopped
    if any(may_be_settled(trade, reading, now=now) for trade in held.accounted):
        return Nothing(why="a trade of the leader is not settled yet")
    if stopped is not None:
        return _account_trades(held, held.base, reading, stopped)
    if held.follow.exits is ExitMode.NONE:
        return _forget_difference(held, held.base, reading)
    return _compare(
        held,
        held.base,
        reading,
        pending=pending,
        act_after=act_after,
        now=now,
    )


def _stop(
    held: HeldToken, base: Base, reading: Reading, *, mode: Mode, version: int, now: datetime
) -> IntendCopy | Nothing | None:
    """What is done where holdings are not compared; None: they are."""
    if mode is Mode.HALTED:
        return Nothing(why="halted")
    if is_closed_out(held.follow, mode):
        newest = max(held.follow.version, version)
        return _sell_all(held, base, reading, CopyCause.ENDED, version=newest, now=now)
    return None


def missing_exit(follow: Follow, *, held: int, expected: int, missing: int) -> int:
    """What a follow that holds ``held`` micro-shares is to sell where its leader holds ``missing``
    less than ``expected``; 0 where that is too little to be sold.
    """
    if missing <= ROUNDING_TOLERANCE_SHARES:
        return 0
    shares = (
        held
        if follow.exits is ExitMode.ALL
        else proportion(held, sold=missing, held_before=expected)
    )
    return shares if shares >= MIN_REMAINDER_SHARES else 0


def _compare(
    held: HeldToken,
    base: Base,
    reading: Reading,
    *,
    pending: PendingDifference | None,
    act_after: timedelta,
    now: datetime,
) -> Step:
    expected = expected_shares(base, held.accounted, reading)
    missing = expected - reading.leader_shares
    to_sell = missing_exit(held.follow, held=held.shares, expected=expected, missing=missing)
    newest = accounted_until(held.accounted, reading)
    all_out = None
    if max(expected, reading.leader_shares) <= ROUNDING_TOLERANCE_SHARES:
        all_out = _sell_all_kept(held, base, reading, newest, now=now)
    if isinstance(all_out, Nothing):
        return _account_trades(held, base, reading, all_out)
    if not to_sell and all_out is None:
        return Nothing(why="") if newest is None else move_base(held, base, reading, newest)
    confirmed = confirm(
        pending, base, newest, difference=missing, act_after=act_after, reading=reading
    )
    if isinstance(confirmed, Wait):
        return confirmed
    if all_out is not None:
        return all_out
    sold = missing_exit(held.follow, held=held.shares, expected=expected, missing=confirmed)
    intent = build_level_intent(
        held,
        base,
        reading,
        CopyCause.RECONCILED,
        side=Side.SELL,
        leader_shares=confirmed,
        leader_held_shares=expected,
        shares=sold,
        now=now,
    )
    return IntendCopy(intent=intent)


def move_base(held: HeldToken, base: Base, reading: Reading, accounted_at: datetime) -> MoveBase:
    """The reading becomes the base; of a mirrored leader without what his trades don't explain,
    which is still to be bought.
    """
    shares = reading.leader_shares
    if mirrors(held.follow):
        shares = min(explained_shares(base, held.accounted, reading), shares)
    return MoveBase(
        base=Base(
            leader_shares=shares,
            block_number=reading.block_number,
            accounted_at=accounted_at,
            reconciled_through=base.reconciled_through,
            mirrored_through=base.mirrored_through,
        )
    )


def _account_trades(held: HeldToken, base: Base, reading: Reading, stopped: Nothing) -> Step:
    """Take the trades into account where nothing is sold. What is missing then is missing
    afterwards.
    """
    newest = accounted_until(held.accounted, reading)
    if newest is None:
        return stopped
    moved = move_base(held, base, reading, newest).base
    shares = max(moved.leader_shares, expected_shares(base, held.accounted, reading))
    return MoveBase(base=replace(moved, leader_shares=shares, sold_all=base.sold_all))


def _forget_difference(held: HeldToken, base: Base, reading: Reading) -> Step:
    """Of a follow that copies no exits: what the leader holds now is what he is expected to hold,
    also for the time when it copies them again.
    """
    newest = accounted_until(held.accounted, reading)
    moved = move_base(held, base, reading, newest or base.accounted_at)
    if newest is None and moved.base.leader_shares == base.leader_shares:
        return Nothing(why="the follow copies no exits")
    return moved


def confirm(
    pending: PendingDifference | None,
    base: Base,
    newest: datetime | None,
    *,
    difference: int,
    act_after: timedelta,
    reading: Reading,
) -> Wait | int:
    """The micro-shares of the difference since ``act_after``, by all readings since; or the
    wait.
    """
    begun = (
        pending
        if pending is not None
        and pending.base_block_number == base.block_number
        and pending.accounted_at == newest
        else PendingDifference(
            base_block_number=base.block_number,
            accounted_at=newest,
            shares=difference,
            since=reading.block_at,
        )
    )
    smallest = min(begun.shares, difference)
    until = begun.since + act_after
    if reading.block_at >= until:
        return smallest
    continued = PendingDifference(
        base_block_number=begun.base_block_number,
        accounted_at=newest,
        shares=smallest,
        since=begun.since,
    )
    return Wait(pending=continued, until=until)


def _sell_all_kept(
    held: HeldToken, base: Base, reading: Reading, newest: datetime | None, *, now: datetime
) -> IntendCopy | Nothing:
    """What the follow is to do with what it still holds when its leader is out. What it kept when
    it ended is the follower's business, until the leader trades again.
    """
    if held.resumed_at is not None and (newest or base.accounted_at) <= held.resumed_at:
        return Nothing(why="the shares were kept when the follow ended")
    version = held.follow.version
    return _sell_all(held, base, reading, CopyCause.LEADER_OUT, version=version, now=now)


def _sell_all(
    held: HeldToken,
    base: Base,
    reading: Reading,
    cause: CopyCause,
    *,
    version: int,
    now: datetime,
) -> IntendCopy | Nothing:
    """One exit of everything, until what the follow holds changes."""
    intent = build_level_intent(
        held,
        base,
        reading,
        cause,
        side=Side.SELL,
        leader_shares=held.shares,
        leader_held_shares=held.shares,
        shares=held.shares,
        controls_version=version,
        now=now,
    )
    if sold_all_marker(intent) == base.sold_all:
        return Nothing(why="its exit has ended with these shares left")
    return IntendCopy(intent=intent)
