"""The feed that polls a node for the receipts of open watches."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from services.tx_monitor.adapters.watches import PostgresWatches
from services.tx_monitor.decisions.watches import Watch, is_overdue
from shared.chain.blocks import Receipt
from shared.chain.client import ChainClient
from shared.chain.logs import decode_receipt_fills
from shared.domain.errors import Transient
from shared.messages.transactions import ReceiptSeen, SettledFill
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


class Finality:
    """The newest block that is known to be final. Blocks below it never change, so that it stays
    true while the node does not name a newer one.
    """

    def __init__(self, chain: ChainClient) -> None:
        self._chain = chain
        self._block = 0
        """The first block of a chain is final from the start."""
        self._failure = ""
        """Why the node did not name it last time; logged when it changes."""

    async def fetch_block(self) -> int:
        """Return its number; where the node fails, or names an older one, as it was known before.
        What is mined later stays provisional meanwhile.
        """
        try:
            self._block = max(self._block, (await self._chain.fetch_finalized_block()).number)
        except Transient as error:
            self._log(str(error))
        else:
            self._log("")
        return self._block

    def _log(self, failure: str) -> None:
        if failure and failure != self._failure:
            logger.warning(
                "the finalized block could not be read; what was mined after block %d stays "
                "provisional: %s",
                self._block,
                failure,
            )
        elif self._failure and not failure:
            logger.info("the node names the finalized block again: %d", self._block)
        self._failure = failure


class ReceiptFeed:
    """Polls a node for the receipts of this instance's open watches, and publishes those that
    differ from what is recorded. ``exchanges``: whose events are fills.
    """

    def __init__(
        self,
        watches: PostgresWatches,
        chain: ChainClient,
        *,
        exchanges: Collection[str],
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        poll_interval: timedelta,
        batch_size: int,
        give_up_after: timedelta,
    ) -> None:
        self._watches, self._chain, self._owns, self._now = watches, chain, owns, now
        self._finality = Finality(chain)
        self._exchanges = exchanges
        self._poll_interval, self._batch_size = poll_interval, batch_size
        self._give_up_after = give_up_after

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self.poll(publish)
            except Transient as error:
                logger.warning("could not poll the chain for receipts, will retry: %s", error)
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def poll(self, publish: Publish) -> None:
        watches = [watch for watch in await self._watches.load_open() if self._owns(watch.proxy)]
        if not watches:
            return
        # The finalized block is read first: a block that is final now is final in any later view.
        finalized_block = await self._finality.fetch_block()
        pending = await self._exclude_unchanged(watches, finalized_block=finalized_block)
        for start in range(0, len(pending), self._batch_size):
            batch = pending[start : start + self._batch_size]
            receipts = await self._chain.fetch_receipts_or_failures(
                [watch.transaction_hash for watch in batch]
            )
            for watch, receipt in zip(batch, receipts, strict=True):
                try:
                    seen = self._build_change(watch, receipt, finalized_block)
                except Transient as error:
                    # This transaction alone waits.
                    logger.warning(
                        "the receipt of transaction %s could not be read, will retry: %s",
                        watch.transaction_hash,
                        error,
                    )
                    continue
                if seen is not None:
                    with tracing.continue_trace(watch.traceparent):
                        await publish(seen)

    def _build_change(
        self, watch: Watch, receipt: Receipt | Transient | None, finalized_block: int
    ) -> ReceiptSeen | None:
        """None where the receipt changes nothing. Raises: Transient where it cannot be read."""
        if isinstance(receipt, Transient):
            raise receipt
        changed = is_changed(watch, receipt, finalized_block=finalized_block)
        if not changed and not self._is_given_up(watch, receipt):
            return None
        return build_receipt_seen(
            watch,
            receipt,
            exchanges=self._exchanges,
            finalized_block=finalized_block,
            now=self._now(),
        )

    def _is_given_up(self, watch: Watch, receipt: Receipt | None) -> bool:
        return receipt is None and is_overdue(
            watch, now=self._now(), give_up_after=self._give_up_after
        )

    async def _exclude_unchanged(
        self, watches: Sequence[Watch], *, finalized_block: int
    ) -> list[Watch]:
        """Leave out the watches whose transaction is mined, not yet final, and in a block that is
        still canonical: their receipts cannot have changed.
        """
        number_by_request = {
            watch.request_id: watch.block_number
            for watch in watches
            if watch.block_number is not None and watch.block_number > finalized_block
        }
        hashes = await self._chain.fetch_block_hashes(sorted(set(number_by_request.values())))
        return [
            watch
            for watch in watches
            if hashes.get(number_by_request.get(watch.request_id, -1)) != watch.block_hash
        ]


def is_changed(watch: Watch, receipt: Receipt | None, *, finalized_block: int) -> bool:
    """Whether the receipt changes the watch: it names another block than the recorded one, none
    where one is recorded, or a block that is final by now.
    """
    if receipt is None:
        return watch.block_number is not None
    return receipt.block_hash != watch.block_hash or receipt.block_number <= finalized_block


def build_receipt_seen(
    watch: Watch,
    receipt: Receipt | None,
    *,
    exchanges: Collection[str],
    finalized_block: int,
    now: datetime,
) -> ReceiptSeen:
    """Build the message with the fills that these exchanges emitted for orders of the proxy."""
    logs = receipt.logs if receipt is not None else ()
    fills = decode_receipt_fills(logs, exchanges=exchanges)
    block = receipt.block_hash if receipt else "none"
    return ReceiptSeen(
        message_id=f"{watch.request_id}:{block}:{finalized_block}",
        occurred_at=now,
        proxy=watch.proxy,
        request_id=watch.request_id,
        transaction_hash=watch.transaction_hash,
        block_number=receipt.block_number if receipt else None,
        block_hash=receipt.block_hash if receipt else "",
        succeeded=receipt.succeeded if receipt else False,
        fills=tuple(
            SettledFill(
                order_hash=fill.order_hash, shares=fill.shares, usdc=fill.usdc, fee_usdc=fill.fee
            )
            for fill in fills
            if fill.maker == watch.proxy
        ),
        finalized_block=finalized_block,
    )
