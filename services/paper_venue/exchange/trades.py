"""Which matches became trades, how far is each on its way to the chain, and who may see it?"""

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
    """The chain refused a transaction; the settlement goes out again under another hash."""
    FAILED = "FAILED"


@dataclass(slots=True, kw_only=True)
class Trade:
    """One match and the transaction that settles it. Amounts in base units, times in ms since 1970."""

    id: str
    match: Match
    fee: int
    transaction_hash: str
    matched_at_ms: int
    updated_at_ms: int
    status: TradeStatus = TradeStatus.MATCHED
    status_history: list[tuple[int, TradeStatus, str]] = field(default_factory=list)
    """When it was told as what, and under which transaction's hash."""

    def set_status(self, status: TradeStatus, *, now_ms: int) -> None:
        self.status, self.updated_at_ms = status, now_ms
        self.status_history.append((now_ms, status, self.transaction_hash))

    def as_of(self, moment_ms: int) -> Self | None:
        """As it had been told by then. None: it had not."""
        told = [each for each in self.status_history if each[0] <= moment_ms]
        if not told:
            return None
        updated_at_ms, status, transaction_hash = told[-1]
        return replace(
            self, status=status, updated_at_ms=updated_at_ms, transaction_hash=transaction_hash
        )

    @property
    def wallets(self) -> set[str]:
        return {self.match.taker.maker, *(fill.maker.maker for fill in self.match.fills)}

    @property
    def owners(self) -> set[str]:
        """The API keys of everybody in it."""
        return {self.match.taker.owner, *(fill.maker.owner for fill in self.match.fills)}


def trade_id(order_id: str) -> str:
    """An order matches on arrival at most once, so its hash names the trade."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, order_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeFilter:
    """What ``GET /data/trades`` can ask for; None: anything. Times in seconds, both ends exclusive."""

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
    """Every trade since the start, newest last."""

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
        """The trades that an order was in, oldest first."""
        return self._ids_by_order.get(order_id, ())

    def find(
        self, owner: str, trade_filter: TradeFilter, *, moment_ms: int | None = None
    ) -> Iterator[Trade]:
        """The owner's trades that the filter admits, newest first; as they were at that moment, if
        one is given.
        """
        if trade_filter.id is not None:
            trade = self._by_id.get(trade_filter.id)
            candidates = [trade] if trade is not None and owner in trade.owners else []
        else:
            candidates = self._by_owner.get(owner, [])
        found = (trade for trade in reversed(candidates) if trade_filter.matches(trade))
        return (
            found
            if moment_ms is None
            else (past for trade in found if (past := trade.as_of(moment_ms)) is not None)
        )
