"""The open orders of this instance's partitions, with their trades, in memory.

They are read from the database once for every lease, and follow each committed write from then on.
Nobody else can write them: the messages of a proxy are handled one at a time, under the newest
lease of its partition. So memory says what the database says, but for the outcomes that are saved
later (``LateSaves``); and it is forgotten with the lease.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from services.executor.decisions import Order, RecordedOrder, Trade, apply_save, merge_trades
from shared.db.leases import Lease
from shared.messages.orders import FINAL_STATES

LeaseId = tuple[int, int]
"""Partition and token of a lease."""


class LeaseHolder(Protocol):
    """The leases of this instance."""

    def lease_for(self, key: str) -> Lease:
        """The valid lease for a proxy. Raises: NotLeaseHolder."""
        ...


class LeaseKeeper(LeaseHolder, Protocol):
    def kept_lease_for(self, key: str) -> Lease | None:
        """The lease for a proxy that is not known to be lost, valid or not; None: there is none."""
        ...

    def keeps(self, partition: int, token: int) -> bool:
        """Whether the lease is not known to be lost."""
        ...


@dataclass(slots=True, kw_only=True)
class OpenOrder:
    order: Order
    trades: tuple[Trade, ...] | None
    """None: not known, they have to be read."""
    lease_id: LeaseId


@dataclass(slots=True)
class WrittenMeanwhile:
    """What was written while a lease's orders were read, by intent."""

    orders: dict[str, Order] = field(default_factory=dict)
    """As they were written."""
    trades: set[str] = field(default_factory=set)
    """The orders of which only the trades were written."""
    unknown: set[str] = field(default_factory=set)
    """The orders that were written or were not."""


class OpenOrders:
    def __init__(self, leases: LeaseKeeper) -> None:
        self._leases = leases
        self._loaded: set[LeaseId] = set()
        self._by_intent: dict[str, OpenOrder] = {}
        self._intent_by_hash: dict[str, str] = {}
        self._written_meanwhile: dict[LeaseId, WrittenMeanwhile] = {}
        """By lease whose orders are being read."""

    def find(self, intent_id: str) -> Order | None:
        """The intent's order. None: it is not open, or not known here."""
        known = self._find(intent_id)
        return None if known is None else known.order

    def find_trades(self, intent_id: str) -> tuple[Trade, ...] | None:
        """The trades of the intent's order; None: they have to be read."""
        known = self._find(intent_id)
        return None if known is None else known.trades

    def find_by_hash(self, order_hash: str) -> RecordedOrder | None:
        """The order with its trades, by its hash in lower case. None: it is not open, or not known
        here with its trades.
        """
        known = self._find(self._intent_by_hash.get(order_hash, ""))
        if known is None or known.trades is None:
            return None
        return RecordedOrder(order=known.order, trades=known.trades)

    def list_open(self) -> list[Order]:
        """Those of all held leases, in the order in which they became known."""
        self._forget_unless(lambda lease_id: self._leases.keeps(*lease_id))
        return [known.order for known in self._by_intent.values()]

    def begin_reading(self, lease_ids: Collection[LeaseId]) -> None:
        """Note what is written under these leases from now on: what is read may not show it."""
        partitions = {partition for partition, _ in lease_ids}
        self._forget_unless(lambda lease_id: lease_id[0] not in partitions)
        self._written_meanwhile |= {lease_id: WrittenMeanwhile() for lease_id in lease_ids}

    def end_reading(self, lease_ids: Collection[LeaseId], read: Iterable[RecordedOrder]) -> None:
        """Know the open orders that were read under these leases."""
        meanwhile = {id_: self._written_meanwhile.pop(id_, WrittenMeanwhile()) for id_ in lease_ids}
        self._loaded |= set(lease_ids)
        for recorded in read:
            lease_id, intent_id = self._lease_id(recorded.order.proxy), recorded.order.intent_id
            if lease_id not in meanwhile or intent_id in meanwhile[lease_id].unknown:
                continue
            are_known = intent_id not in meanwhile[lease_id].trades
            self._put(recorded.order, recorded.trades if are_known else None, lease_id)
        for lease_id, written in meanwhile.items():
            for order in written.orders.values():
                self._put(order, None, lease_id)

    def give_up_reading(self, lease_ids: Collection[LeaseId]) -> None:
        for lease_id in lease_ids:
            self._written_meanwhile.pop(lease_id, None)

    def add(self, order: Order, lease: Lease, *, trades: tuple[Trade, ...] | None) -> None:
        """Know an order that was recorded, or read, under the lease. ``trades`` None: unknown."""
        lease_id = (lease.partition, lease.token)
        if (meanwhile := self._meanwhile(lease)) is not None:
            meanwhile.orders[order.intent_id] = order
            meanwhile.unknown.discard(order.intent_id)
        elif lease_id in self._loaded:
            self._put(order, trades, lease_id)

    def follow(self, saved: Order, lease: Lease, *, changed: Iterable[Trade] = ()) -> None:
        """Know what was saved of an order under the lease."""
        known = self._by_intent.get(saved.intent_id)
        if known is None or saved.state in FINAL_STATES:  # which is not kept
            self.add(saved, lease, trades=None)
            return
        trades = None if known.trades is None else merge_trades(known.trades, changed)
        self.add(apply_save(known.order, saved), lease, trades=trades)

    def forget_trades(self, intent_id: str, lease: Lease) -> None:
        """Have the trades of the order read again: they were changed under the lease."""
        if (meanwhile := self._meanwhile(lease)) is not None:
            meanwhile.trades.add(intent_id)
        self.follow_trades(intent_id, None)

    def forget(self, intent_id: str, lease: Lease) -> None:
        """Have the order read again: whether it was changed under the lease is not known."""
        if (meanwhile := self._meanwhile(lease)) is not None:
            meanwhile.orders.pop(intent_id, None)
            meanwhile.unknown.add(intent_id)
        self._forget(intent_id)

    def follow_trades(self, intent_id: str, trades: tuple[Trade, ...] | None) -> None:
        """Know all trades of an open order; None: they have to be read again."""
        if (known := self._by_intent.get(intent_id)) is not None:
            known.trades = trades

    def _meanwhile(self, lease: Lease) -> WrittenMeanwhile | None:
        """None: the orders of the lease are not being read."""
        return self._written_meanwhile.get((lease.partition, lease.token))

    def _find(self, intent_id: str) -> OpenOrder | None:
        known = self._by_intent.get(intent_id)
        return known if known is not None and self._is_kept(known) else None

    def _is_kept(self, known: OpenOrder) -> bool:
        """Whether nobody else can have written it. A lease that has to be renewed first is enough:
        it is renewed only where nobody had another meanwhile, and nothing is written before.
        """
        return self._leases.keeps(*known.lease_id)

    def _lease_id(self, proxy: str) -> LeaseId | None:
        lease = self._leases.kept_lease_for(proxy)
        return None if lease is None else (lease.partition, lease.token)

    def _put(self, order: Order, trades: tuple[Trade, ...] | None, lease_id: LeaseId) -> None:
        if order.state in FINAL_STATES:
            self._forget(order.intent_id)
            return
        self._by_intent[order.intent_id] = OpenOrder(order=order, trades=trades, lease_id=lease_id)
        self._intent_by_hash[order.order_hash.lower()] = order.intent_id

    def _forget(self, intent_id: str) -> None:
        if (known := self._by_intent.pop(intent_id, None)) is not None:
            self._intent_by_hash.pop(known.order.order_hash.lower(), None)

    def _forget_unless(self, is_kept: Callable[[LeaseId], bool]) -> None:
        if lost := {lease_id for lease_id in self._loaded if not is_kept(lease_id)}:
            self._loaded -= lost
            for intent_id, known in list(self._by_intent.items()):
                if known.lease_id in lost:
                    self._forget(intent_id)
