"""A fake chain, settler, channels and clock that a test can inspect."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.paper_venue.exchange.accounts import Holdings
from services.paper_venue.exchange.orders import Market
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.lifecycle.settlement import Receipt, Settlement, SignedTransaction
from shared.domain.errors import Transient
from tests.unit.paper_venue.builders import rich


@dataclass
class FakeChain:
    """Every wallet has ``collateral`` and plenty of shares; none is a contract wallet."""

    reads: list[str] = field(default_factory=list)
    collateral: int = 10**12

    async def fetch_holdings(self, wallet: str, token_ids: Sequence[str]) -> Holdings:
        self.reads.append(wallet)
        return rich(collateral=self.collateral)

    async def fetch_owner(self, wallet: str) -> str | None:
        return None


@dataclass
class FakeSettler:
    """Signs; mines what was sent, in order. ``statuses``: receipts' by nonce (default 1);
    ``failures``: the number of first calls that fail.
    """

    statuses: Mapping[int, int] = field(default_factory=dict)
    failures: int = 0
    signed: list[Settlement] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def sign(self, settlement: Settlement, *, fails: bool = False) -> SignedTransaction:
        self.signed.append(settlement)
        if fails:
            self.statuses = {**self.statuses, len(self.signed): 0}
        return SignedTransaction(
            hash=f"0x{len(self.signed):064x}", raw="0x", nonce=len(self.signed)
        )

    async def send(self, transaction: SignedTransaction) -> None:
        self._may_fail()
        self.sent.append(transaction.nonce)

    async def fetch_receipt(self, transaction_hash: str) -> Receipt | None:
        self._may_fail()
        nonce = int(transaction_hash, 16)
        return (
            Receipt(block_number=100 + nonce, status=self.statuses.get(nonce, 1))
            if nonce in self.sent
            else None
        )

    def _may_fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Transient("the node is unreachable")


@dataclass
class FakeSettlements:
    """Signs and records settlements without a chain."""

    settler: FakeSettler = field(default_factory=FakeSettler)
    submitted: list[Trade] = field(default_factory=list)

    def sign(self, settlement: Settlement) -> SignedTransaction:
        return self.settler.sign(settlement)

    def submit(self, transaction: SignedTransaction, trade: Trade) -> None:
        self.submitted.append(trade)


@dataclass
class FakeChannels:
    """Records everything that is published."""

    market: list[Mapping[str, Any]] = field(default_factory=list)
    user: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    activity: list[Mapping[str, Any]] = field(default_factory=list)

    def has_subscribers(self, token_ids: Iterable[str]) -> bool:
        return True

    def publish_market(self, market: Market, events: Sequence[Mapping[str, Any]]) -> None:
        self.market.extend(events)

    def publish_user(self, owner: str, condition_id: str, event: Mapping[str, Any]) -> None:
        self.user.append((owner, event))

    def publish_activity(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.activity.extend(rows)


@dataclass
class Clock:
    """A clock that advances when a coroutine sleeps."""

    ms: int = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += max(1, int(seconds * 1000))
        await asyncio.sleep(0)
