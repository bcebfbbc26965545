"""What does a replica that lags behind tell an API key of its orders and balances?

Only while the fault is on is anything of the past kept: at first such a replica stands still where
it was when the fault began.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from services.paper_venue.exchange.accounts import Account
from services.paper_venue.exchange.book import RestingOrder
from services.paper_venue.exchange.orders import Order
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.lifecycle.venue import Venue

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order as its owner is shown it: it stands in a book, or is held before it may match."""

    resting: RestingOrder
    status: str
    trade_ids: tuple[str, ...]


@dataclass(slots=True)
class History(Generic[T]):
    """The versions of something, oldest first, each with when it was first seen."""

    versions: deque[tuple[int, T]] = field(default_factory=deque)

    def record(self, value: T, *, now_ms: int, keep_ms: int) -> None:
        if not self.versions or self.versions[-1][1] != value:
            self.versions.append((now_ms, value))
        while len(self.versions) > 1 and self.versions[1][0] <= now_ms - keep_ms:
            self.versions.popleft()

    def at(self, moment_ms: int) -> T | None:
        """As it was then, or when it was first seen. None: it never was."""
        before = [value for seen_ms, value in self.versions if seen_ms <= moment_ms]
        return before[-1] if before else self.versions[0][1] if self.versions else None


class Replicas:
    """The one that is up to date, and the one that lags."""

    def __init__(self, venue: Venue, faults: Faults, now_ms: Callable[[], int]) -> None:
        self._venue = venue
        self._faults = faults
        self._now_ms = now_ms
        self._orders: History[tuple[OpenOrder, ...]] = History()
        self._accounts: dict[str, History[Account]] = {}

    def on_timer(self) -> None:
        """Keep what may be asked for later; to be called every few milliseconds."""
        strike = self._faults.active.get(Fault.STALE_READS)
        if strike is None:
            self._orders, self._accounts = History(), {}
            return
        now_ms, keep_ms = self._now_ms(), int(strike.seconds * 1000)
        clients = self._open_orders(lambda order: not self._faults.is_exempt(order.maker))
        self._orders.record(tuple(clients), now_ms=now_ms, keep_ms=keep_ms)
        for wallet, account in self._venue.engine.accounts.by_wallet():
            if not self._faults.is_exempt(wallet):
                self._accounts.setdefault(wallet, History()).record(
                    _copy_account(account), now_ms=now_ms, keep_ms=keep_ms
                )

    def as_of_ms(self, *, wallet: str | None, signer: str) -> int | None:
        """By when this request is answered, in ms; None: it is answered by how things are. Every
        call is one request.
        """
        strike = self._faults.trigger(Fault.STALE_READS, wallet=wallet, signer=signer)
        return None if strike is None else self._now_ms() - int(strike.seconds * 1000)

    def orders(self, key: str, moment_ms: int | None) -> list[OpenOrder]:
        """The API key's open orders."""
        if moment_ms is None:
            return self._open_orders(lambda order: order.owner == key)
        return [
            each for each in self._orders.at(moment_ms) or () if each.resting.order.owner == key
        ]

    def account(self, wallet: str, moment_ms: int | None) -> Account:
        past = (
            None
            if moment_ms is None
            else self._accounts.get(wallet.lower(), History()).at(moment_ms)
        )
        return past or self._venue.engine.accounts.get(wallet)

    def _open_orders(self, concerns: Callable[[Order], bool]) -> list[OpenOrder]:
        engine = self._venue.engine
        standing = (
            replace(resting) for resting in engine.resting.values() if concerns(resting.order)
        )
        held = (
            RestingOrder(order=held.order, remaining=held.order.shares)
            for held in engine.held.values()
            if concerns(held.order)
        )
        return [
            *(self._open(resting, "LIVE") for resting in standing),
            *(self._open(resting, "DELAYED") for resting in held),
        ]

    def _open(self, resting: RestingOrder, status: str) -> OpenOrder:
        trade_ids = self._venue.publisher.trades.ids_for_order(resting.order.id)
        return OpenOrder(resting=resting, status=status, trade_ids=tuple(trade_ids))


def _copy_account(account: Account) -> Account:
    """What its owner is told of; the account itself goes on changing."""
    return Account(
        on_chain=account.on_chain,
        collateral=account.collateral,
        allowances=dict(account.allowances),
        shares=dict(account.shares),
    )
