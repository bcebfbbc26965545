"""What the rounds of operator wallets share, and what is remembered between two of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.tx_monitor.adapters.changes import Changes
from services.tx_monitor.adapters.nodes import SendAnswers
from services.tx_monitor.adapters.operator_keys import OperatorKeys
from services.tx_monitor.adapters.transfer_store import TransferStore
from services.tx_monitor.decisions.policy import Policy
from services.tx_monitor.decisions.transfers import Sending, Transfer
from services.tx_monitor.decisions.views import NodeView
from shared.chain.transfer_calls import Call
from shared.db.leases import Lease


class Nodes(Protocol):
    @property
    def count(self) -> int:
        """How many there are."""
        ...

    async def observe(self, operator: str, transfers: Sequence[Transfer]) -> list[NodeView]: ...

    async def send(self, raw: bytes, *, awaited: Collection[str]) -> SendAnswers:
        """``awaited``: the names of the nodes whose answers are waited for; all others are sent to
        as well.
        """
        ...

    async def estimate_gas(
        self, operator: str, call: Call, *, allowed: int, heads: Mapping[str, int]
    ) -> int:
        """``allowed``: the most gas that it may need. ``heads``: of the nodes that are asked.

        Raises: CallReverted; Transient.
        """
        ...


class LeaseKeeper(Protocol):
    def lease_for(self, key: str) -> Lease:
        """The lease, valid now. Raises: NotLeaseHolder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the rounds of all wallets share."""

    store: TransferStore
    nodes: Nodes
    keys: OperatorKeys
    leases: LeaseKeeper
    now: Callable[[], datetime]
    policy: Policy
    changes: Changes = field(default_factory=Changes)
    """What was logged of nodes and wallets."""


@dataclass(slots=True)
class Memory:
    """What this process knows of a wallet beside what is recorded, under one lease."""

    lease_id: tuple[int, int] | None = None
    sendings: dict[str, Sending] = field(default_factory=dict)
    lookups: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By request: in how many rounds in a row no trace of it was found, and at which block last."""
    observed_at: datetime | None = None
    changes: Changes = field(default_factory=Changes)
    """What was logged of transfers, by request, and of attempts, by transaction."""

    def keep_under(self, lease: Lease) -> None:
        """Forget all where it was learned under another lease."""
        if self.lease_id != (lease.partition, lease.token):
            self.forget()
            self.lease_id = lease.partition, lease.token

    def forget(self) -> None:
        self.lease_id, self.observed_at = None, None
        self.sendings.clear()
        self.lookups.clear()
        self.changes.keep_only(())

    def keep_only(self, transfers: Sequence[Transfer]) -> None:
        """Forget what is known of others than these transfers."""
        hashes = {each.tx_hash for transfer in transfers for each in transfer.attempts}
        requests = {transfer.terms.request_id for transfer in transfers}
        self.sendings = {key: each for key, each in self.sendings.items() if key in hashes}
        self.lookups = {key: each for key, each in self.lookups.items() if key in requests}
        self.changes.keep_only(hashes | requests)
