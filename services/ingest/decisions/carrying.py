"""What a follow carries from one trade to a later one, because it is below the venue's minimum.

Of each trade, what a follow could not intend is a *lot*. A later trade of the same leader and token
spends lots with what it is sized to itself, as soon as both suffice. Lots that are not spent in
time are let go, and so are all of a token that the leader sells: no entry may follow his exit. A
lot counts for one version of the follow's terms: between two of them the follow may have ended, and
the leader's exit was not its business then; or it may have begun to buy another token.

Each step keeps the sum: what was carried before and what the trade accrues are what is intended,
what is carried after, and what is let go.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from services.ingest.decisions.trades import RESENT_WITHIN
from shared.domain.money import MIN_BUY_USDC
from shared.domain.terms import Equities

MAX_LOTS = 20
"""Of one follow and token. Beyond, the oldest become one: a row must not grow with the number of a
leader's small trades."""


class SizeState(StrEnum):
    """What is done with a slice's size."""

    INTENDED = "intended"
    BELOW_MINIMUM = "below_minimum"
    """The first slice of a trade is intended however small, so that its refusal is seen. Its size
    is carried: it counts as not intended."""
    CARRIED = "carried"
    """There is no intent."""
    EQUITY_UNKNOWN = "equity_unknown"
    """It is intended, so that its refusal is seen. The trade's next slice is sized with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Micro-USDC that a trade was sized to and that were not intended yet."""

    trade_id: str
    """Empty: of several trades."""
    usdc: int
    since: datetime
    terms_version: int
    """Of the follow's terms that sized it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySize:
    """What one follow copies of one slice, and what it carries after it. Amounts in micro-USDC."""

    trade_id: str
    sequence: int
    """Of the slice in its trade."""
    follow_id: str
    token_id: str
    number: int
    """How many sizes were recorded of the follow and token before this one: no two of them spend
    the same lot."""
    state: SizeState
    usdc: int
    """Of the intent, where there is one."""
    carried_usdc: int
    """Of ``usdc``: what earlier trades carried."""
    accrued_usdc: int
    """What the trade was sized to with this slice; and what it kept of more, if it was sized to
    more before."""
    let_go_usdc: int
    """What was carried before, and is not any more."""
    lots: tuple[Lot, ...]
    """What is carried after this slice, the oldest first."""
    equities: Equities | None = None
    """What it was sized by; None: the follow does not copy a share of the equity."""

    @property
    def intended_usdc(self) -> int:
        return self.usdc if self.state is SizeState.INTENDED else 0

    @property
    def has_intent(self) -> bool:
        return self.state is not SizeState.CARRIED


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedLots:
    """The lots of a follow and token at one time, as one trade may use them."""

    own: tuple[Lot, ...]
    """Of the trade itself: they count with its later slices."""
    spendable: tuple[Lot, ...]
    others: tuple[Lot, ...]
    """Kept for later slices of their own trades alone."""
    let_go: tuple[Lot, ...]


NO_LOTS = CarriedLots(own=(), spendable=(), others=(), let_go=())


def divide_lots(
    lots: Sequence[Lot],
    *,
    trade_ids: Iterable[str],
    terms_version: int,
    at: datetime,
    carry_for: timedelta,
) -> CarriedLots:
    """Divide the lots by what a trade at that time may do with them.

    ``trade_ids``: the trade's own, and those as which its shares were copied. ``terms_version``: of
    the follow's terms that size it. ``carry_for``: how long later trades may spend a lot. Its own
    trade may for as long as more of it may be reported.
    """
    if not lots:
        return NO_LOTS
    ids = frozenset(trade_ids)
    kept_for = max(carry_for, RESENT_WITHIN)
    own, spendable, others, let_go = [], [], [], []
    for lot in lots:
        age = at - lot.since
        if age > kept_for or lot.terms_version != terms_version:
            let_go.append(lot)
        elif lot.trade_id in ids:
            own.append(lot)
        elif age < carry_for:
            spendable.append(lot)
        else:
            others.append(lot)
    return CarriedLots(
        own=tuple(own), spendable=tuple(spendable), others=tuple(others), let_go=tuple(let_go)
    )


def size_with_lots(
    lots: CarriedLots, *, owed_usdc: int, room_usdc: int
) -> tuple[int, int, tuple[Lot, ...], int]:
    """Return what a slice copies and how much of it was carried; the lots that are left of other
    trades; and what is left of its own trade.

    ``owed_usdc``: what its own trade is sized to and was not intended yet. ``room_usdc``: how much
    the trade may still intend. What is copied is intended only if the venue takes as little.
    """
    usdc = min(owed_usdc + sum_lots(lots.spendable), room_usdc)
    own = min(owed_usdc, usdc)
    if usdc < MIN_BUY_USDC:
        return usdc, usdc - own, (*lots.spendable, *lots.others), owed_usdc
    left = _spend(lots.spendable, usdc - own)
    return usdc, usdc - own, (*left, *lots.others), owed_usdc - own


def merge_lots(lots: Iterable[Lot]) -> tuple[Lot, ...]:
    """The lots without empty ones, the oldest first; the oldest of too many become one."""
    known = sorted((lot for lot in lots if lot.usdc), key=lambda lot: (lot.since, lot.trade_id))
    if len(known) <= MAX_LOTS:
        return tuple(known)
    oldest, newest = known[: 1 - MAX_LOTS], known[1 - MAX_LOTS :]
    merged = replace(oldest[0], trade_id="", usdc=sum_lots(oldest))
    return (merged, *newest)


def sum_lots(lots: Iterable[Lot]) -> int:
    """Micro-USDC of the lots."""
    return sum(lot.usdc for lot in lots)


def _spend(lots: Sequence[Lot], usdc: int) -> list[Lot]:
    """What is left of the lots after ``usdc`` of them are spent, the oldest first."""
    left = []
    for lot in lots:
        spent = min(lot.usdc, usdc)
        usdc -= spent
        left.append(replace(lot, usdc=lot.usdc - spent))
    return left
