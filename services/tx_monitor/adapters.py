"""Tx-monitor's ports against PostgreSQL and the chain."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from eth_utils.address import to_checksum_address
from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from services.tx_monitor.decisions import Watch, is_overdue
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.client import ChainClient, Receipt
from shared.chain.logs import decode_order_fills
from shared.db.engine import fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.domain.errors import Transient
from shared.messages.transactions import Purpose, ReceiptSeen, SettledFill, TransactionState
from shared.observe import metrics, tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

FILLS: TypeAdapter[tuple[SettledFill, ...]] = TypeAdapter(tuple[SettledFill, ...])

OPEN = """
insert into tx_monitor.watches (request_id, proxy, transaction_hash, purpose, intent_id, state, fills, traceparent,
                               requested_at, updated_at)
select g.*, g.at from unnest(cast(:ids as text[]), cast(:proxies as text[]), cast(:transactions as text[]), cast(:purposes as text[]),
                             cast(:intents as text[]), cast(:states as text[]), cast(:fills as text[]), cast(:traces as text[]),
                             cast(:at as timestamptz[]))
     as g(request_id, proxy, transaction_hash, purpose, intent_id, state, fills, traceparent, at)
on conflict do nothing
"""
LOAD = "select * from tx_monitor.watches where request_id = any(cast(:ids as text[]))"
SAVE = """
update tx_monitor.watches w
set state = g.state, block_number = g.block_number, block_hash = g.block_hash, fills = g.fills,
    updated_at = case when (w.state, w.block_hash) is distinct from (g.state, g.block_hash) then g.at else w.updated_at end
from unnest(cast(:ids as text[]), cast(:states as text[]), cast(:numbers as bigint[]), cast(:hashes as text[]), cast(:fills as text[]),
            cast(:at as timestamptz[])) as g(request_id, state, block_number, block_hash, fills, at)
where w.request_id = g.request_id and w.state not in ('final', 'final_reverted')
  and (w.state, w.block_number, w.block_hash, w.fills) is distinct from (g.state, g.block_number, g.block_hash, g.fills)
returning w.state
"""
"""What is final stands: an instance that stood still may come back with an older look."""
OPEN_WATCHES = "select * from tx_monitor.watches where state not in ('final', 'final_reverted') and state <> 'dropped'"

Dated = tuple[Watch, datetime]


class PostgresWatches:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._open = GroupCommit(self._open_all)
        self._load = GroupCommit(self._load_all)
        self._save = GroupCommit(self._save_all)

    async def open(self, watch: Watch, *, now: datetime) -> Watch:
        return await self._open((watch, now, tracing.inject()))

    async def load(self, request_id: str) -> Watch | None:
        return await self._load(request_id)

    async def save(self, watch: Watch, *, now: datetime) -> None:
        await self._save((watch, now))

    async def open_watches(self) -> list[Watch]:
        """All that are neither final nor given up, of all instances. Raises: Transient."""
        async with transaction(self._engine) as connection:
            return [_watch(row) for row in await fetch_rows(connection, OPEN_WATCHES)]

    async def _open_all(self, opened: Sequence[tuple[Watch, datetime, str | None]]) -> list[Watch]:
        watches = [watch for watch, _, _ in opened]
        columns = {
            "ids": [watch.request_id for watch in watches],
            "proxies": [watch.proxy for watch in watches],
            "transactions": [watch.transaction_hash for watch in watches],
            "purposes": [watch.purpose.value for watch in watches],
            "intents": [watch.intent_id for watch in watches],
            "states": [watch.state.value for watch in watches],
            "fills": [_fills_text(watch) for watch in watches],
            "traces": [trace for _, _, trace in opened],
            "at": [now for _, now, _ in opened],
        }
        async with transaction(self._engine) as connection:
            await connection.execute(text(OPEN), columns)
            standing = {
                row.request_id: _watch(row)
                for row in await fetch_rows(connection, LOAD, ids=columns["ids"])
            }
        return [standing[watch.request_id] for watch in watches]

    async def _load_all(self, ids: Sequence[str]) -> list[Watch | None]:
        async with transaction(self._engine) as connection:
            found = {
                row.request_id: _watch(row)
                for row in await fetch_rows(connection, LOAD, ids=list(ids))
            }
        return [found.get(request_id) for request_id in ids]

    async def _save_all(self, saved: Sequence[Dated]) -> list[None]:
        columns = {
            "ids": [watch.request_id for watch, _ in saved],
            "states": [watch.state.value for watch, _ in saved],
            "numbers": [watch.block_number for watch, _ in saved],
            "hashes": [watch.block_hash for watch, _ in saved],
            "fills": [_fills_text(watch) for watch, _ in saved],
            "at": [now for _, now in saved],
        }
        async with transaction(self._engine) as connection:
            moved = await fetch_rows(connection, SAVE, **columns)
        for watch in moved:
            metrics.transaction_state_reached(TransactionState(watch.state))
        return [None] * len(saved)


def _fills_text(watch: Watch) -> str:
    return FILLS.dump_json(watch.fills).decode()


def _watch(row: Row[Any]) -> Watch:
    return Watch(
        request_id=row.request_id,
        proxy=row.proxy,
        transaction_hash=row.transaction_hash,
        purpose=Purpose(row.purpose),
        intent_id=row.intent_id,
        state=TransactionState(row.state),
        block_number=row.block_number,
        block_hash=row.block_hash,
        fills=FILLS.validate_json(row.fills),
        traceparent=row.traceparent,
        changed_at=row.updated_at,
    )


class ReceiptFeed:
    """Asks a node for the receipts of open watches, and tells what has changed since it was told
    last.
    """

    def __init__(
        self,
        watches: PostgresWatches,
        chain: ChainClient,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        look_every: timedelta,
        at_a_time: int,
        give_up_after: timedelta,
    ) -> None:
        self._watches, self._chain, self._owns, self._now = watches, chain, owns, now
        self._look_every, self._at_a_time, self._give_up_after = (
            look_every,
            at_a_time,
            give_up_after,
        )

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._look(publish)
            except Transient as error:
                logger.warning("the chain could not be looked at: %s", error)
            await asyncio.sleep(self._look_every.total_seconds())

    async def _look(self, publish: Publish) -> None:
        ours = [watch for watch in await self._watches.open_watches() if self._owns(watch.proxy)]
        if not ours:
            return
        # The finalized block is read first: what was final then is final in any later view.
        finalized = await self._chain.fetch_finalized_block()
        asked = await self._without_resting(ours, finalized_block=finalized.number)
        for start in range(0, len(asked), self._at_a_time):
            some = asked[start : start + self._at_a_time]
            receipts = await self._chain.fetch_receipts([watch.transaction_hash for watch in some])
            for watch, receipt in zip(some, receipts, strict=True):
                if is_news(watch, receipt, finalized_block=finalized.number) or self._is_given_up(
                    watch, receipt
                ):
                    with tracing.continue_trace(watch.traceparent):
                        await publish(
                            seen(watch, receipt, finalized_block=finalized.number, now=self._now())
                        )

    def _is_given_up(self, watch: Watch, receipt: Receipt | None) -> bool:
        return receipt is None and is_overdue(
            watch, now=self._now(), give_up_after=self._give_up_after
        )

    async def _without_resting(
        self, watches: Sequence[Watch], *, finalized_block: int
    ) -> list[Watch]:
        """Leave out what is mined, not yet final, and in a block that still stands: its receipt can
        tell nothing new.
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


def is_news(watch: Watch, receipt: Receipt | None, *, finalized_block: int) -> bool:
    """Another block than the one we know, none where there was one, or a known one that has become
    final.
    """
    if receipt is None:
        return watch.block_number is not None
    return receipt.block_hash != watch.block_hash or receipt.block_number <= finalized_block


def is_of_an_exchange(log: Mapping[str, Any]) -> bool:
    """Anybody's contract that is called in a settlement (a maker's wallet, say) can emit an event
    that looks like a fill.
    """
    return to_checksum_address(log["address"]) in LIVE_EXCHANGES


def seen(
    watch: Watch, receipt: Receipt | None, *, finalized_block: int, now: datetime
) -> ReceiptSeen:
    fills = (
        decode_order_fills(filter(is_of_an_exchange, receipt.logs)) if receipt is not None else []
    )
    return ReceiptSeen(
        message_id=f"{watch.request_id}:{receipt.block_hash if receipt else 'none'}:{finalized_block}",
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
