"""As what the shares of resent slices were copied: as which slices of the other trade.

Resent slices take the shares that were copied as another trade in the order in which they were
made, beginning with its first slice. So the parts of a slice never change, whatever is reported of
either trade later.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.ingest.decisions.reconciliation import Reconciliation, merge_slices
from services.ingest.decisions.trades import CopySlice, TradeContext


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedPart:
    """Shares of a resent slice, and the slice of another trade as which they were copied."""

    trade_id: str
    sequence: int
    shares: int
    """Micro-shares that the two slices have in common."""
    of_shares: int
    """All micro-shares of the other trade's slice."""


PartsBySequence = Mapping[int, tuple[CopiedPart, ...]]
"""By the sequence of the resent slice in its trade."""


def find_copied_parts(context: TradeContext, reconciliation: Reconciliation) -> PartsBySequence:
    """The parts of each resent slice of the trade, stored or new."""
    own = [each for each in merge_slices(context, reconciliation) if each.resent_of]
    if not own:
        return {}
    trades = {other.trade_id: other for other in context.neighbours}
    known = {*context.resent_slices, *own}
    parts: dict[int, tuple[CopiedPart, ...]] = {}
    for each in own:
        if each.resent_of not in trades:
            continue
        same = [other for other in known if other.resent_of == each.resent_of]
        start = sum(other.shares for other in same if _order(other) < _order(each))
        copied = [part for part in trades[each.resent_of].slices if not part.resent_of]
        parts[each.sequence] = tuple(_divide(each, copied, start=start))
    return parts


def _order(resent: CopySlice) -> tuple[object, ...]:
    return (resent.intended_at, resent.caused_by, resent.sequence)


def _divide(resent: CopySlice, copied: Sequence[CopySlice], *, start: int) -> Iterator[CopiedPart]:
    """The parts of a resent slice that begins after ``start`` copied micro-shares."""
    reached, end = 0, start + resent.shares
    for each in sorted(copied, key=lambda each: each.sequence):
        common = min(end, reached + each.shares) - max(start, reached)
        reached += each.shares
        if common > 0:
            yield CopiedPart(
                trade_id=resent.resent_of,
                sequence=each.sequence,
                shares=common,
                of_shares=each.shares,
            )
