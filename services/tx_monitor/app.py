"""Composition root: builds tx-monitor from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from services.tx_monitor.adapters import (
    SERVICE,
    ChainNodes,
    FillFeed,
    OperatorKeys,
    PostgresFillCursors,
    PostgresTransfers,
    PostgresWatches,
    ReceiptFeed,
    Sender,
    Tools,
    load_operator_keys,
    open_nodes,
)
from services.tx_monitor.handler import Handler
from services.tx_monitor.settings import Settings
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.chain.settings import ChainSettings
from shared.clock import utc_now
from shared.db import tables
from shared.db.controls import ControlsWatch
from shared.db.database_watch import DatabaseWatch
from shared.db.dead_letters import PostgresDeadLetters
from shared.db.engine import engine_scope
from shared.db.leased_wallets import LeasedWallets
from shared.db.leases import Leases, name_holder
from shared.db.migrate import require_migrated
from shared.db.partitions import Partitions
from shared.db.settings import ControlsSettings, DatabaseSettings
from shared.messages.transactions import (
    ConfirmationRequested,
    FillsSettled,
    ReceiptSeen,
    TransactionResolved,
)
from shared.messages.transfers import TransferReported, TransferRequested
from shared.settings import read
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.routes import Routes
from shared.streams.service import Process, Service, run


@asynccontextmanager
async def compose(process: Process) -> AsyncIterator[Service]:
    settings, ownership = read(Settings), Ownership()
    rpc = Rpc(str(settings.polygon_rpc_url))
    pool = read(DatabaseSettings)
    keys = load_operator_keys(settings.operator_keys_file)
    async with (
        Producer(process.kafka) as producer,
        engine_scope(pool) as engine,
        engine_scope(pool.for_upkeep) as upkeep,
        build_leases(ownership, upkeep, process, settings) as leases,
        ChainClient(rpc, exchanges=read(ChainSettings).exchanges) as chain,
        open_nodes(settings.node_urls, timeout_s=settings.node_timeout.total_seconds()) as nodes,
    ):
        await require_migrated(engine)
        watches, database = PostgresWatches(engine), DatabaseWatch(engine)
        controls = ControlsWatch(upkeep, read(ControlsSettings), now=utc_now)
        await controls.refresh()
        followers = LeasedWallets(
            lambda: controls.known().followers(),
            ownership,
            leases,
            topic=ConfirmationRequested.topic,
        )
        transfers = PostgresTransfers(engine)
        sender = build_sender(transfers, nodes, keys, leases, settings)
        handler = Handler(
            watches=watches,
            transfers=transfers,
            has_key=keys.holds,
            wake=sender.wake,
            now=utc_now,
            give_up_after=settings.give_up_after,
        )
        yield Service(
            producer=producer,
            dead_letters=PostgresDeadLetters(engine),
            routes=build_routes(handler),
            produces=[TransactionResolved, FillsSettled, TransferReported],
            feeds={
                "database": database,
                "controls": controls,
                "leases": leases,
                "partitions": Partitions(engine, [tables.watches]),
                "receipts": build_receipt_feed(watches, chain, ownership, settings),
                "fills": build_fill_feed(engine, chain, controls, followers, settings),
                "transfers": sender,
            },
            readiness_checks=[database, controls, leases],
            ownership=ownership,
        )


def build_routes(handler: Handler) -> Routes:
    return {
        ConfirmationRequested: handler.on_confirmation_requested,
        TransferRequested: handler.on_transfer_requested,
        ReceiptSeen: handler.on_receipt_seen,
    }


def build_leases(
    ownership: Ownership, engine: AsyncEngine, process: Process, settings: Settings
) -> Leases:
    return Leases(
        engine,
        ownership,
        service=SERVICE,
        topic=ConfirmationRequested.topic,
        holder=name_holder(process.kafka.group_instance_id),
        duration=settings.lease_duration,
    )


def build_sender(
    transfers: PostgresTransfers,
    nodes: ChainNodes,
    keys: OperatorKeys,
    leases: Leases,
    settings: Settings,
) -> Sender:
    tools = Tools(
        store=transfers,
        nodes=nodes,
        keys=keys,
        leases=leases,
        now=utc_now,
        policy=settings.build_policy(),
    )
    return Sender(tools, poll_interval=settings.poll_interval)


def build_receipt_feed(
    watches: PostgresWatches, chain: ChainClient, ownership: Ownership, settings: Settings
) -> ReceiptFeed:
    return ReceiptFeed(
        watches,
        chain,
        exchanges=read(ChainSettings).exchanges,
        owns=lambda proxy: ownership.owns(proxy.encode(), ConfirmationRequested.topic),
        now=utc_now,
        poll_interval=settings.poll_interval,
        batch_size=settings.receipts_batch_size,
        give_up_after=settings.give_up_after,
    )


def build_fill_feed(
    engine: AsyncEngine,
    chain: ChainClient,
    controls: ControlsWatch,
    followers: LeasedWallets,
    settings: Settings,
) -> FillFeed:
    return FillFeed(
        chain,
        PostgresFillCursors(engine),
        followers=followers,
        refresh_followers=controls.refresh,
        poll_interval=settings.poll_interval,
        first_lookback_blocks=settings.first_lookback_blocks,
    )


def main() -> None:
    run("tx-monitor", compose)
