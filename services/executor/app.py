"""Composes the executor from its parts."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.api_keys import PostgresApiKeys
from services.executor.adapters.chain import ExchangeLogs
from services.executor.adapters.gates import VenueGates
from services.executor.adapters.key_feed import KeyFeed
from services.executor.adapters.keyring import Keyring
from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.signers import SdkSigners, load_wallets
from services.executor.adapters.startup_check import StartupCheck
from services.executor.adapters.venue import ClobVenue
from services.executor.adapters.venue_feed import VenueFeed
from services.executor.handler import Handler
from services.executor.settings import Settings
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.chain.settings import ChainSettings
from shared.clock import utc_now
from shared.db import tables
from shared.db.controls import ControlsWatch
from shared.db.dead_letters import PostgresDeadLetters
from shared.db.engine import engine_scope
from shared.db.leases import Leases, name_holder
from shared.db.migrate import require_migrated
from shared.db.partitions import Partitions
from shared.db.settings import ControlsSettings, DatabaseSettings
from shared.messages.dead_letters import FrameParked
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderOverdue, OrderReported, TradeReported
from shared.messages.transactions import (
    ConfirmationRequested,
    FillsSettled,
    TransactionResolved,
)
from shared.messages.transfers import TransferReported
from shared.polymarket.clob import Clob
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet, assert_fast_signing
from shared.settings import read
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.routes import BatchRoutes, Routes, ignored
from shared.streams.service import Process, Service, run

PARTITIONED = (tables.orders, tables.order_states, tables.trades)


@asynccontextmanager
async def compose(process: Process) -> AsyncIterator[Service]:
    settings, exchanges = read(Settings), read(ChainSettings).exchanges
    wallets, ownership = load_wallets(settings.keys_file), Ownership()
    pool = read(DatabaseSettings)
    async with (
        Producer(process.kafka) as producer,
        engine_scope(pool) as engine,
        engine_scope(pool.for_upkeep) as upkeep,
        build_leases(ownership, upkeep, process, settings) as leases,
        Clob(read(VenueSettings), now=utc_now) as clob,
        ChainClient(Rpc(str(settings.polygon_rpc_url)), exchanges=exchanges) as chain,
    ):
        await require_migrated(engine)
        controls = ControlsWatch(upkeep, read(ControlsSettings), now=utc_now)
        await controls.refresh()
        keyring, orders = await open_keyring(wallets, clob, engine), PostgresOrders(engine, leases)
        leases.before_release = orders.late_saves.save_all
        api_keys = KeyFeed(keyring, owns=ownership_check(ownership), now=utc_now)
        gates = VenueGates(now=utc_now, probe_interval=settings.gate_probe_interval)
        venue = ClobVenue(clob, keyring, leases, gates, now=utc_now)
        startup_check = build_startup_check(orders, venue, leases, settings)
        handler = Handler(
            orders=orders,
            venue=venue,
            chain=ExchangeLogs(chain, now=utc_now),
            signers=SdkSigners(keyring, now=utc_now),
            controls=controls,
            readiness=startup_check,
            now=utc_now,
            verify_for=settings.verify_for,
        )
        yield Service(
            producer=producer,
            dead_letters=PostgresDeadLetters(engine),
            routes=build_routes(handler),
            batch_routes=build_batch_routes(handler),
            produces=[OrderReported, ConfirmationRequested, FrameParked],
            feeds={
                "controls": controls,
                "leases": leases,
                "partitions": Partitions(engine, PARTITIONED),
                "startup-check": startup_check,
                "late-saves": orders.late_saves,
                "api-keys": api_keys,
                "venue": build_venue_feed(orders, venue, ownership, settings),
            },
            readiness_checks=[controls, leases, startup_check, api_keys],
            ownership=ownership,
        )


def build_routes(handler: Handler) -> Routes:
    return {
        IntentApproved: handler.on_intent_approved,
        TradeReported: handler.on_trade_reported,
        OrderOverdue: handler.on_order_overdue,
        TransactionResolved: handler.on_transaction_resolved,
        FillsSettled: handler.on_fills_settled,
        TransferReported: ignored,  # of no order
    }


def build_batch_routes(handler: Handler) -> BatchRoutes:
    return {
        IntentApproved: handler.on_intents_approved,
        FillsSettled: handler.on_fills_settled_of_many,
    }


async def open_keyring(wallets: Mapping[str, Wallet], clob: Clob, engine: AsyncEngine) -> Keyring:
    """The wallets with the API keys that are stored. Raises: Transient."""
    assert_fast_signing()
    keyring = Keyring(wallets, clob, stored=PostgresApiKeys(engine), now=utc_now)
    await keyring.restore()
    return keyring


def build_leases(
    ownership: Ownership, engine: AsyncEngine, process: Process, settings: Settings
) -> Leases:
    return Leases(
        engine,
        ownership,
        service="executor",
        topic=IntentApproved.topic,
        holder=name_holder(process.kafka.group_instance_id),
        duration=settings.lease_duration,
    )


def build_startup_check(
    orders: PostgresOrders, venue: ClobVenue, leases: Leases, settings: Settings
) -> StartupCheck:
    return StartupCheck(
        orders, venue, leases, now=utc_now, batch_size=settings.max_wallets_per_poll
    )


def build_venue_feed(
    orders: PostgresOrders, venue: ClobVenue, ownership: Ownership, settings: Settings
) -> VenueFeed:
    return VenueFeed(
        orders,
        venue,
        owns=ownership_check(ownership),
        now=utc_now,
        poll_interval=settings.poll_interval,
        fills_within=settings.fills_within,
        overdue_after=settings.overdue_after,
        verify_for=settings.verify_for,
        max_wallets_per_poll=settings.max_wallets_per_poll,
    )


def ownership_check(ownership: Ownership) -> Callable[[str], bool]:
    """Whether a proxy's orders are handled here: this instance is assigned its partition."""
    return lambda proxy: ownership.owns(proxy.encode(), IntentApproved.topic)


def main() -> None:
    run("executor", compose)
