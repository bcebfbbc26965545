"""Handler of tx-monitor: record watches, apply receipts to them, publish their state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.tx_monitor.decisions.watches import (
    Watch,
    apply_receipt,
    build_watch,
    drop,
    is_overdue,
)
from shared.messages.base import Message
from shared.messages.transactions import (
    ConfirmationRequested,
    ReceiptSeen,
    TransactionResolved,
    TransactionState,
)


class Watches(Protocol):
    async def record(self, watch: Watch, *, now: datetime) -> Watch:
        """Record the watch, unless its request is known; return the recorded one.

        Raises: Transient.
        """
        ...

    async def load(self, request_id: str) -> Watch | None:
        """None where no such request was recorded. Raises: Transient."""
        ...

    async def save(self, watch: Watch, *, now: datetime) -> None:
        """Raises: Transient."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    watches: Watches
    now: Callable[[], datetime]
    give_up_after: timedelta
    """A transaction that is in no block for this long is dropped: it is polled no longer."""

    async def on_confirmation_requested(
        self, requested: ConfirmationRequested
    ) -> Sequence[Message]:
        """Record a watch. A request with a known result is answered again: the first answer may
        have been lost in a crash.
        """
        watch = await self.watches.record(build_watch(requested), now=self.now())
        return (
            []
            if watch.state is TransactionState.WATCHED
            else [build_resolved(watch, now=self.now())]
        )

    async def on_receipt_seen(self, seen: ReceiptSeen) -> Sequence[Message]:
        watch = await self.watches.load(seen.request_id)
        if watch is None:
            return []
        after = apply_receipt(watch, seen)
        if after == watch and is_overdue(
            watch, now=seen.occurred_at, give_up_after=self.give_up_after
        ):
            after = drop(watch)
        await self.watches.save(after, now=self.now())
        return [build_resolved(after, now=self.now())]


def build_resolved(watch: Watch, *, now: datetime) -> TransactionResolved:
    return TransactionResolved(
        message_id=f"{watch.request_id}:{watch.state}:{watch.block_hash}",
        occurred_at=now,
        proxy=watch.proxy,
        request_id=watch.request_id,
        transaction_hash=watch.transaction_hash,
        purpose=watch.purpose,
        intent_id=watch.intent_id,
        state=watch.state,
        block_number=watch.block_number,
        fills=watch.fills,
    )
