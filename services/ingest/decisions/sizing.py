"""What each follow copies of a slice.

A BUY is sized by the follow's terms, and terms apply to a trade: a slice intends what the trade is
sized to with this slice, less what was intended for it already. So the sum of a trade's intents is
the same, whatever the rows that reported it. What is below the venue's minimum is not intended
yet: it counts with a later slice of the trade, or is carried to a later trade (``carrying``).
While the trade is smaller than the follow's filters allow, it is sized to nothing; the slice that
lifts it over that minimum intends all of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from services.ingest.decisions.carrying import (
    CarriedLots,
    CopySize,
    Lot,
    SizeState,
    divide_lots,
    merge_lots,
    size_with_lots,
    sum_lots,
)
from services.ingest.decisions.copied_parts import CopiedPart, PartsBySequence
from services.ingest.decisions.trades import CopySlice
from shared.domain.follows import Controls, Follow
from shared.domain.money import MIN_BUY_USDC, Side, cost_floor
from shared.domain.terms import Equities, EquityRange
from shared.messages.leader_fills import LeaderFillSeen

SliceOfFollow = tuple[int, str]
"""A slice of a trade, by its sequence, and a follow, by its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSizes:
    """The recorded sizes that matter to one trade."""

    by_slice: Mapping[SliceOfFollow, CopySize] = field(default_factory=dict)
    """Of the trade's slices."""
    latest_by_follow: Mapping[str, CopySize] = field(default_factory=dict)
    """The last ones in the trade's token, by the id of the follow."""
    of_others: frozenset[CopySize] = frozenset()
    """Of the trades as which its resent slices were copied."""

    def find_accrued(self, part: CopiedPart, follow_id: str) -> int | None:
        """What the slice of another trade added to what that trade was sized to, in micro-USDC;
        None where its size is not recorded.
        """
        accrued = {
            size.sequence: size.accrued_usdc
            for size in self.of_others
            if (size.trade_id, size.follow_id) == (part.trade_id, follow_id)
            and size.sequence <= part.sequence
        }
        if part.sequence not in accrued:
            return None
        latest = accrued.pop(part.sequence)
        return latest - (accrued[max(accrued)] if accrued else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizingFacts:
    """What the sizes of a trade's slices rest on."""

    controls_by_version: Mapping[int, Controls]
    """The controls of the trade's slices."""
    recorded: RecordedSizes
    copied_parts: PartsBySequence = field(default_factory=dict)
    """Of the trade's resent slices."""
    carry_for: timedelta = timedelta(0)
    """How long a later trade may spend what a follow carries."""
    equity_by_wallet: Mapping[str, EquityRange] = field(default_factory=dict)
    """Where it is known, for new slices; recorded ones keep what they were sized by."""

    def find_equities(self, terms: Follow) -> Equities | None:
        """What a copy is sized by; None where the follow does not copy a share of the equity.

        A reading may miss what the wallet has just bought, or count what it has just sold twice. So
        the leader counts with the highest of the recent ones and the follower with the lowest: an
        error makes the copy smaller.
        """
        if terms.equity_percent is None:
            return None
        leader = self.equity_by_wallet.get(terms.leader)
        follower = self.equity_by_wallet.get(terms.proxy)
        return Equities(
            leader_usdc=None if leader is None else leader.highest_usdc,
            follower_usdc=None if follower is None else follower.lowest_usdc,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of a trade's slices, and those of them that must be recorded."""

    by_slice: Mapping[SliceOfFollow, CopySize]
    leader_usdc_by_slice: Mapping[SliceOfFollow, int] = field(default_factory=dict)
    """What the leader's trade is worth with each, in micro-USDC."""
    to_record: tuple[CopySize, ...] = ()
    """All that follow from more than the trade's slices and the terms: those with which something
    is carried, and those by a share of the equity."""


def size_copies(
    fill: LeaderFillSeen,
    slices: Sequence[CopySlice],
    facts: SizingFacts,
    *,
    new: Iterable[CopySlice],
) -> Sizes:
    """The sizes of the trade's slices for each follow of its leader.

    ``slices``: of the trade, in their sequence. ``new``: those that are not recorded yet.
    """
    numbers = frozenset(each.sequence for each in new)
    versions = {each.controls_version for each in slices if not each.resent_of}
    follows = {
        follow.follow_id: follow
        for version in sorted(versions)
        for follow in facts.controls_by_version[version].follows_for(fill.leader, fill.side)
    }
    trade_id = fill.trade_id
    by_slice: dict[SliceOfFollow, CopySize] = {}
    leader_usdc: dict[SliceOfFollow, int] = {}
    to_record: list[CopySize] = []
    for follow in follows.values():
        walk = _Walk(fill=fill, trade_id=trade_id, follow=follow, facts=facts, new=numbers)
        for each in slices:
            walk.add(each)
        by_slice |= {(size.sequence, size.follow_id): size for size in walk.sizes}
        leader_usdc |= {
            (sequence, follow.follow_id): usdc for sequence, usdc in walk.leader_usdc.items()
        }
        to_record += walk.to_record
    return Sizes(by_slice=by_slice, leader_usdc_by_slice=leader_usdc, to_record=tuple(to_record))


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Sizes the slices of a trade for one follow, one after another.

    A resent slice was copied as another trade. It counts until a later slice covers its shares:
    then it has turned out that they were not resent.
    """

    fill: LeaderFillSeen
    trade_id: str
    """Of the fill: it is computed once for all follows."""
    follow: Follow
    facts: SizingFacts
    new: frozenset[int]
    """The sequences of the slices that are not recorded yet."""
    sizes: list[CopySize] = field(default_factory=list)
    to_record: list[CopySize] = field(default_factory=list)
    leader_usdc: dict[int, int] = field(default_factory=dict)
    """What the leader's trade is worth with each slice, by its sequence."""
    _number: int = 0
    _leader_usdc: int = 0
    _accrued_usdc: int = 0
    _intended_usdc: int = 0
    _resent: list[tuple[CopySlice, int]] = field(default_factory=list)
    """The resent slices that count, with what they are sized to."""
    _latest: CopySize | None = field(init=False)

    def __post_init__(self) -> None:
        self._latest = self.facts.recorded.latest_by_follow.get(self.follow.follow_id)

    def add(self, each: CopySlice) -> None:
        terms = self.facts.controls_by_version[each.controls_version].follow(
            leader=self.follow.leader, proxy=self.follow.proxy, side=self.fill.side
        )
        if terms is None:
            return
        if self.fill.side is Side.SELL:
            self._let_go(each)
            return
        self._leave_covered(each)
        self._leader_usdc += _leader_usdc(each, self.fill)
        self.leader_usdc[each.sequence] = self._leader_usdc
        if each.resent_of:
            self._add_resent(each, terms)
        else:
            self._add_size(each, self._find_recorded(each) or self._size(each, terms))
        self._number += 1

    def _leave_covered(self, each: CopySlice) -> None:
        for covered in [pair for pair in self._resent if pair[0].overlaps(each)]:
            self._resent.remove(covered)
            self._number -= 1
            self._leader_usdc -= _leader_usdc(covered[0], self.fill)
            self._accrued_usdc -= covered[1]
            self._intended_usdc -= covered[1]

    def _add_resent(self, each: CopySlice, terms: Follow) -> None:
        """A share of the equity cannot be computed again later: what was copied counts then."""
        equities = self.facts.find_equities(terms)
        usdc = None if equities is None else self._find_copied(each)
        if usdc is None:
            is_sized = equities is None or equities.are_known
            owed = self._copy_usdc(terms, equities) - self._accrued_usdc if is_sized else 0
            usdc = max(0, owed)
        self._accrued_usdc += usdc
        self._intended_usdc += usdc
        self._resent.append((each, usdc))

    def _find_copied(self, each: CopySlice) -> int | None:
        """What was copied of a resent slice as another trade, in micro-USDC; None where that is not
        recorded, as for terms that are not by equity.
        """
        copied = [
            (part, self.facts.recorded.find_accrued(part, self.follow.follow_id))
            for part in self.facts.copied_parts.get(each.sequence, ())
        ]
        known = [(part, accrued) for part, accrued in copied if accrued is not None]
        if not copied or len(known) < len(copied):
            return None
        return sum(accrued * part.shares // part.of_shares for part, accrued in known)

    def _add_size(self, each: CopySlice, size: CopySize) -> None:
        self.sizes.append(size)
        self._intended_usdc += size.intended_usdc
        if size.state is not SizeState.EQUITY_UNKNOWN:
            is_recorded = each.sequence in self.new or self._find_recorded(each) is not None
            # Only a slice from before sizes were recorded leaves something that is in no lot.
            self._accrued_usdc = size.accrued_usdc - (0 if is_recorded else sum_lots(size.lots))
        if each.sequence in self.new and (self._lots or size.lots or size.equities is not None):
            self.to_record.append(size)
            self._latest = size

    def _size(self, each: CopySlice, terms: Follow) -> CopySize:
        """The size of a slice that is not recorded: a new one, or one with which nothing was
        carried.
        """
        lots = divide_lots(
            self._lots if each.sequence in self.new else (),
            trade_ids=[self.trade_id, *(resent.resent_of for resent, _ in self._resent)],
            terms_version=terms.version,
            at=each.intended_at,
            carry_for=self.facts.carry_for,
        )
        equities = self.facts.find_equities(terms)
        if equities is not None and not equities.are_known:
            return self._leave_unsized(each, lots, SizeState.EQUITY_UNKNOWN, equities)
        if self._is_filtered(terms):
            return self._leave_unsized(each, lots, self._unintended, equities)
        intended_already = self._accrued_usdc - sum_lots(lots.own)
        owed = max(0, self._copy_usdc(terms, equities) - intended_already)
        usdc, carried, left, own_left = size_with_lots(
            lots, owed_usdc=owed, room_usdc=max(0, terms.max_usdc - self._intended_usdc)
        )
        state = SizeState.INTENDED if usdc >= MIN_BUY_USDC else self._unintended
        if own_left:
            since = min((lot.since for lot in lots.own), default=each.intended_at)
            own = Lot(
                trade_id=self.trade_id, usdc=own_left, since=since, terms_version=terms.version
            )
            left = (*left, own)
        return self._build_size(
            each,
            state=state,
            usdc=usdc,
            carried_usdc=carried,
            accrued_usdc=intended_already + owed,
            let_go_usdc=sum_lots(lots.let_go),
            lots=merge_lots(left) if left else (),
            equities=equities,
        )

    def _copy_usdc(self, terms: Follow, equities: Equities | None) -> int:
        """What the terms make of the trade so far."""
        return (
            0 if self._is_filtered(terms) else terms.copy_usdc(self._leader_usdc, equities=equities)
        )

    def _is_filtered(self, terms: Follow) -> bool:
        return self._leader_usdc < terms.filters.min_leader_usdc

    @property
    def _unintended(self) -> SizeState:
        """Of a slice that spends nothing: a trade's first one is intended all the same, so that its
        refusal is seen.
        """
        return SizeState.CARRIED if self._number else SizeState.BELOW_MINIMUM

    def _leave_unsized(
        self, each: CopySlice, lots: CarriedLots, state: SizeState, equities: Equities | None
    ) -> CopySize:
        """The trade accrues nothing by a slice that has no size yet: its next one is sized with
        it.
        """
        return self._build_size(
            each,
            state=state,
            accrued_usdc=self._accrued_usdc,
            let_go_usdc=sum_lots(lots.let_go),
            lots=merge_lots([*lots.own, *lots.spendable, *lots.others]),
            equities=equities,
        )

    def _let_go(self, each: CopySlice) -> None:
        """A sale of the leader: what is carried of its token is not bought any more."""
        if each.sequence not in self.new or each.resent_of or not self._lots:
            return
        size = self._build_size(each, let_go_usdc=sum_lots(self._lots))
        self.to_record.append(size)
        self._latest = size

    def _build_size(
        self,
        each: CopySlice,
        *,
        state: SizeState = SizeState.CARRIED,
        usdc: int = 0,
        carried_usdc: int = 0,
        accrued_usdc: int = 0,
        let_go_usdc: int,
        lots: tuple[Lot, ...] = (),
        equities: Equities | None = None,
    ) -> CopySize:
        return CopySize(
            trade_id=self.trade_id,
            sequence=each.sequence,
            follow_id=self.follow.follow_id,
            token_id=self.fill.token_id,
            number=0 if self._latest is None else self._latest.number + 1,
            state=state,
            usdc=usdc,
            carried_usdc=carried_usdc,
            accrued_usdc=accrued_usdc,
            let_go_usdc=let_go_usdc,
            lots=lots,
            equities=equities,
        )

    def _find_recorded(self, each: CopySlice) -> CopySize | None:
        return self.facts.recorded.by_slice.get((each.sequence, self.follow.follow_id))

    @property
    def _lots(self) -> tuple[Lot, ...]:
        return () if self._latest is None else self._latest.lots


def _leader_usdc(copy_slice: CopySlice, fill: LeaderFillSeen) -> int:
    if copy_slice.leader_usdc is not None:
        return copy_slice.leader_usdc
    return cost_floor(copy_slice.shares, fill.price)
