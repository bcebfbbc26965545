"""Decides what fills of final blocks, and reports, make of an order and its trades. Pure.

The fills and the venue's reports may come in any order and repeatedly: in the end each transaction
counts once, with the sums of the chain's logs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate, pairwise

from services.executor.decisions.orders import Order, apply_trades
from services.executor.decisions.trades import FINAL_STATUSES, Trade, merge_trades
from shared.domain.money import ROUNDING_TOLERANCE_SHARES
from shared.messages.orders import FINAL_STATES, OrderState, TradeStatus
from shared.messages.transactions import FillsSettled, TransactionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What a transaction filled of an order, summed over its logs, in a final block."""

    transaction_hash: str
    shares: int
    usdc: int
    fee_usdc: int
    mined_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOrder:
    order: Order
    trades: tuple[Trade, ...]
    """All that are recorded of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """An order after its fills."""

    before: Order
    after: Order
    trades: tuple[Trade, ...]
    """Those that were changed or added."""

    @property
    def is_known(self) -> bool:
        """Whether all of it was recorded before: the fills have come again."""
        return not self.trades and self.after == self.before

    @property
    def contradicts(self) -> bool:
        """Whether the order had ended as something else than the chain shows. Exact amounts instead
        of rounded ones are nothing else.
        """
        return self.before.state in FINAL_STATES and (
            self.after.state is not self.before.state
            or abs(self.after.shares - self.before.shares) > ROUNDING_TOLERANCE_SHARES
        )

    @property
    def is_reported(self) -> bool:
        """Whether the order's end must be published: it is new, or it comes again, and then the
        process may have died before it was published.
        """
        return self.after.state in FINAL_STATES and (self.after != self.before or self.is_known)


def sum_fills(settled: FillsSettled) -> dict[str, list[Fill]]:
    """The fills of each order by its hash in lower case: one for each transaction."""
    sums: dict[tuple[str, str], tuple[int, int, int]] = {}
    for log in settled.fills:
        key = (log.order_hash.lower(), log.transaction_hash.lower())
        shares, usdc, fee_usdc = sums.get(key, (0, 0, 0))
        sums[key] = (shares + log.shares, usdc + log.usdc, fee_usdc + log.fee_usdc)
    by_order: dict[str, list[Fill]] = {}
    for (order_hash, transaction_hash), (shares, usdc, fee_usdc) in sums.items():
        if shares > 0:
            fill = Fill(
                transaction_hash=transaction_hash,
                shares=shares,
                usdc=usdc,
                fee_usdc=fee_usdc,
                mined_at=settled.mined_at,
            )
            by_order.setdefault(order_hash, []).append(fill)
    return by_order


def settle(recorded: RecordedOrder, fills: Iterable[Fill], *, now: datetime) -> Settlement:
    """The order and its trades after these fills of it."""
    order, trades, changed = recorded.order, recorded.trades, tuple[Trade, ...]()
    for fill in fills:
        settled = _apply_fill(trades, fill, matched_shares=order.shares)
        trades, changed = merge_trades(trades, settled), merge_trades(changed, settled)
    after = apply_new_trades(order, trades, now=now) if changed else order
    return Settlement(before=order, after=after, trades=changed)


def apply_new_trades(order: Order, trades: Iterable[Trade], *, now: datetime) -> Order:
    """The order after a report or a final block has made trades of it known: it was matched, also
    if it was taken to have no trade.

    ``trades``: all that are known. They are complete where the reply to the order, or a lookup, has
    said how much was matched. Of any other order only a lookup says so, which may end it.
    """
    if order.state is OrderState.CONFIRMED or (
        order.state is OrderState.MATCHED and order.unverified_since is None
    ):
        return apply_trades(order, trades)
    if order.state in FINAL_STATES:
        order = replace(order, reason=f"it was {order.state}, and a trade of it has become known")
    return apply_trades(replace(order, state=OrderState.MATCHED, unverified_since=now), trades)


def _apply_fill(trades: Sequence[Trade], fill: Fill, *, matched_shares: int) -> list[Trade]:
    """The trades that the fill changes or adds: those of its transaction, or the one that it must
    be, or one that nobody has named yet.
    """
    same = [trade for trade in trades if trade.transaction_hash.lower() == fill.transaction_hash]
    room = fill.shares - sum(trade.shares for trade in same)
    counted = sum(trade.shares for trade in trades if trade.status is not TradeStatus.FAILED)
    may_be_new = counted + room <= matched_shares + ROUNDING_TOLERANCE_SHARES
    others = [
        trade
        for trade in trades
        if trade not in same and _may_be_unsettled(trade, may_be_new=may_be_new)
    ]
    found = _find_filled(others, room, may_be_new=may_be_new, has_same=bool(same))
    filled = [*same, *found]
    if not filled:
        return [
            Trade(
                trade_id=fill.transaction_hash,
                status=TradeStatus.CONFIRMED,
                shares=fill.shares,
                usdc=fill.usdc,
                fee_usdc=fill.fee_usdc,
                matched_at=fill.mined_at,
                transaction_hash=fill.transaction_hash,
                chain_state=TransactionState.FINAL,
            )
        ]
    return [
        after
        for before, after in zip(filled, _share_out(fill, filled), strict=True)
        if after != before
    ]


def _may_be_unsettled(trade: Trade, *, may_be_new: bool) -> bool:
    """Whether a trade may be settled by a transaction that is not known to be its own: its own is
    not known, or may have been replaced by another. Also of a confirmed one, where the fill cannot
    be one trade more.
    """
    if trade.is_settled or trade.status is TradeStatus.FAILED:
        return False
    return not may_be_new or trade.status not in FINAL_STATUSES or not trade.transaction_hash


def _find_filled(
    others: Iterable[Trade], room: int, *, may_be_new: bool, has_same: bool
) -> list[Trade]:
    """Those of the unsettled trades that make up the so many shares of a transaction: the one with
    this amount. Where the match has no room for one trade more and the transaction names none, one
    of them must be it: the one with the nearest amount.
    """
    candidates = sorted(others, key=_certainty_of_transaction)
    if not candidates or room <= ROUNDING_TOLERANCE_SHARES:
        return []
    for trade in candidates:
        if abs(trade.shares - room) <= ROUNDING_TOLERANCE_SHARES:
            return [trade]
    if may_be_new:
        return []
    if sum(trade.shares for trade in candidates) <= room + ROUNDING_TOLERANCE_SHARES:
        return candidates
    return [] if has_same else [min(candidates, key=lambda trade: abs(trade.shares - room))]


def _certainty_of_transaction(trade: Trade) -> tuple[bool, bool, bool]:
    """The lower, the sooner a trade has another transaction than the one that it names, if any."""
    return (
        bool(trade.transaction_hash),
        trade.status is not TradeStatus.RETRYING,
        trade.status is TradeStatus.CONFIRMED,
    )


def _share_out(fill: Fill, trades: Sequence[Trade]) -> list[Trade]:
    """The trades of one transaction with exactly its amounts in sum, each by its shares."""
    weights = [trade.shares for trade in trades]
    amounts = zip(
        *(_divide(total, weights) for total in (fill.shares, fill.usdc, fill.fee_usdc)),
        strict=True,
    )
    return [
        replace(
            trade,
            status=TradeStatus.CONFIRMED,
            shares=shares,
            usdc=usdc,
            fee_usdc=fee_usdc,
            transaction_hash=fill.transaction_hash,
            chain_state=TransactionState.FINAL.value,
        )
        for trade, (shares, usdc, fee_usdc) in zip(trades, amounts, strict=True)
    ]


def _divide(total: int, weights: Sequence[int]) -> list[int]:
    """Parts of the total by weight, which add up to it exactly."""
    bounds = [total * up_to // sum(weights) for up_to in accumulate(weights, initial=0)]
    return [end - start for start, end in pairwise(bounds)]
