"""Shares the leaders out: which of them the feeds of this instance read.

A leader belongs to the instance that his partition of ``leader-fills`` is assigned to, which also
handles his rows. A row that two instances publish does no harm, so the activity socket's feed needs
no more than that, and it goes on during a rebalance: the socket's rows do not come again.

What reads on from a stored position also needs the partition's lease
(``shared/db/leased_wallets.py``).
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from aiokafka import TopicPartition

from shared.db.leased_wallets import HeldLeases, LeasedWallets, LeaseId
from shared.messages.leader_fills import LeaderFillSeen
from shared.streams.partitioning import Ownership


class SharedLeaders:
    """The followed leaders of this instance; another one has the others."""

    def __init__(
        self, leaders: Callable[[], AbstractSet[str]], ownership: Ownership, leases: HeldLeases
    ) -> None:
        """``leaders``: all that are followed."""
        self._leaders, self._ownership = leaders, ownership
        self._leased = LeasedWallets(leaders, ownership, leases, topic=LeaderFillSeen.topic)
        self._partitions: frozenset[TopicPartition] = frozenset()
        """Those of the last assignment, also during a rebalance."""
        self._assigned_of: tuple[AbstractSet[str], frozenset[TopicPartition]] | None = None
        """What ``_assigned`` was made of."""
        self._assigned: frozenset[str] = frozenset()

    def followed(self) -> AbstractSet[str]:
        """Return the followed leaders of all instances."""
        return self._leaders()

    def assigned(self) -> AbstractSet[str]:
        """Return the followed leaders of the assigned partitions, without regard to leases."""
        self._update_partitions()
        leaders, partitions = self._leaders(), self._partitions
        # The socket's feed asks for each row of the platform.
        if (
            self._assigned_of is None
            or self._assigned_of[0] is not leaders
            or self._assigned_of[1] is not partitions
        ):
            self._assigned = frozenset(leader for leader in leaders if self.is_assigned(leader))
            self._assigned_of = leaders, partitions
        return self._assigned

    def is_assigned(self, wallet: str) -> bool:
        """Whether the wallet's partition is one of the assigned ones."""
        self._update_partitions()
        number = self._leased.partition(wallet)
        topic = LeaderFillSeen.topic
        return number is not None and TopicPartition(topic, number) in self._partitions

    def partition_count(self) -> int:
        """Return the number of all partitions; 0 before the first assignment."""
        return self._leased.partition_count()

    def by_lease(self) -> Mapping[LeaseId, tuple[str, ...]]:
        """Return the followed leaders of each partition whose lease is valid now: of some
        partitions none is followed.
        """
        return self._leased.by_lease()

    def lease_by_leader(self) -> Mapping[str, LeaseId]:
        """Return the followed leaders of the partitions whose lease is valid now."""
        return self._leased.lease_by_wallet()

    def _update_partitions(self) -> None:
        if self._ownership.is_assigned:
            self._partitions = self._ownership.partitions
