"""From which block the wallets of each leased partition are read on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.db.leased_wallets import LeaseId


class PartitionCursors(Protocol):
    """Up to which block the wallets of each partition were read."""

    async def load(self, partitions: Sequence[int], *, count: int) -> Mapping[int, int | None]:
        """The last block that was read of each of these; None where none ever was. ``count``: of
        all partitions. Raises: Transient.
        """
        ...

    async def begin(self, block: int, *, count: int) -> None:
        """Have each of all ``count`` partitions that was never read begin after the block, whoever
        holds it. Raises: Transient.
        """
        ...

    async def save(self, leases: Sequence[LeaseId], block: int) -> None:
        """Move the cursors of these partitions forward, never back, and none of which the lease is
        not the newest one. Raises: Transient.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGroup:
    """Partitions that were read up to the same block, and are read on together."""

    start: int
    """The first block to read."""
    leases: tuple[LeaseId, ...]
    wallets: tuple[str, ...]


class BlockPositions:
    """The block to read from next, of each leased partition.

    ``lookback_blocks``: how many blocks at the head are read again each time, because a reorg may
    change them. ``first_lookback_blocks``: how many before the head are read where none ever was.
    """

    def __init__(
        self, cursors: PartitionCursors, *, lookback_blocks: int, first_lookback_blocks: int
    ) -> None:
        self._cursors = cursors
        self._lookback_blocks, self._first_lookback_blocks = lookback_blocks, first_lookback_blocks
        self._next_block: dict[LeaseId, int | None] = {}
        """None: none was read ever."""
        self._partition_count = 0

    async def load(self, leases: Collection[LeaseId], *, partition_count: int) -> None:
        """Begin with the partitions that are new here where their last owner ended, and forget
        those that are lost. Raises: Transient.
        """
        self._partition_count = partition_count
        self._next_block = {each: at for each, at in self._next_block.items() if each in leases}
        new = [each for each in leases if each not in self._next_block]
        if new:
            stored = await self._cursors.load(
                [partition for partition, _ in new], count=partition_count
            )
            self._next_block |= {each: self._start_after(stored[each[0]]) for each in new}

    def group(self, wallets: Mapping[LeaseId, Sequence[str]], head: int) -> list[BlockGroup]:
        """The partitions by the block to read from, those that are the furthest first: nothing
        that is new waits for what is old. Those that were read up to the head are left out.
        """
        by_start: dict[int, list[LeaseId]] = {}
        for lease in wallets:
            start = self._next_block[lease]
            first = self._first_block(head) if start is None else start
            by_start.setdefault(first, []).append(lease)
        return [
            BlockGroup(
                start=start,
                leases=tuple(leases),
                wallets=tuple(sorted(wallet for each in leases for wallet in wallets[each])),
            )
            for start, leases in sorted(by_start.items(), reverse=True)
            if start <= head
        ]

    async def save(self, leases: Sequence[LeaseId], through: int, *, head: int) -> None:
        """Record that the wallets of these partitions were read up to the block ``through``.
        Raises: Transient.
        """
        if any(self._next_block.get(each) is None for each in leases):
            # Partitions that are acquired later would begin where these end.
            await self._cursors.begin(self._first_block(head) - 1, count=self._partition_count)
        await self._cursors.save(leases, through)
        # Only what is near the head may still be changed by a reorg.
        start = self._start_after(through) if through == head else through + 1
        self._next_block |= dict.fromkeys(leases, start)

    def lowest(self) -> int | None:
        """The block before the one that the partition that is the furthest behind is read from
        next; None where none was read yet.
        """
        starts = [start for start in self._next_block.values() if start is not None]
        return min(starts) - 1 if starts else None

    def _first_block(self, head: int) -> int:
        """The block to read from where none ever was."""
        return max(0, head - self._first_lookback_blocks)

    def _start_after(self, last_read: int | None) -> int | None:
        return None if last_read is None else max(0, last_read + 1 - self._lookback_blocks)
