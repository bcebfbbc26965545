"""Who lives in this world: market makers, leaders and a crowd by a seed, or those of a recording?"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from services.paper_venue.chain.conditions import deal_shares, prepare_conditions
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.exchange.orders import Market, Side
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.periodic import repeated
from services.paper_venue.recordings.playback import Play, RecordedMarket, play_of
from services.paper_venue.recordings.recording import read_recording
from services.paper_venue.recordings.reenactment import BookKeeper, Reenactment
from services.paper_venue.settings import Settings
from services.paper_venue.world.generator import recorded_question_id
from services.paper_venue.world.merging import ChainMerging
from services.paper_venue.world.opening import (
    House,
    World,
    create_house,
    crowd_of,
    leaders_of,
    open_books,
    open_markets,
    traders_of,
)
from services.paper_venue.world.simulated_traders import Leaders
from shared.chain.addresses import EXCHANGE_V2

_QUOTE_EVERY_S = 0.05
_MAKER_SHARES = 10**15
"""Micro-shares of each outcome: more than any recorded book offers."""

Work = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The world as it stands on the chain, before anybody acts; ``play``: of a recording."""

    house: House
    world: World
    play: Play | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Everybody of the house. ``work`` runs beside the venue; ``facts`` tells of a recording what
    stands for what.
    """

    leaders: Leaders
    work: tuple[Work, ...]
    facts: Callable[[], Json]


async def set_up(settings: Settings, deployment: Deployment) -> Setting:
    """Conditions and wallets. Raises: RecordingError, TransactionReverted, Transient."""
    if settings.recording is not None:
        return await _set_up_recorded(
            settings, deployment, play_of(read_recording(settings.recording))
        )
    house = await create_house(deployment, seed=settings.seed, leaders=settings.leaders)
    world = await open_markets(
        deployment,
        house,
        seed=settings.seed,
        count=settings.markets,
        quote_shares=settings.quote_shares,
        mood=settings.mood,
    )
    return Setting(house=house, world=world)


async def populate(
    settings: Settings,
    setting: Setting,
    venue: Venue,
    deployment: Deployment,
    keys: ApiKeyStore,
    now_ms: Callable[[], int],
) -> Population:
    """Open the books and bring everybody in."""
    house, world = setting.house, setting.world
    merging = ChainMerging(deployment, venue)
    leaders = await leaders_of(
        venue,
        world,
        house,
        keys,
        seed=settings.seed,
        mood=settings.mood,
        merging=merging,
        now_ms=now_ms,
    )
    if setting.play is not None:
        return await _recorded(settings, setting.play, venue, setting, keys, leaders, now_ms)
    makers = await open_books(
        venue,
        world,
        house,
        keys,
        seed=settings.seed,
        quote_shares=settings.quote_shares,
        drift_per_second=settings.drift_per_second,
        now_ms=now_ms(),
    )
    work: list[Work] = [partial(repeated, _QUOTE_EVERY_S, lambda: makers.act(now_ms=now_ms()))]
    if settings.crowd_per_second:
        crowd = await crowd_of(venue, world, house, keys, seed=settings.seed, now_ms=now_ms)
        work.append(partial(crowd.run, every_s=float(1 / settings.crowd_per_second)))
    return Population(leaders=leaders, work=tuple(work), facts=dict)


async def _set_up_recorded(settings: Settings, deployment: Deployment, play: Play) -> Setting:
    """New conditions for the recorded markets (plain v1 ones), and shares for the makers and for
    who sells in the recording.
    """
    house = await create_house(deployment, seed=settings.seed, leaders=max(1, len(play.wallets)))
    questions = [recorded_question_id(recorded.condition_id) for recorded in play.markets]
    conditions = await prepare_conditions(deployment, dict.fromkeys(questions, EXCHANGE_V2))
    markets = [
        local_market(
            number,
            recorded,
            condition_id=each.condition_id,
            token_ids=(str(each.yes_token), str(each.no_token)),
            question_id=question,
        )
        for number, (recorded, each, question) in enumerate(
            zip(play.markets, conditions, questions, strict=True)
        )
    ]
    await deal_shares(
        deployment, conditions, [maker.address for maker in house.makers], _MAKER_SHARES
    )
    addresses = {
        wallet: local.address for wallet, local in zip(play.wallets, house.leaders, strict=False)
    }
    for recorded, condition in zip(play.markets, conditions, strict=True):
        sold = shares_sold(play, recorded.condition_id)
        if sold:
            await deal_shares(
                deployment, [condition], [addresses[wallet] for wallet in sold], max(sold.values())
            )
    world = World(plans=(), markets=tuple(markets), conditions=tuple(conditions))
    return Setting(house=house, world=world, play=play)


async def _recorded(
    settings: Settings,
    play: Play,
    venue: Venue,
    setting: Setting,
    keys: ApiKeyStore,
    leaders: Leaders,
    now_ms: Callable[[], int],
) -> Population:
    makers = await traders_of(venue, keys, setting.house.makers, now_ms=now_ms())
    markets = {
        recorded.condition_id: market
        for recorded, market in zip(play.markets, setting.world.markets, strict=True)
    }
    stand_ins = dict(zip(play.wallets, leaders.traders, strict=False))
    keeper = BookKeeper(venue, makers, markets)
    reenactment = Reenactment(venue, keeper, play, stand_ins, speed=settings.speed, now_ms=now_ms)
    return Population(
        leaders=leaders, work=(reenactment.run,), facts=lambda: {"recording": reenactment.report()}
    )


def local_market(
    number: int,
    recorded: RecordedMarket,
    *,
    condition_id: str,
    token_ids: tuple[str, str],
    question_id: str = "",
) -> Market:
    """The market that stands for a recorded one: its words, tick and fee; ids of its own."""
    return Market(
        id=str(900_000 + number),
        condition_id=condition_id,
        question_id=question_id,
        token_ids=token_ids,
        outcomes=(recorded.outcomes.get(0) or "Yes", recorded.outcomes.get(1) or "No"),
        question=recorded.question,
        slug=recorded.slug or f"recorded-{number}",
        event_slug=recorded.event_slug or f"recorded-{number}",
        tick=recorded.tick,
        fee_rate=recorded.fee_rate,
    )


def shares_sold(play: Play, condition_id: str) -> Mapping[str, int]:
    """Micro-shares of one outcome that each wallet needs at most, to sell all that it sells in the
    recording, and what rounding adds.
    """
    needed: dict[str, int] = {}
    for trade in play.trades:
        sales: Sequence[tuple[str, int]] = [
            (part.wallet, part.shares) for part in trade.parts if part.side is Side.SELL
        ]
        for wallet, shares in sales if trade.condition_id == condition_id else ():
            needed[wallet] = needed.get(wallet, 0) + shares + _ROUNDED_UP
    return needed


_ROUNDED_UP = 5_000_000
"""Micro-shares by which a resting order may be larger than its recorded fill: the smallest order
has five shares."""
