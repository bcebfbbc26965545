"""Composition root: builds ingest's handler, feeds and adapters from the settings."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext

from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters import (
    ActivityFeed,
    ChainFeed,
    ChainHoldings,
    DataFeed,
    EquityFeed,
    PostgresEquities,
    PostgresLeaderCursors,
    PostgresPartitionCursors,
    PostgresTrades,
    SharedLeaders,
    UnsettledTradesCheck,
    VenueComplements,
    list_wallets,
)
from services.ingest.handler import Handler
from services.ingest.settings import Settings
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.chain.settings import ChainSettings
from shared.clock import utc_now
from shared.db.controls import ControlsWatch
from shared.db.dead_letters import PostgresDeadLetters
from shared.db.engine import engine_scope
from shared.db.leases import Leases, name_holder
from shared.db.migrate import require_migrated
from shared.db.settings import ControlsSettings, DatabaseSettings
from shared.domain.errors import Transient
from shared.messages.dead_letters import FrameParked
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe.metrics import Feed
from shared.polymarket import rtds
from shared.polymarket.clob import Clob
from shared.polymarket.data_api import DataApi
from shared.polymarket.request_budget import RequestBudget
from shared.polymarket.settings import VenueSettings
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.settings import read
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.service import Process, Service, run


@asynccontextmanager
async def compose(process: Process) -> AsyncIterator[Service]:
    settings, venue, ownership = read(Settings), read(VenueSettings), Ownership()
    exchanges = read(ChainSettings).exchanges
    chain = ChainClient(Rpc(str(settings.polygon_rpc_url)), exchanges=exchanges)
    budget = RequestBudget(share=venue.venue_rate_share)
    data = build_data_api(settings, venue, budget)
    pool = read(DatabaseSettings)
    async with (
        Producer(process.kafka) as producer,
        engine_scope(pool) as engine,
        engine_scope(pool.for_upkeep) as upkeep,
        build_leases(ownership, upkeep, process, settings) as leases,
        chain,
        data or nullcontext(),
        Clob(venue, now=utc_now, budget=budget) as clob,
    ):
        await require_migrated(engine)
        controls = ControlsWatch(upkeep, read(ControlsSettings), now=utc_now)
        await controls.refresh()
        activity = Channel(build_channel_settings(settings, venue), lambda: [rtds.SUBSCRIBE])
        leaders = SharedLeaders(controls.leaders, ownership, leases)
        holdings = ChainHoldings(chain, exchanges=exchanges)
        handler = build_handler(engine, holdings, clob, controls, settings)
        yield Service(
            producer=producer,
            dead_letters=PostgresDeadLetters(engine),
            routes={LeaderFillSeen: handler.on_leader_fill_seen},
            produces=[CopyIntended, LeaderFillSeen, FrameParked],
            feeds={
                "controls": controls,
                "leases": leases,
                "rtds": ActivityFeed(activity, leaders=leaders.assigned, now=utc_now),
                "chain": build_chain_feed(engine, chain, leaders, settings),
                "unsettled": build_unsettled_check(engine, leaders, settings),
                "equities": build_equity_feed(engine, chain, data, controls, leaders, settings),
                **({"data": build_data_feed(engine, data, leaders, settings)} if data else {}),
            },
            readiness_checks=[controls, leases],
            ownership=ownership,
        )


def build_leases(
    ownership: Ownership, engine: AsyncEngine, process: Process, settings: Settings
) -> Leases:
    return Leases(
        engine,
        ownership,
        service="ingest",
        topic=LeaderFillSeen.topic,
        holder=name_holder(process.kafka.group_instance_id),
        duration=settings.lease_duration,
    )


def build_unsettled_check(
    engine: AsyncEngine, leaders: SharedLeaders, settings: Settings
) -> UnsettledTradesCheck:
    return UnsettledTradesCheck(
        engine,
        leaders=leaders.assigned,
        now=utc_now,
        after=settings.unsettled_after,
        check_interval=settings.unsettled_check_interval,
    )


def build_chain_feed(
    engine: AsyncEngine, chain: ChainClient, leaders: SharedLeaders, settings: Settings
) -> ChainFeed:
    return ChainFeed(
        chain,
        PostgresPartitionCursors(engine),
        leaders=leaders,
        now=utc_now,
        poll_interval=settings.chain_poll_interval,
        lookback_blocks=settings.chain_lookback_blocks,
        first_lookback_blocks=settings.chain_first_lookback_blocks,
    )


def build_handler(
    engine: AsyncEngine,
    holdings: ChainHoldings,
    clob: Clob,
    controls: ControlsWatch,
    settings: Settings,
) -> Handler:
    return Handler(
        trades=PostgresTrades(engine),
        holdings=holdings,
        complements=VenueComplements(
            engine, clob, now=utc_now, max_wait=settings.complement_timeout
        ),
        controls=controls,
        equities=PostgresEquities(engine, max_age=settings.max_equity_age),
        now=utc_now,
        repeated_rows=settings.repeated_rows,
        carry_for=settings.carry_for,
    )


def build_data_api(
    settings: Settings, venue: VenueSettings, budget: RequestBudget
) -> DataApi | None:
    """Build the client of the Data API; None where no address is set: then it is no feed."""
    if settings.data_url is None:
        return None
    return DataApi(
        str(settings.data_url), timeout_s=venue.venue_timeout_s, now=utc_now, budget=budget
    )


def build_data_feed(
    engine: AsyncEngine, data: DataApi, leaders: SharedLeaders, settings: Settings
) -> DataFeed:
    return DataFeed(
        data.fetch_trades,
        PostgresLeaderCursors(engine),
        leaders=leaders,
        now=utc_now,
        poll_interval=settings.data_poll_interval,
        lookback=settings.data_lookback,
        max_lookback=settings.data_max_lookback,
    )


def build_equity_feed(
    engine: AsyncEngine,
    chain: ChainClient,
    data: DataApi | None,
    controls: ControlsWatch,
    leaders: SharedLeaders,
    settings: Settings,
) -> EquityFeed:
    """Each wallet, also a follower's, is read by the instance of its partition."""

    async def fetch_cash(wallets: Sequence[str]) -> list[int | Transient]:
        read = await chain.fetch_balances_or_failures([(wallet, ()) for wallet in wallets])
        return [each if isinstance(each, Transient) else each.collateral for each in read]

    return EquityFeed(
        PostgresEquities(engine, max_age=settings.max_equity_age),
        fetch_cash=fetch_cash,
        fetch_value=None if data is None else data.fetch_value,
        wallets=lambda: set(filter(leaders.is_assigned, list_wallets(controls.known()))),
        now=utc_now,
        interval=settings.equity_interval,
        max_age=settings.max_equity_age,
    )


def build_channel_settings(settings: Settings, venue: VenueSettings) -> ChannelSettings:
    return ChannelSettings(
        name=Feed.RTDS,
        url=str(venue.rtds_ws_url),
        ping_interval_s=settings.rtds_ping_interval.total_seconds(),
        silence_timeout_s=settings.rtds_silence_timeout.total_seconds(),
        pong_is_alive=False,
        data_is_alive=False,
    )


def main() -> None:
    run("ingest", compose)
