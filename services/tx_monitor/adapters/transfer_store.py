"""What the sender needs of the records of transfers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.tx_monitor.decisions.transfers import Attempt, Transfer
from shared.db.leases import Lease
from shared.domain.errors import Transient


class NotBegun(Transient):
    """The transfer cannot begin as things are recorded now. Nothing was written."""


class ClosedBefore(Transient):
    """The transfer is closed already, and stays as it is. Nothing was written."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"transfer {request_id} was closed before")


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletRecords:
    """What is recorded of an operator wallet and is not over."""

    open_transfers: tuple[Transfer, ...] = ()
    """By their nonces."""
    queued: tuple[Transfer, ...] = ()
    """Oldest first: of each proxy without an open transfer only the oldest, and all whose time is
    over."""
    next_nonce: int = 0
    """The lowest that was never signed, as far as is recorded; the chain may be further."""
    halted_because: str = ""
    """Empty: the wallet is not halted."""
    queued_count: int = 0
    oldest_requested_at: datetime | None = None
    """Of all that are not closed; None: there is none."""


class TransferStore(Protocol):
    """The records of transfers. What is written names the lease that it was decided under.

    Raises: Transient; of these, where nothing was written, NotLeaseHolder: the lease is not the
    newest one.
    """

    async def record(self, transfer: Transfer, *, now: datetime) -> Transfer:
        """Record the transfer, unless its request is known; return the recorded one. It needs no
        lease.
        """
        ...

    async def load(self, operator: str, *, now: datetime) -> WalletRecords: ...

    async def begin(
        self, transfer: Transfer, attempt: Attempt, *, lease: Lease, now: datetime
    ) -> None:
        """Record the first attempt of a queued transfer, which has its nonce and the state ``sent``
        now. Raises: NotBegun where it is not queued any more, another one of its proxy is open, the
        nonce was taken before, or the wallet is halted.
        """
        ...

    async def add_attempt(
        self, transfer: Transfer, attempt: Attempt, *, lease: Lease, now: datetime
    ) -> None:
        """Record another attempt of an open transfer, and the state that it is in now."""
        ...

    async def save(self, transfer: Transfer, *, lease: Lease, now: datetime) -> None:
        """Record state and block. A lost transfer halts its wallet. Raises: ClosedBefore."""
        ...

    async def load_unreported(self, operator: str) -> list[Transfer]:
        """Those whose newest state was not published yet, without their attempts."""
        ...

    async def load_wallets(self) -> list[str]:
        """The operator wallets with transfers that are not closed, or not reported."""
        ...

    async def mark_reported(self, transfer: Transfer, *, lease: Lease) -> None:
        """Record that this revision was published. Where there is a newer one, that is not."""
        ...
