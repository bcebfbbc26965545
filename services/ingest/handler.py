"""Handles leaders' fills: stores each row, and makes an intent per follower of what is new."""

import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.ingest.decisions import (
    Complement,
    CopySize,
    CopySlice,
    OtherTrade,
    Reconciliation,
    RecordedSizes,
    RepeatedRows,
    Sizes,
    SizingFacts,
    TradeContext,
    build_intents,
    find_copied_parts,
    find_new_slices,
    has_waited,
    merge_slices,
    needs_holdings,
    reconcile,
    select_earlier_trades,
    size_copies,
    with_held_shares,
)
from shared.domain.follows import Controls
from shared.domain.history import may_be_pruned
from shared.domain.money import Side
from shared.domain.terms import EquityRange
from shared.messages.base import Message
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe import metrics

logger = logging.getLogger(__name__)


class Trades(Protocol):
    async def load(self, fill: LeaderFillSeen) -> TradeContext:
        """The stored trade of the fill, and those of its neighbours that can matter to it.
        Raises: Transient.
        """
        ...

    async def load_sizes(
        self, fill: LeaderFillSeen, follow_ids: AbstractSet[str], *, of_others: AbstractSet[str]
    ) -> RecordedSizes:
        """The recorded sizes of the trade's slices, the last one of each follow in the token, and
        those of other trades by their ids. Raises: Transient.
        """
        ...

    async def record(
        self,
        fill: LeaderFillSeen,
        reconciliation: Reconciliation,
        sizes: Sequence[CopySize] = (),
    ) -> None:
        """Store the row, its slices and their sizes in one commit. Storing them again changes
        nothing.

        Raises: Transient where another process has stored another slice of the trade, or another
        size of a follow in the token: load and decide again.
        """
        ...

    async def load_others(self, fill: LeaderFillSeen) -> Sequence[OtherTrade]:
        """The other trades of the leader and token, of either side, within ``RESENT_WITHIN`` of the
        fill. Raises: Transient.
        """
        ...


class Holdings(Protocol):
    async def fetch_held_before(self, fill: LeaderFillSeen, earlier: Sequence[OtherTrade]) -> int:
        """What the leader held of the token right before the trade, in micro-shares. ``earlier``:
        his trades that come before it, and may not be settled yet. Raises: Transient.
        """
        ...


class Complements(Protocol):
    async def find_complement(self, token_id: str) -> Complement:
        """Return the other token of the token's market, or why it is not known: a venue that does
        not answer is hardly waited for. One that was returned once is always returned.

        Raises: Transient where the store does not answer.
        """
        ...

    async def load_complement(self, token_id: str) -> Complement:
        """The same by the store alone, which has all that were returned. Raises: Transient."""
        ...


class Equities(Protocol):
    async def load(self, wallets: AbstractSet[str], at: datetime) -> Mapping[str, EquityRange]:
        """What the wallets were worth by the readings that count at that time; without those that
        were not read twice. Raises: Transient.
        """
        ...


class ControlsReader(Protocol):
    def known(self) -> Controls:
        """The newest controls that were read, confirmed or not: whether they may be acted on is
        decided in preflight. Raises: Transient where none were read yet.
        """
        ...

    async def as_of(self, version: int) -> Controls:
        """The controls at that version. Raises: Transient."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    trades: Trades
    holdings: Holdings
    complements: Complements
    controls: ControlsReader
    now: Callable[[], datetime]
    repeated_rows: RepeatedRows = RepeatedRows.SPEED
    equities: Equities | None = None
    """None: of no wallet it is known what it is worth."""
    carry_for: timedelta = timedelta(hours=1)
    """How long a later trade may spend what is below the venue's minimum."""

    async def on_leader_fill_seen(self, fill: LeaderFillSeen) -> Sequence[Message]:
        """The intents of what is new; and rows of other trades that must be handled again, because
        they were taken for resent settlements of this trade.
        """
        if may_be_pruned(fill.filled_at, now=self.now()):
            _report_pruned(fill)
            return []
        context = await self.trades.load(fill)
        reconciliation = reconcile(
            context,
            fill,
            controls_version=self.controls.known().version,
            now=self.now(),
            repeated_rows=self.repeated_rows,
        )
        if fill.side is Side.SELL:
            reconciliation = await self._add_held_shares(context, fill, reconciliation)
        slices = merge_slices(context, reconciliation)
        controls = await self._load_controls(slices if reconciliation.to_copy else ())
        sizes = await self._size(context, fill, reconciliation, controls)
        await self.trades.record(fill, reconciliation, sizes.to_record)
        _report(context, fill, reconciliation)
        _report_carried(sizes)
        intended = [
            message
            for copied in reconciliation.to_copy
            for message in await self._build_messages(
                copied, fill, controls[copied.controls_version], sizes
            )
        ]
        return [*intended, *reconciliation.reported_again]

    async def _build_messages(
        self, copied: CopySlice, fill: LeaderFillSeen, controls: Controls, sizes: Sizes
    ) -> list[CopyIntended]:
        follows = controls.follows_for(fill.leader, fill.side)
        complement = (
            await self._find_complement(fill) if any(follow.counter for follow in follows) else None
        )
        return [
            CopyIntended(
                message_id=f"{intent.intent_id}:intended",
                occurred_at=copied.intended_at,
                intent=intent,
            )
            for intent in build_intents(copied, fill, controls, sizes, complement=complement)
        ]

    async def _find_complement(self, fill: LeaderFillSeen) -> Complement:
        """A follow can sell only what it bought, whose token is stored: so that an exit of the
        leader's other followers never waits for the venue.
        """
        if fill.side is Side.SELL:
            return await self.complements.load_complement(fill.token_id)
        return await self.complements.find_complement(fill.token_id)

    async def _load_controls(self, slices: Sequence[CopySlice]) -> Mapping[int, Controls]:
        return {
            version: await self.controls.as_of(version)
            for version in {each.controls_version for each in slices}
        }

    async def _size(
        self,
        context: TradeContext,
        fill: LeaderFillSeen,
        reconciliation: Reconciliation,
        controls: Mapping[int, Controls],
    ) -> Sizes:
        """The sizes of the trade's slices; none where the row led to no slice that is copied."""
        follow_ids = {
            follow.follow_id
            for each in reconciliation.to_copy
            for follow in controls[each.controls_version].follows_for(fill.leader, fill.side)
        }
        if not follow_ids:
            return Sizes(by_slice={})
        new = find_new_slices(context, reconciliation)
        parts = find_copied_parts(context, reconciliation)
        others = {part.trade_id for of_slice in parts.values() for part in of_slice}
        facts = SizingFacts(
            controls_by_version=controls,
            recorded=await self.trades.load_sizes(fill, follow_ids, of_others=others),
            copied_parts=parts,
            carry_for=self.carry_for,
            equity_by_wallet=await self._load_equities(fill, new, controls),
        )
        return size_copies(fill, merge_slices(context, reconciliation), facts, new=new)

    async def _load_equities(
        self, fill: LeaderFillSeen, new: Sequence[CopySlice], controls: Mapping[int, Controls]
    ) -> Mapping[str, EquityRange]:
        """What wallets were worth when the new slices were intended, where a follow needs it."""
        follows = {
            follow
            for each in new
            for follow in controls[each.controls_version].follows_for(fill.leader)
            if follow.equity_percent is not None
        }
        if not follows or self.equities is None or fill.side is Side.SELL:
            return {}
        wallets = {fill.leader, *(follow.proxy for follow in follows)}
        return await self.equities.load(wallets, max(each.intended_at for each in new))

    async def _add_held_shares(
        self, context: TradeContext, fill: LeaderFillSeen, reconciliation: Reconciliation
    ) -> Reconciliation:
        held_before = None
        if needs_holdings(context, reconciliation):
            others = await self.trades.load_others(fill)
            earlier = select_earlier_trades(context, fill, reconciliation, others)
            held_before = await self.holdings.fetch_held_before(fill, earlier)
        return with_held_shares(context, reconciliation, held_before=held_before)


def _report_pruned(fill: LeaderFillSeen) -> None:
    metrics.trade_ambiguous(metrics.AmbiguousTrade.BEFORE_HISTORY)
    logger.warning(
        "transaction %s of leader %s is from %s: whether it was copied is not known any more, "
        "it is not copied",
        fill.transaction_hash,
        fill.leader,
        fill.filled_at,
    )


def _report(context: TradeContext, fill: LeaderFillSeen, reconciliation: Reconciliation) -> None:
    """Count what is copied, and count and log ambiguous trades: they are rare, and explain a late
    or missing copy.
    """
    for new in find_new_slices(context, reconciliation):
        waited = has_waited(context, new)
        metrics.trade_copied(metrics.CopyStart.WAITED if waited else metrics.CopyStart.AT_ONCE)
    if reconciliation.row.awaits_confirmation:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.AWAITS_CONFIRMATION)
        logger.info(
            "transaction %s of leader %s may be a resent settlement of a known trade: "
            "it is not copied until it is in a block",
            fill.transaction_hash,
            fill.leader,
        )
    for copy_slice in reconciliation.resent:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.RESENT)
        logger.info(
            "%d micro-shares of transaction %s were copied already, as trade %s: "
            "the settlement was resent, no new copies are made",
            copy_slice.shares,
            fill.transaction_hash,
            copy_slice.resent_of,
        )
    for row in reconciliation.reported_again:
        metrics.trade_ambiguous(metrics.AmbiguousTrade.REPORTED_AGAIN)
        logger.info(
            "transaction %s is in a block, so transaction %s is another trade and not a resent "
            "settlement: its row is published again",
            fill.transaction_hash,
            row.transaction_hash,
        )


def _report_carried(sizes: Sizes) -> None:
    """Count what is recorded of carried amounts."""
    for size in sizes.to_record:
        if size.let_go_usdc:
            metrics.amount_carried(metrics.CarriedAmount.LET_GO)
        if size.carried_usdc and size.intended_usdc:
            metrics.amount_carried(metrics.CarriedAmount.SPENT)
        elif size.lots and not size.intended_usdc:
            metrics.amount_carried(metrics.CarriedAmount.KEPT)
