"""What feeds need, in memory: leases, positions, and wallets that are shared out."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from aiokafka import TopicPartition

from services.ingest.adapters import DataFeed, SharedLeaders
from services.ingest.adapters.data_feed import FetchTrades
from shared.db.leased_wallets import LeasedWallets, LeaseId
from shared.db.leases import Lease
from shared.messages.leader_fills import LeaderFillSeen
from shared.messages.transactions import ConfirmationRequested
from shared.streams.partitioning import Ownership, Partitioner
from tests.builders import NOON

PARTITIONS = 4
TOPIC = LeaderFillSeen.topic
FOR_EVER = float("inf")


def partition_number(leader: str) -> int:
    return Partitioner().partition(leader.encode(), PARTITIONS)


class FakeLeases:
    """Leases that a test gives and takes."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self.token_by_partition = dict.fromkeys(partitions, 1)

    @property
    def held(self) -> tuple[Lease, ...]:
        return tuple(
            Lease(partition=partition, token=token, valid_until=FOR_EVER)
            for partition, token in self.token_by_partition.items()
        )


class AssignedInstance:
    """An instance to which partitions of a topic are assigned, with their leases."""

    def __init__(
        self, wallets: Callable[[], AbstractSet[str]], partitions: Iterable[int], *, topic: str
    ) -> None:
        owned = list(partitions)
        self._topic = topic
        self.ownership, self.leases = Ownership(), FakeLeases(owned)
        self.assign(owned)
        self.leased = LeasedWallets(wallets, self.ownership, self.leases, topic=topic)

    def assign(self, partitions: Iterable[int]) -> None:
        self.ownership.assign(
            [TopicPartition(self._topic, number) for number in partitions],
            count_by_topic={self._topic: PARTITIONS},
        )


class Instance(AssignedInstance):
    """One of ingest."""

    def __init__(
        self, leaders: Callable[[], AbstractSet[str]], partitions: Iterable[int] = range(PARTITIONS)
    ) -> None:
        super().__init__(leaders, partitions, topic=TOPIC)
        self.shared = SharedLeaders(leaders, self.ownership, self.leases)


class MonitorInstance(AssignedInstance):
    """One of tx-monitor."""

    def __init__(
        self,
        followers: Callable[[], AbstractSet[str]],
        partitions: Iterable[int] = range(PARTITIONS),
    ) -> None:
        super().__init__(followers, partitions, topic=ConfirmationRequested.topic)


class FakeLeaderCursors:
    """The stored positions of the Data API feed, in memory."""

    def __init__(self, stored: Mapping[str, datetime] | None = None) -> None:
        self.stored = dict(stored or {})

    async def load(self, leaders: Sequence[str]) -> Mapping[str, datetime]:
        return {leader: self.stored[leader] for leader in leaders if leader in self.stored}

    async def save(self, cursors: Mapping[str, datetime]) -> None:
        for leader, cursor in cursors.items():
            self.stored[leader] = max(cursor, self.stored.get(leader, cursor))

    async def remove(self, leaders: Sequence[str]) -> None:
        for leader in leaders:
            self.stored.pop(leader, None)

    async def remove_others(self, followed: Sequence[str]) -> None:
        await self.remove([leader for leader in self.stored if leader not in followed])


class FakePartitionCursors:
    """The stored positions of the chain feed, in memory. ``newest``: the newest token of each
    partition; ``single``: the position of an earlier release.
    """

    def __init__(self, newest: Mapping[int, int], *, single: int | None = None) -> None:
        self.newest, self.single = dict(newest), single
        self.stored: dict[int, int] = {}

    async def load(self, partitions: Sequence[int], *, count: int) -> Mapping[int, int | None]:
        if self.single is not None and count > 0:
            self.stored = dict.fromkeys(range(count), self.single) | self.stored
            self.single = None
        lowest = min(self.stored.values(), default=None)
        return {number: self.stored.get(number, lowest) for number in partitions}

    async def begin(self, block: int, *, count: int) -> None:
        self.stored = dict.fromkeys(range(count), block) | self.stored

    async def save(self, leases: Sequence[LeaseId], block: int) -> None:
        for partition, token in leases:
            if token == self.newest.get(partition):
                self.stored[partition] = max(block, self.stored.get(partition, block))


def a_data_feed(
    fetch_trades: FetchTrades,
    leaders: AbstractSet[str],
    *,
    cursors: FakeLeaderCursors | None = None,
    instance: Instance | None = None,
    now: Callable[[], datetime] = lambda: NOON,
    poll_interval: timedelta = timedelta(minutes=1),
    clock: Callable[[], float] = time.monotonic,
) -> DataFeed:
    return DataFeed(
        fetch_trades,
        cursors or FakeLeaderCursors(),
        leaders=(instance or Instance(lambda: leaders)).shared,
        now=now,
        poll_interval=poll_interval,
        lookback=timedelta(minutes=1),
        max_lookback=timedelta(hours=1),
        clock=clock,
    )
