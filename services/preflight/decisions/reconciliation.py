"""Compares what a leader holds with what his known trades explain, and intends the exits that are
missing. Pure.

Trades are edges, and any of them can be lost; the level is what the chain says that a leader holds.
Per follow and token one level is recorded, the *base*: so many shares at that block. What the
leader is expected to hold at a later block is the base and his accounted trades between the two
blocks. *Accounted* is a trade whose copy was judged, approved or refused: the follow has dealt with
it. The exceptions are sales that were too old to be copied when they were first seen, and those
that an exit by level has covered.

What the leader holds less than expected left him in another way: a lost sale, a merge, a
redemption, a transfer. Then the follow exits by the same proportion. What he holds more is bought
only by a follow that mirrors him (``mirror.py``), and raises the base only together with a trade.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from services.preflight.decisions.exits import proportion
from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendExit,
    JudgedTrade,
    MoveBase,
    Nothing,
    Reading,
    Step,
    Suspicion,
    Wait,
)
from services.preflight.decisions.superseded import sold_all_marker
from shared.domain.follows import Follow, Mode
from shared.domain.ids import derived_id
from shared.domain.money import MIN_REMAINDER_SHARES, ROUNDING_TOLERANCE_SHARES, Side
from shared.domain.terms import EndMode, EntryMode, ExitMode
from shared.messages.intents import CopyCause, Intent, LeaderLevel

SETTLES_WITHIN = timedelta(minutes=10)
"""A trade that is in no block by then never was settled, or under another transaction."""
RESOLUTION = timedelta(microseconds=1)
"""Of recorded times."""
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any trade was judged."""


def first_base(held: HeldToken, *, shares_then: int | None, reading: Reading) -> Base:
    """The base of a token that was never compared.

    ``shares_then``: what the leader held at the block of his newest accounted trade; None where the
    node does not know it any more: then what he holds now, and what his missed sales took. Trades
    that were judged shortly before may have been settled after it: they are accounted for anew.
    """
    accounted = [trade for trade in held.trades if not trade.is_missed]
    newest = max(accounted, key=lambda trade: trade.judged_at, default=None)
    mined_in = None if newest is None else reading.mined_in.get(newest.transaction_hash)
    since = NEVER if newest is None else newest.judged_at - SETTLES_WITHIN
    if shares_then is not None and mined_in is not None:
        return Base(leader_shares=shares_then, block_number=mined_in, accounted_at=since)
    missed = sum(trade.leader_shares for trade in held.trades if trade.is_missed)
    return Base(
        leader_shares=reading.leader_shares + missed,
        block_number=reading.block_number,
        accounted_at=since,
    )


def decide(
    held: HeldToken,
    reading: Reading,
    *,
    mode: Mode,
    suspicion: Suspicion | None,
    act_after: timedelta,
    now: datetime,
) -> Step:
    """What is to be done about a token that has a base."""
    if held.base is None:
        raise TypeError("a token without a base has to get its first one before")
    if held.is_under_way:
        return Nothing(why="an entry or exit is under way")
    if mode is Mode.HALTED:
        return Nothing(why="halted")
    if is_closed_out(held.follow, mode):
        return _sell_all(held, held.base, reading, CopyCause.ENDED, now=now)
    if held.follow.exits is ExitMode.NONE:
        return Nothing(why="the follow copies no exits")
    accounted = [trade for trade in held.trades if not trade.is_missed]
    if any(may_be_settled(trade, reading, now=now) for trade in accounted):
        return Nothing(why="a trade of the leader is not settled yet")
    return _compare(
        held,
        held.base,
        reading,
        accounted,
        suspicion=suspicion,
        act_after=act_after,
        now=now,
    )


def is_closed_out(follow: Follow, mode: Mode) -> bool:
    """Whether the follow is to sell all that it holds."""
    return mode is Mode.CLOSING or (not follow.active and follow.at_end is EndMode.CLOSE_OUT)


def expected_shares(base: Base, accounted: Sequence[JudgedTrade], reading: Reading) -> int:
    """What the leader should hold at the reading's block by all that is known, in micro-shares.

    A trade that is in no block for long counts only where it lowers that: it may have been settled
    under another transaction, or never.
    """
    shares = base.leader_shares
    for trade in accounted:
        mined_in = reading.mined_in.get(trade.transaction_hash)
        if mined_in is not None and not base.block_number < mined_in <= reading.block_number:
            continue  # the base shows it, or the reading does not yet
        if trade.side is Side.SELL:
            shares -= _lowered_by(trade, shares)
        elif mined_in is not None:
            shares += trade.leader_shares
    return max(0, shares)


def _lowered_by(sale: JudgedTrade, shares: int) -> int:
    """What a sale takes of the micro-shares that are expected. Its copy sold the proportion of what
    the leader held then: where that was less than expected, the same proportion is taken, so that
    what was missing before the sale is not missing in a larger one after it.
    """
    if sale.leader_held_shares and shares > sale.leader_held_shares:
        return proportion(shares, sold=sale.leader_shares, held_before=sale.leader_held_shares)
    return sale.leader_shares


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


def is_unsettled(trade: JudgedTrade, reading: Reading, *, now: datetime) -> bool:
    """Whether the reading does not show the trade and a later one may."""
    return _is_later(trade, reading) or may_be_settled(trade, reading, now=now)


def _is_later(trade: JudgedTrade, reading: Reading) -> bool:
    mined_in = reading.mined_in.get(trade.transaction_hash)
    return mined_in is not None and mined_in > reading.block_number


def may_be_settled(trade: JudgedTrade, reading: Reading, *, now: datetime) -> bool:
    """Whether it is not known if the reading shows the trade: no block has it, but soon one may."""
    mined_in = reading.mined_in.get(trade.transaction_hash)
    return mined_in is None and now - trade.judged_at < SETTLES_WITHIN


def _compare(
    held: HeldToken,
    base: Base,
    reading: Reading,
    accounted: Sequence[JudgedTrade],
    *,
    suspicion: Suspicion | None,
    act_after: timedelta,
    now: datetime,
) -> Step:
    expected = expected_shares(base, accounted, reading)
    missing = expected - reading.leader_shares
    to_sell = missing_exit(held.follow, held=held.shares, expected=expected, missing=missing)
    newest = accounted_until(accounted, reading)
    all_out = (
        _sell_all(held, base, reading, CopyCause.LEADER_OUT, now=now)
        if max(expected, reading.leader_shares) <= ROUNDING_TOLERANCE_SHARES
        else None
    )
    if isinstance(all_out, Nothing):
        return all_out
    if not to_sell and all_out is None:
        return (
            Nothing(why="") if newest is None else move_base(held, base, reading, newest, expected)
        )
    confirmed = confirm(
        suspicion, base, newest, difference=missing, act_after=act_after, reading=reading
    )
    if isinstance(confirmed, Wait):
        return confirmed
    if all_out is not None:
        return all_out
    sold = missing_exit(held.follow, held=held.shares, expected=expected, missing=confirmed)
    intent = _build_intent(
        held,
        base,
        reading,
        CopyCause.RECONCILED,
        leader_shares=confirmed,
        leader_held_shares=expected,
        shares=sold,
        now=now,
    )
    return IntendExit(intent=intent)


def accounted_until(accounted: Sequence[JudgedTrade], reading: Reading) -> datetime | None:
    """Until when the trades were judged that the reading takes into account; None: it takes none.
    Trades that were settled after its block come later.
    """
    if all(_is_later(trade, reading) for trade in accounted):
        return None
    later = [trade.judged_at for trade in accounted if _is_later(trade, reading)]
    newest = max(trade.judged_at for trade in accounted)
    return min([newest, *(judged_at - RESOLUTION for judged_at in later)])


def move_base(
    held: HeldToken, base: Base, reading: Reading, accounted_at: datetime, expected: int
) -> MoveBase:
    """The reading becomes the base; of a mirrored leader without what his trades don't explain,
    which is still to be bought.
    """
    is_mirrored = held.follow.active and held.follow.entries is EntryMode.MIRROR
    shares = min(expected, reading.leader_shares) if is_mirrored else reading.leader_shares
    return MoveBase(
        base=Base(
            leader_shares=shares,
            block_number=reading.block_number,
            accounted_at=accounted_at,
            reconciled_through=base.reconciled_through,
            mirrored_through=base.mirrored_through,
        )
    )


def confirm(
    suspicion: Suspicion | None,
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
        suspicion
        if suspicion is not None
        and suspicion.base_block_number == base.block_number
        and suspicion.accounted_at == newest
        else Suspicion(
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
    continued = Suspicion(
        base_block_number=begun.base_block_number,
        accounted_at=newest,
        shares=smallest,
        since=begun.since,
    )
    return Wait(suspicion=continued, until=until)


def _sell_all(
    held: HeldToken, base: Base, reading: Reading, cause: CopyCause, *, now: datetime
) -> Step:
    """One exit of everything, until what the follow holds changes."""
    intent = _build_intent(
        held,
        base,
        reading,
        cause,
        leader_shares=held.shares,
        leader_held_shares=held.shares,
        shares=held.shares,
        now=now,
    )
    if sold_all_marker(intent) == base.sold_all:
        return Nothing(why="its exit has ended with these shares left")
    return IntendExit(intent=intent)


def _build_intent(
    held: HeldToken,
    base: Base,
    reading: Reading,
    cause: CopyCause,
    *,
    leader_shares: int,
    leader_held_shares: int,
    shares: int,
    now: datetime,
) -> Intent:
    follow = held.follow
    return Intent(
        intent_id=derived_id(
            "level",
            cause.value,
            follow.follow_id,
            held.token_id,
            base.block_number,
            reading.block_number,
            leader_shares,
            leader_held_shares,
        ),
        proxy=follow.proxy,
        leader=follow.leader,
        follow_id=follow.follow_id,
        controls_version=follow.version,
        transaction_hash="",
        token_id=held.token_id,
        leader_token_id="" if held.leader_token_id == held.token_id else held.leader_token_id,
        side=Side.SELL,
        leader_price=None,
        leader_shares=leader_shares,
        leader_held_shares=leader_held_shares,
        usdc=0,
        shares=shares,
        filled_at=reading.block_at,
        seen_at=now,
        intended_at=now,
        cause=cause,
        level=LeaderLevel(
            shares=reading.leader_shares,
            block_number=reading.block_number,
            base_block_number=base.block_number,
        ),
    )
