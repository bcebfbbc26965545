"""The feed of followers' fills from the exchanges' logs, up to the finalized block.

What is read can therefore not be undone by a reorg. Each message is published before the cursor
moves: after a crash the same blocks are read again, and give the same messages.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from math import ceil
from typing import TypeVar

from services.tx_monitor.adapters.settled_fills import SettledSpan, build_settled, list_blocks
from shared.chain.block_positions import BlockGroup, BlockPositions, PartitionCursors
from shared.chain.blocks import Block, FinalityUnknown
from shared.chain.client import ChainClient
from shared.chain.fill_reader import FillSpan
from shared.db.leased_wallets import LeasedWallets
from shared.domain.errors import Transient
from shared.messages.transactions import FillsSettled
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BATCHES = 12
BATCH_INTERVAL_S = 0.08
"""What a block settles is published within about a second, in so many batches at most."""
MIN_FOLLOWERS = 8
"""Of a batch: those of a few followers hold up nothing."""

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")
"""In the text of a failure: blocks, hashes and counts, which differ in each round."""


class FillFeed:
    """Publishes the fills of this instance's followers, complete and exact: it reads on from its
    cursors, also where another instance has left them.

    ``refresh_followers`` reads who follows now. It is called once the finalized block is known: all
    whose orders can be in that block or an earlier one are then among the followers.
    """

    def __init__(
        self,
        chain: ChainClient,
        cursors: PartitionCursors,
        *,
        followers: LeasedWallets,
        refresh_followers: Callable[[], Awaitable[None]],
        poll_interval: timedelta,
        first_lookback_blocks: int,
    ) -> None:
        self._chain, self._followers = chain, followers
        self._refresh_followers = refresh_followers
        self._poll_interval_s = poll_interval.total_seconds()
        # A final block is read once.
        self._positions = BlockPositions(
            cursors, lookback_blocks=0, first_lookback_blocks=first_lookback_blocks
        )
        self._failing = frozenset[str]()
        """What failed in the last round, without its numbers: it is logged when it begins."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            is_behind = False
            try:
                is_behind, failures = await self.read_final_blocks(publish)
            except Transient as error:
                failures = [error]
            self._log(failures)
            await asyncio.sleep(0 if is_behind and not failures else self._poll_interval_s)

    async def read_final_blocks(self, publish: Publish) -> tuple[bool, list[Transient]]:
        """Read the next span of each group of partitions, and return whether any is still behind
        the finalized block, and why groups failed: one that fails holds up no other. Raises:
        Transient where no group was tried.
        """
        final, head = await self._fetch_final()
        await self._refresh_followers()
        followers = self._followers.by_lease()
        await self._positions.load(
            followers.keys(), partition_count=self._followers.partition_count()
        )
        failures, is_behind = list[Transient](), False
        for group in self._positions.group(followers, final.number):
            try:
                is_behind |= await self._read_group(group, final, publish) < final.number
            except Transient as error:
                failures.append(error)
        self._record_lag(metrics.Tip.FINALIZED, final.number)
        self._record_lag(metrics.Tip.HEAD, head)
        return is_behind, failures

    async def _fetch_final(self) -> tuple[Block, int]:
        """The finalized block, and the number of the head. Raises: Transient."""
        try:
            final, head = await self._chain.fetch_finalized_and_latest()
        except FinalityUnknown:
            self._record_lag(metrics.Tip.HEAD, (await self._chain.fetch_latest_block()).number)
            raise
        return final, head.number

    async def _read_group(self, group: BlockGroup, final: Block, publish: Publish) -> int:
        """Publish what is settled in the group's next span of blocks, save its cursors, and return
        its last block. Raises: Transient.
        """
        span = FillSpan(fills=[], through_block=final.number)
        if group.wallets:
            span = await anext(self._chain.read_final_fills(group.start, final, group.wallets))
        settled = await self._build_settled(span, group)
        await self._publish(settled, group, publish)
        await self._positions.save(group.leases, span.through_block, head=final.number)
        return span.through_block

    async def _build_settled(self, span: FillSpan, group: BlockGroup) -> SettledSpan:
        """Raises: Transient."""
        blocks = await self._chain.fetch_blocks(list_blocks(span))
        return build_settled(
            span, wallets=frozenset(group.wallets), blocks={each.number: each for each in blocks}
        )

    def _require_leases(self, group: BlockGroup) -> None:
        """Raises: Transient where another instance may publish for a partition of the group by now;
        the others are read again in the next round.
        """
        lost = sorted(number for number, _ in set(group.leases) - self._followers.held())
        if lost:
            raise Transient(f"the leases of partitions {lost} ended meanwhile")

    async def _publish(self, settled: SettledSpan, group: BlockGroup, publish: Publish) -> None:
        """Return once Kafka has all of it; the messages of each proxy go in order, and the proxies
        one after another: a block that settles a thousand orders would keep the executor from
        posting others while it records them.

        Raises: Transient where a lease ends meanwhile: the rest is another instance's.
        """
        for each in settled.left_out:
            metrics.fills_settled(metrics.SettledFills.LEFT_OUT)
            logger.error(
                "the fills of %s in the final block %d are not published: %s",
                each.proxy,
                each.block_number,
                each.reason,
            )
        by_proxy: dict[str, list[FillsSettled]] = {}
        for message in settled.messages:
            by_proxy.setdefault(message.proxy, []).append(message)
        followers = list(by_proxy.values())
        batches = list(_divide(followers, max(MIN_FOLLOWERS, ceil(len(followers) / MAX_BATCHES))))
        for number, batch in enumerate(batches, start=1):
            self._require_leases(group)
            await asyncio.gather(*(_publish_in_order(messages, publish) for messages in batch))
            if number < len(batches):
                await asyncio.sleep(BATCH_INTERVAL_S)

    def _record_lag(self, tip: metrics.Tip, number: int) -> None:
        lowest = self._positions.lowest()
        metrics.fills_blocks_behind(tip, 0 if lowest is None else number - lowest)

    def _log(self, failures: Sequence[Transient]) -> None:
        """Log each kind of failure when it begins, and the end of all."""
        by_kind = {_NUMBER.sub("#", str(failure)): failure for failure in reversed(failures)}
        for kind, failure in by_kind.items():
            if kind not in self._failing:
                logger.warning(
                    "the fills of followers could not be read, and are read again in %.1f s: %s",
                    self._poll_interval_s,
                    failure,
                )
        if self._failing and not failures:
            logger.info("the fills of followers are read again")
        self._failing = frozenset(by_kind)


async def _publish_in_order(messages: Sequence[FillsSettled], publish: Publish) -> None:
    for message in messages:
        await publish(message)
        metrics.fills_settled(metrics.SettledFills.PUBLISHED)


def _divide(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of the size, but for the last one."""
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
