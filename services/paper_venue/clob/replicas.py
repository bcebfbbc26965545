"""Read replicas of orders and balances: one that is up to date, and one that lags.

The past is recorded only while the fault ``stale-reads`` is on: at first, the lagging replica
serves the state as of the fault's beginning.
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
    """A resting or held order as its owner reads it."""

    resting: RestingOrder
    status: str
    trade_ids: tuple[str, ...]


@dataclass(slots=True)
class History(Generic[T]):
    """The versions of a value, oldest first, each with the epoch ms at which it was first seen."""

    versions: deque[tuple[int, T]] = field(default_factory=deque)

    def record(self, value: T, *, now_ms: int, keep_ms: int) -> None:
        """Append a changed value; drop versions not needed to read the last ``keep_ms``."""
        if not self.versions or self.versions[-1][1] != value:
            self.versions.append((now_ms, value))
        while len(self.versions) > 1 and self.versions[1][0] <= now_ms - keep_ms:
            self.versions.popleft()

    def at(self, moment_ms: int) -> T | None:
        """The value as of the moment, or its first version if that is later. None: no versions."""
        past = [value for seen_ms, value in self.versions if seen_ms <= moment_ms]
        return past[-1] if past else self.versions[0][1] if self.versions else None


class Replicas:
    """Serves open orders and accounts, up to date or as of an earlier moment."""

    def __init__(self, venue: Venue, faults: Faults, now_ms: Callable[[], int]) -> None:
        self._venue = venue
        self._faults = faults
        self._now_ms = now_ms
        self._orders: History[tuple[OpenOrder, ...]] = History()
        self._accounts: dict[str, History[Account]] = {}

    def on_timer(self) -> None:
        """Record what stale reads may need; to be called every few milliseconds."""
        options = self._faults.active.get(Fault.STALE_READS)
        if options is None:
            self._orders, self._accounts = History(), {}
            return
        now_ms, keep_ms = self._now_ms(), int(options.seconds * 1000)
        client_orders = self._open_orders(lambda order: not self._faults.is_exempt(order.maker))
        self._orders.record(tuple(client_orders), now_ms=now_ms, keep_ms=keep_ms)
        for wallet, account in self._venue.engine.accounts.by_wallet():
            if not self._faults.is_exempt(wallet):
                self._accounts.setdefault(wallet, History()).record(
                    _copy_account(account), now_ms=now_ms, keep_ms=keep_ms
                )

    def as_of_ms(self, *, wallet: str | None, signer: str) -> int | None:
        """The moment (epoch ms) as of which this request is served; None: up to date. Call it once
        per request.
        """
        options = self._faults.trigger(Fault.STALE_READS, wallet=wallet, signer=signer)
        return None if options is None else self._now_ms() - int(options.seconds * 1000)

    def orders(self, key: str, moment_ms: int | None) -> list[OpenOrder]:
        """The API key's open orders, as of the moment if given."""
        if moment_ms is None:
            return self._open_orders(lambda order: order.owner == key)
        return [
            each for each in self._orders.at(moment_ms) or () if each.resting.order.owner == key
        ]

    def account(self, wallet: str, moment_ms: int | None) -> Account:
        """The wallet's account, as of the moment if given and recorded."""
        past = (
            None
            if moment_ms is None
            else self._accounts.get(wallet.lower(), History()).at(moment_ms)
        )
        return past or self._venue.engine.accounts.get(wallet)

    def _open_orders(self, is_included: Callable[[Order], bool]) -> list[OpenOrder]:
        engine = self._venue.engine
        resting_orders = (
            replace(resting) for resting in engine.resting.values() if is_included(resting.order)
        )
        held_orders = (
            RestingOrder(order=held.order, remaining=held.order.shares)
            for held in engine.held.values()
            if is_included(held.order)
        )
        return [
            *(self._open_order(resting, "LIVE") for resting in resting_orders),
            *(self._open_order(resting, "DELAYED") for resting in held_orders),
        ]

    def _open_order(self, resting: RestingOrder, status: str) -> OpenOrder:
        trade_ids = self._venue.publisher.trades.ids_for_order(resting.order.id)
        return OpenOrder(resting=resting, status=status, trade_ids=tuple(trade_ids))


def _copy_account(account: Account) -> Account:
    """A copy of what its owner can read; the account itself keeps changing."""
    return Account(
        on_chain=account.on_chain,
        collateral=account.collateral,
        allowances=dict(account.allowances),
        shares=dict(account.shares),
    )
