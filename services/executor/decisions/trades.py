"""What is recorded of an order's trades after a report of the venue. Pure.

The venue names a trade by its id, the chain by its transaction. What the chain has settled is exact
and final, and no report of the venue changes it or counts it a second time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.domain.money import ROUNDING_TOLERANCE_SHARES
from shared.messages.orders import TradeReported, TradeStatus
from shared.messages.transactions import TransactionState

FINAL_STATUSES = frozenset({TradeStatus.CONFIRMED, TradeStatus.FAILED})

RANK_BY_STATUS = {
    TradeStatus.MATCHED: 0,
    TradeStatus.RETRYING: 1,
    TradeStatus.MINED: 1,
    TradeStatus.CONFIRMED: 2,
    TradeStatus.FAILED: 2,
}
"""Reports of a trade arrive in any order: its status never moves to a lower rank. MINED and
RETRYING may alternate, as often as the venue retries the settlement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A trade as we have recorded it. Amounts in micro-shares and micro-USDC, without the fee."""

    trade_id: str
    """The venue's; the transaction's hash where the chain made it known first."""
    status: TradeStatus
    shares: int
    usdc: int
    fee_usdc: int
    matched_at: datetime
    transaction_hash: str = ""
    """Empty until it is known."""
    chain_state: str = ""
    """The last known state of its transaction, a ``TransactionState``; empty: it is not known."""

    @property
    def is_settled(self) -> bool:
        """Whether its transaction is in a final block. Its amounts are those of the chain's logs,
        unless it shares the transaction with another trade and no fills of it were read yet.
        """
        return self.chain_state == TransactionState.FINAL


def is_update(known: Trade | TradeReported | None, reported: TradeReported) -> bool:
    """Whether a report changes what is known of a trade: its status, or the transaction that
    settles it. A final status never changes.
    """
    if known is None:
        return True
    if (
        known.status in FINAL_STATUSES
        or RANK_BY_STATUS[reported.status] < RANK_BY_STATUS[known.status]
    ):
        return False
    return reported.status is not known.status or reported.transaction_hash not in (
        "",
        known.transaction_hash,
    )


def apply_reports(
    trades: Iterable[Trade], reports: Iterable[TradeReported], *, matched_shares: int
) -> tuple[Trade, ...]:
    """Those of an order's trades that reports of the venue change or add, as they are then.

    ``matched_shares``: what is known to be matched of the order, in micro-shares.
    """
    known, changed = {trade.trade_id: trade for trade in trades}, dict[str, Trade]()
    for report in reports:
        trade = _apply_report(tuple(known.values()), report, matched_shares=matched_shares)
        if trade is not None:
            known[trade.trade_id] = changed[trade.trade_id] = trade
    return tuple(changed.values())


def merge_trades(trades: Iterable[Trade], changed: Iterable[Trade]) -> tuple[Trade, ...]:
    """An order's trades after some were changed or added, in the order of their matches."""
    merged = {trade.trade_id: trade for trade in (*trades, *changed)}
    return tuple(sorted(merged.values(), key=lambda trade: (trade.matched_at, trade.trade_id)))


def _apply_report(
    known: Sequence[Trade], report: TradeReported, *, matched_shares: int
) -> Trade | None:
    """The trade as the report leaves it; None: the report changes nothing."""
    settled = [trade for trade in known if trade.is_settled]
    is_counted = any(trade.transaction_hash == report.transaction_hash for trade in settled)
    same = next((trade for trade in known if trade.trade_id == report.trade_id), None)
    if same is None:
        is_known = settled and not _is_another(report, known, matched_shares=matched_shares)
        return None if is_counted or is_known else _build_trade(report)
    if not is_update(same, report):
        return None
    if same.is_settled and report.status is TradeStatus.CONFIRMED:
        return replace(same, status=TradeStatus.CONFIRMED)
    if same.is_settled or is_counted:
        return None
    return replace(
        same,
        status=report.status,
        transaction_hash=report.transaction_hash or same.transaction_hash,
    )


def _is_another(report: TradeReported, known: Iterable[Trade], *, matched_shares: int) -> bool:
    """Whether a trade that the venue names for the first time is none of those that the chain has
    settled. Only its end says so: until then, the venue may name a transaction that was replaced.
    And the known ones must leave room for it in the match.
    """
    counted = sum(trade.shares for trade in known if trade.status is not TradeStatus.FAILED)
    return (
        report.status in FINAL_STATUSES
        and counted + report.shares <= matched_shares + ROUNDING_TOLERANCE_SHARES
    )


def _build_trade(report: TradeReported) -> Trade:
    return Trade(
        trade_id=report.trade_id,
        status=report.status,
        shares=report.shares,
        usdc=report.usdc,
        fee_usdc=report.fee_usdc,
        matched_at=report.matched_at,
        transaction_hash=report.transaction_hash,
    )
