"""Fills the venue with traders: market makers, leaders and crowd traders by a seed, or the wallets
of a recording.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.periodic import run_periodically
from services.paper_venue.recordings.book_restorer import BookRestorer
from services.paper_venue.recordings.player import RecordingPlayer
from services.paper_venue.recordings.recorded_world import prepare_recorded_world
from services.paper_venue.recordings.recording import read_recording
from services.paper_venue.recordings.timeline import Timeline, build_timeline
from services.paper_venue.settings import Settings
from services.paper_venue.world.opening import (
    SimulatedWallets,
    World,
    build_crowd_traders,
    build_leaders,
    build_traders,
    create_simulated_wallets,
    open_books,
    open_markets,
)
from services.paper_venue.world.pair_merger import ChainPairMerger
from services.paper_venue.world.simulated_traders import Leaders

_QUOTE_INTERVAL_S = 0.05

Work = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedWorld:
    """Markets and wallets on the chain, before anybody trades.

    ``timeline``: what the recording says happened; None: the world is made from a seed.
    """

    wallets: SimulatedWallets
    world: World
    timeline: Timeline | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """All simulated traders.

    ``work`` runs beside the venue. ``facts`` are added to ``/control/world``: of a recording, which
    local token and wallet replaces which recorded one.
    """

    leaders: Leaders
    work: tuple[Work, ...]
    facts: Callable[[], Json]


async def prepare_world(settings: Settings, deployment: Deployment) -> PreparedWorld:
    """Prepare conditions and wallets on the chain.

    Raises: RecordingError, TransactionReverted, Transient.
    """
    if settings.recording is not None:
        timeline = build_timeline(read_recording(settings.recording))
        wallets, world = await prepare_recorded_world(deployment, timeline, seed=settings.seed)
        return PreparedWorld(wallets=wallets, world=world, timeline=timeline)
    wallets = await create_simulated_wallets(
        deployment, seed=settings.seed, leaders=settings.leaders
    )
    world = await open_markets(
        deployment,
        wallets,
        seed=settings.seed,
        count=settings.markets,
        quote_shares=settings.quote_shares,
        character=settings.market_character,
    )
    return PreparedWorld(wallets=wallets, world=world)


async def populate(
    settings: Settings,
    prepared: PreparedWorld,
    venue: Venue,
    deployment: Deployment,
    keys: ApiKeyStore,
    now_ms: Callable[[], int],
) -> Population:
    """Fill the order books and build all simulated traders."""
    wallets, world = prepared.wallets, prepared.world
    leaders = await build_leaders(
        venue,
        world,
        wallets,
        keys,
        seed=settings.seed,
        character=settings.market_character,
        merger=ChainPairMerger(deployment, venue),
        now_ms=now_ms,
    )
    if prepared.timeline is not None:
        return await _populate_recorded(
            settings, prepared.timeline, venue, prepared, keys, leaders, now_ms
        )
    makers = await open_books(
        venue,
        world,
        wallets,
        keys,
        seed=settings.seed,
        quote_shares=settings.quote_shares,
        drift_per_second=settings.drift_per_second,
        now_ms=now_ms(),
    )
    work: list[Work] = [
        partial(run_periodically, _QUOTE_INTERVAL_S, lambda: makers.update(now_ms=now_ms()))
    ]
    if settings.crowd_trades_per_second:
        crowd_traders = await build_crowd_traders(
            venue, world, wallets, keys, seed=settings.seed, now_ms=now_ms
        )
        work.append(
            partial(crowd_traders.run, interval_s=float(1 / settings.crowd_trades_per_second))
        )
    return Population(leaders=leaders, work=tuple(work), facts=dict)


async def _populate_recorded(
    settings: Settings,
    timeline: Timeline,
    venue: Venue,
    prepared: PreparedWorld,
    keys: ApiKeyStore,
    leaders: Leaders,
    now_ms: Callable[[], int],
) -> Population:
    makers = await build_traders(venue, keys, prepared.wallets.makers, now_ms=now_ms())
    market_by_recorded = {
        recorded.condition_id: market
        for recorded, market in zip(timeline.markets, prepared.world.markets, strict=True)
    }
    trader_by_wallet = dict(zip(timeline.wallets, leaders.traders, strict=False))
    player = RecordingPlayer(
        venue,
        BookRestorer(venue, makers, market_by_recorded),
        timeline,
        trader_by_wallet,
        speed=settings.speed,
        now_ms=now_ms,
    )
    return Population(
        leaders=leaders, work=(player.run,), facts=lambda: {"recording": player.report()}
    )
