"""What the executor's handler needs of the outside."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from services.executor.decisions import (
    NewOrder,
    Order,
    RecordedOrder,
    Settlement,
    Trade,
    VenueLookup,
)
from shared.domain.follows import Controls
from shared.messages.intents import IntentApproved
from shared.messages.transactions import TransactionResolved
from shared.polymarket.replies import Reply


class Orders(Protocol):
    async def record(self, order: Order, approved: IntentApproved) -> Order:
        """Record the intent's first order, before anything is sent. Return the recorded one:
        ``order`` itself only if it is the first.

        Raises: Transient.
        """
        ...

    async def record_all(self, new: Sequence[NewOrder]) -> Sequence[Order | None]:
        """As ``record``, for orders of different proxies; None: nothing was recorded of it, because
        another instance may write for its proxy. Raises: Transient.
        """
        ...

    async def load(self, intent_id: str) -> Order | None:
        """The intent's order; None: it has none. Raises: Transient."""
        ...

    async def save(self, order: Order, *, now: datetime) -> None:
        """Update the recorded order. Raises: Transient."""
        ...

    async def save_later(self, order: Order, *, now: datetime) -> None:
        """Update the recorded order soon: ``load`` returns it from now on, and after a crash it is
        perhaps what it was. Raises: Transient.
        """
        ...

    async def settle(self, order: Order, trades: Iterable[Trade], *, now: datetime) -> None:
        """Update the recorded order and those of its trades that were changed or added, at once.

        Raises: Transient.
        """
        ...

    async def settle_all(
        self, settlements: Sequence[Settlement], *, now: datetime
    ) -> Sequence[bool]:
        """As ``settle``, for orders of different proxies. False: nothing was written of it, because
        another instance may write for its proxy. Raises: Transient.
        """
        ...

    async def load_trades(self, intent_id: str) -> tuple[Trade, ...]:
        """All recorded trades of the intent's order. Raises: Transient."""
        ...

    def find_open(self, order_hash: str) -> RecordedOrder | None:
        """The order with its trades, by its hash in lower case. None: it is not open, or has to be
        loaded.
        """
        ...

    async def load_by_hash(self, order_hashes: Collection[str]) -> Sequence[RecordedOrder]:
        """Those of these orders that are ours, with their trades. The hashes are in lower case.

        Raises: Transient.
        """
        ...

    async def record_settlement(self, result: TransactionResolved, *, now: datetime) -> None:
        """Record how the chain settled the intent's trades in a transaction. Raises: Transient."""
        ...


class Venue(Protocol):
    def known_reply(self, order: Order, *, may_have_arrived: bool) -> Reply | None:
        """What the venue is known to answer to any such order now; None: it has to be posted. An
        exit, and an order that may have arrived, are never refused by it.
        """
        ...

    async def post_order(self, order: Order) -> Reply:
        """Post the recorded bytes. Network errors do not raise: they are a ``ReplyLost``."""
        ...

    async def look_up(self, order: Order) -> VenueLookup:
        """The order's trades and state at the venue, by its hash.

        Raises: Transient; InvalidMessage where the answer cannot be read.
        """
        ...


class Chain(Protocol):
    async def fetch_fill(self, order: Order) -> str:
        """Hash of a transaction that filled some of the order; empty: there is none.

        Raises: Transient.
        """
        ...


class Signers(Protocol):
    async def sign(self, approved: IntentApproved) -> Order:
        """The intent's order, the same for the same intent.

        Raises: InvalidMessage where no valid order can be made of its terms; Transient.
        """
        ...

    def sign_at_once(self, approved: IntentApproved) -> Order | None:
        """The same; None: the wallet's API key is not known yet. Raises: InvalidMessage."""
        ...


class Readiness(Protocol):
    def require_ready(self, proxy: str) -> None:
        """Raises: Transient where this instance may not begin anything new for the proxy: it does
        not hold the lease, or its open orders were not all checked yet.
        """
        ...


class ControlsReader(Protocol):
    def current(self) -> Controls:
        """The controls in force. Raises: Transient where they are not confirmed."""
        ...
