"""Composition root: builds tx-monitor from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.tx_monitor.adapters import PostgresWatches, ReceiptFeed
from services.tx_monitor.handler import Handler
from services.tx_monitor.settings import Settings
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.chain.settings import ChainSettings
from shared.clock import utc_now
from shared.db import tables
from shared.db.database_watch import DatabaseWatch
from shared.db.dead_letters import PostgresDeadLetters
from shared.db.engine import engine_scope
from shared.db.migrate import require_migrated
from shared.db.partitions import Partitions
from shared.db.settings import DatabaseSettings
from shared.messages.transactions import ConfirmationRequested, ReceiptSeen, TransactionResolved
from shared.settings import read
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.service import Process, Service, run


@asynccontextmanager
async def compose(process: Process) -> AsyncIterator[Service]:
    settings, exchanges = read(Settings), read(ChainSettings).exchanges
    chain = ChainClient(Rpc(str(settings.polygon_rpc_url)))
    async with (
        Producer(process.kafka) as producer,
        engine_scope(read(DatabaseSettings)) as engine,
        chain,
    ):
        await require_migrated(engine)
        watches, ownership, database = PostgresWatches(engine), Ownership(), DatabaseWatch(engine)
        handler = Handler(watches=watches, now=utc_now, give_up_after=settings.give_up_after)
        yield Service(
            producer=producer,
            dead_letters=PostgresDeadLetters(engine),
            routes={
                ConfirmationRequested: handler.on_confirmation_requested,
                ReceiptSeen: handler.on_receipt_seen,
            },
            produces=[TransactionResolved],
            feeds={
                "database": database,
                "partitions": Partitions(engine, [tables.watches]),
                "receipts": ReceiptFeed(
                    watches,
                    chain,
                    exchanges=exchanges,
                    owns=lambda proxy: ownership.owns(proxy.encode(), ConfirmationRequested.topic),
                    now=utc_now,
                    poll_interval=settings.poll_interval,
                    batch_size=settings.receipts_batch_size,
                    give_up_after=settings.give_up_after,
                ),
            },
            readiness_checks=[database],
            ownership=ownership,
        )


def main() -> None:
    run("tx-monitor", compose)
