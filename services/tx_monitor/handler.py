"""Handler of tx-monitor: record watches, apply receipts to them, publish their state; and record
what is to be transferred.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Protocol

from services.tx_monitor.decisions.transfers import CLOSED_STATES, Terms, Transfer
from services.tx_monitor.decisions.watches import (
    Watch,
    apply_receipt,
    build_watch,
    drop,
    is_overdue,
)
from shared.domain.errors import InvalidMessage
from shared.messages.base import Message
from shared.messages.transactions import (
    ConfirmationRequested,
    ReceiptSeen,
    TransactionResolved,
    TransactionState,
)
from shared.messages.transfers import TransferReported, TransferRequested, TransferState

MAX_TOKEN_ID = 2**256 - 1
NO_KEY = "the key of this operator wallet is not here"


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


class TransferRecords(Protocol):
    async def record(self, transfer: Transfer, *, now: datetime) -> Transfer:
        """Record the transfer, unless its request is known; return the recorded one.

        Raises: Transient.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    watches: Watches
    transfers: TransferRecords
    has_key: Callable[[str], bool]
    """Whether transfers of the operator wallet can be signed here."""
    wake: Callable[[str], None]
    """Have the operator wallet looked after at once, if this instance does."""
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

    async def on_transfer_requested(self, requested: TransferRequested) -> Sequence[Message]:
        """Record the transfer, which is reported as it goes on. One that is closed is reported
        again. Raises: InvalidMessage where it is known with other terms.
        """
        terms = build_terms(requested)
        transfer = Transfer(terms=terms)
        if not self.has_key(terms.operator):
            # What is returned here is published before the request is finished.
            transfer = Transfer(
                terms=terms, state=TransferState.REFUSED, reason=NO_KEY, is_reported=True
            )
        recorded = await self.transfers.record(transfer, now=self.now())
        if recorded.terms != terms:
            differences = _list_differences(recorded.terms, terms)
            raise InvalidMessage(f"{terms.request_id} is known with other terms: {differences}")
        if recorded.state in CLOSED_STATES:
            return [build_transfer_reported(recorded, now=self.now())]
        self.wake(terms.operator)
        return []


def build_terms(requested: TransferRequested) -> Terms:
    """Raises: InvalidMessage where the token is no number of 256 bits."""
    token_id = requested.token_id
    if token_id is not None:
        is_number = token_id.isascii() and token_id.isdecimal()
        if not is_number or len(token_id) > len(str(MAX_TOKEN_ID)) or int(token_id) > MAX_TOKEN_ID:
            raise InvalidMessage(f"token_id: {token_id[:80]!r} is not a token id")
    return Terms(
        request_id=requested.request_id,
        proxy=requested.proxy,
        operator=requested.operator,
        direction=requested.direction,
        token_id=token_id,
        amount=requested.amount,
        purpose=requested.purpose,
        intent_id=requested.intent_id,
        send_before=requested.send_before,
    )


def build_transfer_reported(transfer: Transfer, *, now: datetime) -> TransferReported:
    terms = transfer.terms
    return TransferReported(
        message_id=f"{terms.request_id}:{transfer.revision}",
        occurred_at=now,
        proxy=terms.proxy,
        request_id=terms.request_id,
        operator=terms.operator,
        direction=terms.direction,
        token_id=terms.token_id,
        amount=terms.amount,
        purpose=terms.purpose,
        intent_id=terms.intent_id,
        state=transfer.state,
        revision=transfer.revision,
        transaction_hash=transfer.mined_hash,
        block_number=transfer.block_number,
        reason=transfer.reason,
    )


def _list_differences(recorded: Terms, requested: Terms) -> str:
    """Where the terms differ: each as it was recorded and as it is requested now."""
    pairs = (
        (each.name, getattr(recorded, each.name), getattr(requested, each.name))
        for each in fields(Terms)
    )
    return ", ".join(
        f"{name} {before} and now {now}" for name, before, now in pairs if before != now
    )


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
