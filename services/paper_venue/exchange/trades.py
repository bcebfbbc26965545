"""The venue's trades: their status on the way to the chain, and the queries that owners make."""

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from services.paper_venue.exchange.matching import Match


class TradeStatus(StrEnum):
    MATCHED = "MATCHED"
    MINED = "MINED"
    CONFIRMED = "CONFIRMED"
    RETRYING = "RETRYING"
    """A transaction reverted; the settlement is sent again under another hash."""
    FAILED = "FAILED"


@dataclass(slots=True, kw_only=True)
class Trade:
    """One match and the transaction that settles it. Amounts in base units, times in epoch ms."""

    id: str
    match: Match
    fee: int
    transaction_hash: str
    matched_at_ms: int
    updated_at_ms: int
    status: TradeStatus = TradeStatus.MATCHED
    status_history: list[tuple[int, TradeStatus, str]] = field(default_factory=list)
    """(epoch ms, status, transaction hash) of every publication, oldest first."""

    def set_status(self, status: TradeStatus, *, now_ms: int) -> None:
        self.status, self.updated_at_ms = status, now_ms
        self.status_history.append((now_ms, status, self.transaction_hash))

    def as_of(self, moment_ms: int) -> Self | None:
        """A copy with the status published last at that moment. None: not published by then."""
        published = [entry for entry in self.status_history if entry[0] <= moment_ms]
        if not published:
            return None
        updated_at_ms, status, transaction_hash = published[-1]
        return replace(
            self, status=status, updated_at_ms=updated_at_ms, transaction_hash=transaction_hash
        )

    @property
    def wallets(self) -> set[str]:
        return {self.match.taker.maker, *(fill.maker.maker for fill in self.match.fills)}

    @property
    def owners(self) -> set[str]:
        """The API keys of the taker and all makers."""
        return {self.match.taker.owner, *(fill.maker.owner for fill in self.match.fills)}


def trade_id(order_id: str) -> str:
    """The id of the trade that an incoming order makes: derived from the order's id, as an order is
    the taker of at most one match.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, order_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeFilter:
    """The filters of ``GET /data/trades``; None: any. Times in epoch seconds, both exclusive."""

    id: str | None = None
    market: str | None = None
    asset_id: str | None = None
    maker_address: str | None = None
    after: int | None = None
    before: int | None = None

    def matches(self, trade: Trade) -> bool:
        taker = trade.match.taker
        matched_at = trade.matched_at_ms // 1000
        return (
            (self.id is None or self.id == trade.id)
            and (self.market is None or self.market == taker.market.condition_id)
            and (self.asset_id is None or self.asset_id in _tokens(trade))
            and (
                self.maker_address is None
                or self.maker_address.lower() in {wallet.lower() for wallet in trade.wallets}
            )
            and (self.after is None or matched_at > self.after)
            and (self.before is None or matched_at < self.before)
        )


def _tokens(trade: Trade) -> set[str]:
    return {trade.match.taker.token_id, *(fill.maker.token_id for fill in trade.match.fills)}


@dataclass(slots=True)
class TradeLog:
    """Every trade since the venue started, oldest first."""

    _by_id: dict[str, Trade] = field(default_factory=dict)
    _ids_by_order: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _by_owner: defaultdict[str, list[Trade]] = field(default_factory=lambda: defaultdict(list))

    def add(self, trade: Trade) -> None:
        self._by_id[trade.id] = trade
        for owner in trade.owners:
            self._by_owner[owner].append(trade)
        for order_id in (trade.match.taker.id, *(fill.maker.id for fill in trade.match.fills)):
            self._ids_by_order[order_id].append(trade.id)

    def ids_for_order(self, order_id: str) -> Sequence[str]:
        """The ids of the trades that an order took part in, oldest first."""
        return self._ids_by_order.get(order_id, ())

    def find(
        self, owner: str, trade_filter: TradeFilter, *, moment_ms: int | None = None
    ) -> Iterator[Trade]:
        """The owner's trades that match the filter, newest first; as of ``moment_ms`` if given."""
        if trade_filter.id is not None:
            trade = self._by_id.get(trade_filter.id)
            candidates = [trade] if trade is not None and owner in trade.owners else []
        else:
            candidates = self._by_owner.get(owner, [])
        trades = (trade for trade in reversed(candidates) if trade_filter.matches(trade))
        return (
            trades
            if moment_ms is None
            else (past for trade in trades if (past := trade.as_of(moment_ms)) is not None)
        )
