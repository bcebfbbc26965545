"""Who may write for a partition now? Its lease holder, by a token that grows with every new one.

Kafka alone cannot say it: a process that stood still (a stopped container, a swap storm) learns
only afterwards that its partitions went to another. So what it writes carries the token and is
refused by the database when another has come; and before it does anything that the database cannot
refuse, it looks whether its lease, by its own clock that went on, can still be valid.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows
from shared.domain.errors import Transient
from shared.streams.partitioning import Ownership

logger = logging.getLogger(__name__)

TAKE = """
insert into control.leases as l (service, partition, token, holder, expires_at)
select :service, partition, 1, :holder, clock_timestamp() + cast(:lasts as interval)
from unnest(cast(:partitions as integer[])) as wanted(partition)
order by partition
on conflict (service, partition) do update
set token = l.token + 1, holder = excluded.holder, expires_at = excluded.expires_at
where l.expires_at <= clock_timestamp() or l.holder = excluded.holder
returning partition, token
"""
RENEW = """
update control.leases l set expires_at = clock_timestamp() + cast(:lasts as interval)
from unnest(cast(:partitions as integer[]), cast(:tokens as bigint[])) as held(partition, token)
where l.service = :service and l.partition = held.partition and l.token = held.token
returning l.partition
"""
RELEASE = """
update control.leases l set expires_at = clock_timestamp()
from unnest(cast(:partitions as integer[]), cast(:tokens as bigint[])) as held(partition, token)
where l.service = :service and l.partition = held.partition and l.token = held.token
returning l.partition
"""


NAMESAKES = """
select partition from control.leases where service = :service and holder = :holder and partition = any(cast(:partitions as integer[]))
"""

LOOK_EVERY_S = 0.1
"""At what is assigned to us, which costs nothing: a lease that is missing holds up all messages of
its partition."""


class Superseded(Exception):
    """Another process of this instance's name has taken over: this one stood still for long, and
    must end.
    """


class NotLeaseHolder(Transient):
    """This instance may not write for the partition: not yet, or no more. If the partition is still
    its own, it will be again.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write for a partition. ``until`` on this process's monotonic clock, in seconds."""

    partition: int
    token: int
    until: float


class Leases:
    """The leases of this instance: taken for the partitions that it is assigned, renewed while it
    holds them.

    A feed of its service; and an async context manager that gives them back at the end, after what
    still ran has been written.

    ``holder`` names the instance. One that comes back under the same name (static membership: there
    is only one of that name) takes its leases at once, with new tokens; any other waits until they
    have run out. ``lasts`` is best below Kafka's session timeout: then nobody waits for a lease
    longer than for the partition.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        ownership: Ownership,
        *,
        service: str,
        topic: str,
        holder: str,
        lasts: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._ownership = engine, ownership
        self._service, self._topic, self._holder = service, topic, holder
        self._lasts, self._clock = lasts, clock
        self._held: dict[int, Lease] = {}

    name = "leases"

    @property
    def is_ready(self) -> bool:
        """Whether every partition that is ours is also leased."""
        return all(self._is_valid(partition) for partition in self._ownership.held(self._topic))

    @property
    def held(self) -> tuple[Lease, ...]:
        """Those that are valid at this moment."""
        return tuple(lease for number, lease in self._held.items() if self._is_valid(number))

    def lease_for(self, key: str) -> Lease:
        """The lease under which may be written for ``key``, valid at this moment. Raises:
        NotTheHolder.
        """
        partition = self._ownership.partition(key.encode(), self._topic)
        if partition is None or not self._is_valid(partition):
            raise NotLeaseHolder(f"partition {partition} is not leased by this instance now")
        return self._held[partition]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give all back, so that whoever comes next need not wait."""
        try:
            await self._release(list(self._held))
        except Transient as failed:
            logger.warning(
                "the leases could not be given back, they run out in %s: %s", self._lasts, failed
            )

    async def refresh(self) -> None:
        """Renew what we hold, give back what is no longer ours, take what has become ours. Raises:
        Transient; Superseded.
        """
        await self._renew(list(self._held))
        if ours := self._ownership.held(
            self._topic
        ):  # empty: partitions are being handed over, what runs may still have to write
            await self._release([partition for partition in self._held if partition not in ours])
            await self._take(sorted(ours - self._held.keys()))

    async def __call__(self, _: object) -> None:
        """Keep them until cancelled. Raises: Superseded."""
        refreshed_at = float("-inf")
        while True:
            if not self.is_ready or self._clock() - refreshed_at >= self._lasts.total_seconds() / 5:
                try:
                    await self.refresh()
                except Transient as error:
                    logger.warning("the leases could not be renewed: %s", error)
                refreshed_at = self._clock()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _take(self, partitions: list[int]) -> None:
        if not partitions:
            return
        until = self._until()
        async with autocommit(self._engine) as connection:
            taken = await fetch_rows(
                connection,
                TAKE,
                service=self._service,
                holder=self._holder,
                lasts=self._lasts,
                partitions=partitions,
            )
        self._held |= {
            row.partition: Lease(partition=row.partition, token=row.token, until=until)
            for row in taken
        }

    async def _renew(self, partitions: list[int]) -> None:
        if not partitions:
            return
        until = self._until()
        tokens = [self._held[partition].token for partition in partitions]
        async with autocommit(self._engine) as connection:
            renewed = await fetch_rows(
                connection,
                RENEW,
                service=self._service,
                lasts=self._lasts,
                partitions=partitions,
                tokens=tokens,
            )
        kept = {row.partition for row in renewed}
        if lost := sorted(self._held.keys() - kept):
            logger.warning("the leases of partitions %s went to another instance", lost)
        self._held = {
            number: Lease(partition=number, token=lease.token, until=until)
            for number, lease in self._held.items()
            if number in kept
        }
        if lost:
            await self._end_if_superseded(lost)

    async def _end_if_superseded(self, lost: list[int]) -> None:
        """Taken back, they would go to and fro between us and our successor of the same name."""
        async with autocommit(self._engine) as connection:
            if await fetch_rows(
                connection, NAMESAKES, service=self._service, holder=self._holder, partitions=lost
            ):
                raise Superseded(
                    f"another process named {self._holder!r} writes for partitions of {lost} now"
                )

    async def _release(self, partitions: list[int]) -> None:
        if not partitions:
            return
        tokens = [self._held.pop(partition).token for partition in partitions]
        async with autocommit(self._engine) as connection:
            await fetch_rows(
                connection, RELEASE, service=self._service, partitions=partitions, tokens=tokens
            )

    def _until(self) -> float:
        """Counted from before the database is asked: by its clock the lease lasts at least as long."""
        return self._clock() + self._lasts.total_seconds()

    def _is_valid(self, partition: int) -> bool:
        lease = self._held.get(partition)
        return lease is not None and self._clock() < lease.until
