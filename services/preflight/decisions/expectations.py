"""What a leader should hold by the trades that are accounted. Pure. Shares are micro-shares."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from services.preflight.decisions.exits import proportion
from services.preflight.decisions.levels import Base, JudgedTrade, Reading
from shared.domain.money import Side

SETTLES_WITHIN = timedelta(minutes=10)
"""A trade that is in no block by then never was settled, or under another transaction."""
RESOLUTION = timedelta(microseconds=1)
"""Of recorded times."""
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any trade was judged."""


def expected_shares(base: Base, accounted: Sequence[JudgedTrade], reading: Reading) -> int:
    """What the leader should hold at least at the reading's block by all that is known, in
    micro-shares.

    A trade that is in no block for long may have been settled under another transaction, or never:
    it counts only where it lowers that.
    """
    return _add_trades(base, accounted, reading, unsettled=Side.SELL, lowered_by=_lowered_at_most)


def explained_shares(base: Base, accounted: Sequence[JudgedTrade], reading: Reading) -> int:
    """What the leader holds at most by all that is known, in micro-shares: what he holds more is
    not explained. A trade that is in no block for long counts only where it raises that.
    """
    return _add_trades(base, accounted, reading, unsettled=Side.BUY, lowered_by=_lowered_at_least)


def _add_trades(
    base: Base,
    accounted: Sequence[JudgedTrade],
    reading: Reading,
    *,
    unsettled: Side,
    lowered_by: Callable[[JudgedTrade, int], int],
) -> int:
    shares = base.leader_shares
    for trade in accounted:
        mined_in = reading.mined_in.get(trade.transaction_hash)
        if mined_in is not None and not base.block_number < mined_in <= reading.block_number:
            continue  # the base shows it, or the reading does not yet
        if mined_in is None and trade.side is not unsettled:
            continue
        if trade.side is Side.BUY:
            shares += trade.leader_shares
        else:
            shares -= lowered_by(trade, shares)
    return max(0, shares)


def _lowered_at_most(sale: JudgedTrade, shares: int) -> int:
    """What a sale takes of the micro-shares that are expected. Its copy sold the proportion of what
    the leader held then: where that was less than expected, the same proportion is taken, so that
    what was missing before the sale is not missing in a larger one after it.
    """
    if sale.leader_held_shares and shares > sale.leader_held_shares:
        return proportion(shares, sold=sale.leader_shares, held_before=sale.leader_held_shares)
    return sale.leader_shares


def _lowered_at_least(sale: JudgedTrade, _: int) -> int:
    return sale.leader_shares


def is_unsettled(trade: JudgedTrade, reading: Reading, *, now: datetime) -> bool:
    """Whether the reading does not show the trade and a later one may."""
    return _is_later(trade, reading) or may_be_settled(trade, reading, now=now)


def is_shown(trade: JudgedTrade, reading: Reading) -> bool:
    mined_in = reading.mined_in.get(trade.transaction_hash)
    return mined_in is not None and mined_in <= reading.block_number


def _is_later(trade: JudgedTrade, reading: Reading) -> bool:
    mined_in = reading.mined_in.get(trade.transaction_hash)
    return mined_in is not None and mined_in > reading.block_number


def may_be_settled(trade: JudgedTrade, reading: Reading, *, now: datetime) -> bool:
    """Whether it is not known if the reading shows the trade: no block has it, but soon one may."""
    mined_in = reading.mined_in.get(trade.transaction_hash)
    return mined_in is None and now - trade.judged_at < SETTLES_WITHIN


def accounted_until(accounted: Sequence[JudgedTrade], reading: Reading) -> datetime | None:
    """Until when the trades were judged that the reading takes into account; None: it takes none.
    Trades that were settled after its block come later.
    """
    if all(_is_later(trade, reading) for trade in accounted):
        return None
    later = [trade.judged_at for trade in accounted if _is_later(trade, reading)]
    newest = max(trade.judged_at for trade in accounted)
    return min([newest, *(judged_at - RESOLUTION for judged_at in later)])
