"""Leases: which instance may write for a partition, with a fencing token.

Kafka alone cannot prevent two writers: a process that was paused (a stopped container, swapping)
learns too late that its partitions were assigned to another instance. So every write carries the
token, which grows with each holder, and the database refuses a write with an old one. Before
anything that the database cannot refuse, the process checks by its own clock, which went on, that
its lease can still be valid.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import autocommit, fetch_rows
from shared.db.sql import Batch
from shared.domain.errors import Transient
from shared.streams.partitioning import Ownership

logger = logging.getLogger(__name__)

PARTITIONS = Batch.from_table(tables.leases, "partition")
HELD = Batch.from_table(tables.leases, "partition", "token")
ACQUIRE = f"""
insert into control.leases as l (service, partition, token, holder, expires_at)
select :service, partition, 1, :holder, clock_timestamp() + cast(:duration as interval)
from {PARTITIONS.unnest("requested")}
order by partition
on conflict (service, partition) do update
set token = l.token + 1, holder = excluded.holder, expires_at = excluded.expires_at
where l.expires_at <= clock_timestamp() or l.holder = excluded.holder
returning partition, token
"""
WITH_LOCKED = f"""
with locked as materialized (
    select l.service, l.partition from control.leases l
    where l.service = :service and (l.partition, l.token) in (select * from {HELD.unnest("held")})
    order by l.partition
    for no key update
)
"""
"""In the order in which every statement locks leases, so that no two wait for each other."""
RENEW = f"""
{WITH_LOCKED}
update control.leases l set expires_at = clock_timestamp() + cast(:duration as interval)
from locked where l.service = locked.service and l.partition = locked.partition
returning l.partition
"""
RELEASE = f"""
{WITH_LOCKED}
update control.leases l set expires_at = clock_timestamp()
from locked where l.service = locked.service and l.partition = locked.partition
returning l.partition
"""
LOAD_HELD_UNDER_OUR_NAME = """
select partition from control.leases
where service = :service and holder = :holder
  and partition = any(cast(:partitions as integer[]))
"""

CHECK_INTERVAL_S = 0.1
"""How often the assigned partitions are compared with the leases. It costs nothing, and without its
lease all messages of a partition wait."""


class Superseded(Exception):
    """Another process of this instance's name has the leases: this one was paused and must end."""


class NotLeaseHolder(Transient):
    """This instance may not write for the partition now.

    It may again later, where the partition is still assigned to it.
    """


def name_holder(group_instance_id: str | None) -> str:
    """Return the name to hold leases under: that of the static group member, which a restart keeps;
    without static membership, one of this process alone, another with each call.
    """
    return group_instance_id or uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write for a partition.

    ``valid_until``: in seconds of this process's monotonic clock.
    """

    partition: int
    token: int
    valid_until: float


class Leases:
    """The leases of this instance: acquired for its assigned partitions, and renewed.

    It is a feed of its service, and an async context manager that releases the leases at the end,
    after running handlers have written.

    ``holder`` is the instance's name. An instance that restarts under the same name (static
    membership: only one has that name) acquires its leases at once, with new tokens; any other one
    waits until they expire. ``duration`` should be below Kafka's session timeout, so that nobody
    waits for a lease longer than for the partition.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        ownership: Ownership,
        *,
        service: str,
        topic: str,
        holder: str,
        duration: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._ownership = engine, ownership
        self._service, self._topic, self._holder = service, topic, holder
        self._duration, self._clock = duration, clock
        self._held: dict[int, Lease] = {}
        self.before_release: Callable[[], Awaitable[None]] | None = None
        """Called before leases are released: what is still to be written under them. It must not
        raise."""

    name = "leases"

    @property
    def is_ready(self) -> bool:
        """Whether every assigned partition is leased."""
        return all(
            self._is_valid(partition)
            for partition in self._ownership.partitions_of_topic(self._topic)
        )

    @property
    def held(self) -> tuple[Lease, ...]:
        """The leases that are valid now."""
        return tuple(lease for number, lease in self._held.items() if self._is_valid(number))

    def keeps(self, partition: int, token: int) -> bool:
        """Whether this lease is not known to be lost. It may have to be renewed before use."""
        lease = self._held.get(partition)
        return lease is not None and lease.token == token

    def kept_lease_for(self, key: str) -> Lease | None:
        """The lease for ``key`` that is not known to be lost, valid or to be renewed before use."""
        partition = self._ownership.partition(key.encode(), self._topic)
        return None if partition is None else self._held.get(partition)

    def lease_for(self, key: str) -> Lease:
        """Return the lease for ``key``, valid now. Raises: NotLeaseHolder."""
        partition = self._ownership.partition(key.encode(), self._topic)
        if partition is None or not self._is_valid(partition):
            raise NotLeaseHolder(f"this instance does not hold the lease of partition {partition}")
        return self._held[partition]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release all leases, so that the next holder need not wait."""
        try:
            await self._release(list(self._held))
        except Transient as failed:
            logger.warning(
                "the leases could not be released and expire within %s: %s", self._duration, failed
            )

    async def refresh(self) -> None:
        """Renew the leases, release those of lost partitions, and acquire those of new ones.

        Raises: Transient; Superseded.
        """
        await self._renew(list(self._held))
        # Not during a rebalance: running handlers may still have to write.
        if self._ownership.is_assigned:
            assigned = self._ownership.partitions_of_topic(self._topic)
            await self._release([held for held in self._held if held not in assigned])
            await self._acquire(sorted(assigned - self._held.keys()))

    async def __call__(self, _: object) -> None:
        """Keep the leases up to date until cancelled. Raises: Superseded."""
        refreshed_at = float("-inf")
        while True:
            if (
                not self.is_ready
                or self._clock() - refreshed_at >= self._duration.total_seconds() / 5
            ):
                try:
                    await self.refresh()
                except Transient as error:
                    logger.warning("the leases could not be renewed: %s", error)
                refreshed_at = self._clock()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def _acquire(self, partitions: list[int]) -> None:
        if not partitions:
            return
        valid_until = self._valid_until()
        async with autocommit(self._engine) as connection:
            acquired = await fetch_rows(
                connection,
                ACQUIRE,
                service=self._service,
                holder=self._holder,
                duration=self._duration,
                partition=partitions,
            )
        self._held |= {
            row.partition: Lease(partition=row.partition, token=row.token, valid_until=valid_until)
            for row in acquired
        }

    async def _renew(self, partitions: list[int]) -> None:
        if not partitions:
            return
        valid_until = self._valid_until()
        tokens = [self._held[partition].token for partition in partitions]
        async with autocommit(self._engine) as connection:
            renewed = await fetch_rows(
                connection,
                RENEW,
                service=self._service,
                duration=self._duration,
                partition=partitions,
                token=tokens,
            )
        kept = {row.partition for row in renewed}
        if lost := sorted(self._held.keys() - kept):
            logger.warning("the leases of partitions %s are held by another instance now", lost)
        self._held = {
            number: Lease(partition=number, token=lease.token, valid_until=valid_until)
            for number, lease in self._held.items()
            if number in kept
        }
        if lost:
            await self._raise_if_superseded(lost)

    async def _raise_if_superseded(self, lost: list[int]) -> None:
        """End this process where another one of its name holds the lost leases.

        Acquired again, they would alternate between the two.
        """
        async with autocommit(self._engine) as connection:
            held_by_other = await fetch_rows(
                connection,
                LOAD_HELD_UNDER_OUR_NAME,
                service=self._service,
                holder=self._holder,
                partitions=lost,
            )
        if held_by_other:
            raise Superseded(
                f"another process named {self._holder!r} holds leases of the partitions {lost} now"
            )

    async def _release(self, partitions: list[int]) -> None:
        if not partitions:
            return
        if self.before_release is not None:
            await self.before_release()
        tokens = [self._held.pop(partition).token for partition in partitions]
        async with autocommit(self._engine) as connection:
            await fetch_rows(
                connection, RELEASE, service=self._service, partition=partitions, token=tokens
            )

    def _valid_until(self) -> float:
        """Return the end of a lease that is requested now.

        Counted from before the request: by the database's clock the lease lasts at least as long.
        """
        return self._clock() + self._duration.total_seconds()

    def _is_valid(self, partition: int) -> bool:
        lease = self._held.get(partition)
        return lease is not None and self._clock() < lease.valid_until
