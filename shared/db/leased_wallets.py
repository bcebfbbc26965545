"""Shares wallets out: which of them an instance reads from a stored position on.

A wallet belongs to the instance that leases its partition of a topic. The position of a partition
says that all of its wallets were read up to there. An instance that was paused does not know who
was followed meanwhile: under its old lease it cannot move the position beyond their trades. A lease
also keeps two instances from asking a node for the same.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from shared.db.leases import Lease
from shared.streams.partitioning import Ownership

LeaseId = tuple[int, int]
"""Partition and token of a lease."""


class HeldLeases(Protocol):
    @property
    def held(self) -> tuple[Lease, ...]:
        """The leases of partitions that are valid now."""
        ...


class LeasedWallets:
    """The wallets whose partition of ``topic`` is leased by this instance."""

    def __init__(
        self,
        wallets: Callable[[], AbstractSet[str]],
        ownership: Ownership,
        leases: HeldLeases,
        *,
        topic: str,
    ) -> None:
        """``wallets``: those of all instances."""
        self._wallets, self._ownership, self._leases, self._topic = (
            wallets,
            ownership,
            leases,
            topic,
        )

    def partition(self, wallet: str) -> int | None:
        """Return the wallet's partition; None before the first assignment."""
        return self._ownership.partition(wallet.encode(), self._topic)

    def partition_count(self) -> int:
        """Return the number of all partitions; 0 before the first assignment."""
        return self._ownership.partition_count(self._topic) or 0

    def held(self) -> frozenset[LeaseId]:
        """Return the leases that are valid now."""
        return frozenset(map(lease_id, self._leases.held))

    def by_lease(self) -> Mapping[LeaseId, tuple[str, ...]]:
        """Return the wallets of each partition whose lease is valid now; some have none."""
        # Read once: a partition whose lease ends in between would seem to have no wallets.
        held = self._leases.held
        grouped: dict[LeaseId, list[str]] = {lease_id(lease): [] for lease in held}
        for wallet, lease in self._lease_by_wallet(held).items():
            grouped[lease].append(wallet)
        return {each: tuple(wallets) for each, wallets in grouped.items()}

    def lease_by_wallet(self) -> Mapping[str, LeaseId]:
        """Return the wallets of the partitions whose lease is valid now."""
        return self._lease_by_wallet(self._leases.held)

    def _lease_by_wallet(self, held: Sequence[Lease]) -> Mapping[str, LeaseId]:
        leases = {lease.partition: lease_id(lease) for lease in held}
        partitions = {wallet: self.partition(wallet) for wallet in sorted(self._wallets())}
        return {
            wallet: leases[number]
            for wallet, number in partitions.items()
            if number is not None and number in leases
        }


def lease_id(lease: Lease) -> LeaseId:
    return lease.partition, lease.token
