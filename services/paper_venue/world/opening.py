"""How does a seed's world come to stand: conditions on the chain, wallets that can trade, books
that are deep?
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.paper_venue.chain.conditions import Condition, deal_shares, prepare_conditions
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.wallets import PaperWallet, WalletKind, create_wallets, paper_key
from services.paper_venue.exchange.orders import Market
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.generator import MarketPlan, Mood, market_of, plan_markets
from services.paper_venue.world.leader_strategies import Crowd, LeaderTape, Rhythm, styles_of
from services.paper_venue.world.market_makers import MarketMakers
from services.paper_venue.world.quoting import Drift
from services.paper_venue.world.simulated_traders import CrowdTrading, Leaders, Merging
from services.paper_venue.world.trader_wallets import HouseTrader, new_trader

_MAKERS = 2
_MAKER_COLLATERAL = 10**15
_MAKER_SHARES_IN_QUOTES = 10_000
_LEADER_COLLATERAL = 10**12
_CROWD = 2
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The venue's own wallets."""

    makers: tuple[PaperWallet, ...]
    leaders: tuple[PaperWallet, ...]
    crowd: tuple[PaperWallet, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The markets of a seed, each with its plan."""

    plans: tuple[MarketPlan, ...]
    markets: tuple[Market, ...]
    conditions: tuple[Condition, ...]

    def condition_of(self, condition_id: str) -> Condition | None:
        """The chain's side of a market; None: no such market."""
        return next(
            (condition for condition in self.conditions if condition.condition_id == condition_id),
            None,
        )

    def event_of(self, condition_id: str) -> tuple[Condition, ...]:
        """All outcomes of the neg-risk event that it belongs to: exactly one of them comes true.
        Empty for any other market.
        """
        slugs = {
            market.event_slug
            for market in self.markets
            if market.neg_risk and market.condition_id == condition_id
        }
        return tuple(
            condition
            for market, condition in zip(self.markets, self.conditions, strict=True)
            if market.neg_risk and market.event_slug in slugs
        )


async def create_house(deployment: Deployment, *, seed: int, leaders: int) -> House:
    """Fund and approve the market makers, leaders and crowd. Raises: TransactionReverted,
    Transient.
    """
    maker_keys = [paper_key(f"{seed}:makers", index) for index in range(_MAKERS)]
    leader_keys = [paper_key(f"{seed}:leaders", index) for index in range(leaders)]
    crowd_keys = [paper_key(f"{seed}:crowd", index) for index in range(_CROWD)]
    makers = await create_wallets(
        deployment, WalletKind.EOA, maker_keys, collateral=_MAKER_COLLATERAL
    )
    others = await create_wallets(
        deployment, WalletKind.EOA, [*leader_keys, *crowd_keys], collateral=_LEADER_COLLATERAL
    )
    return House(
        makers=tuple(makers), leaders=tuple(others[:leaders]), crowd=tuple(others[leaders:])
    )


async def open_markets(
    deployment: Deployment,
    house: House,
    *,
    seed: int,
    count: int,
    quote_shares: int,
    mood: Mood = Mood.CALM,
) -> World:
    """Prepare the seed's conditions and give the market makers shares of each. Raises:
    TransactionReverted, Transient.
    """
    plans = plan_markets(seed, count, mood=mood)
    conditions = await prepare_conditions(
        deployment, {plan.question_id: plan.exchange for plan in plans}
    )
    wallets = [maker.address for maker in house.makers]
    await deal_shares(
        deployment, conditions, wallets, quote_shares * _MICRO * _MAKER_SHARES_IN_QUOTES
    )
    markets = [
        market_of(
            plan,
            condition_id=condition.condition_id,
            token_ids=(str(condition.yes_token), str(condition.no_token)),
        )
        for plan, condition in zip(plans, conditions, strict=True)
    ]
    return World(plans=tuple(plans), markets=tuple(markets), conditions=tuple(conditions))


async def open_books(
    venue: Venue,
    world: World,
    house: House,
    keys: ApiKeyStore,
    *,
    seed: int,
    quote_shares: int,
    drift_per_second: Decimal,
    now_ms: int,
) -> MarketMakers:
    """Fill the books, and return who keeps them alive."""
    makers = MarketMakers(
        venue,
        await traders_of(venue, keys, house.makers, now_ms=now_ms),
        list(zip(world.plans, world.markets, strict=True)),
        shares=quote_shares * _MICRO,
        drift=Drift(seed, markets=len(world.markets), per_second=drift_per_second, now_ms=now_ms),
    )
    makers.open(now_ms=now_ms)
    return makers


async def leaders_of(
    venue: Venue,
    world: World,
    house: House,
    keys: ApiKeyStore,
    *,
    seed: int,
    mood: Mood,
    merging: Merging,
    now_ms: Callable[[], int],
) -> Leaders:
    traders = await traders_of(venue, keys, house.leaders, now_ms=now_ms())
    tape = LeaderTape(seed, styles=styles_of(mood, len(traders)), markets=world.markets)
    return Leaders(venue, traders, tape, rhythm=Rhythm(seed, mood), merging=merging, now_ms=now_ms)


async def crowd_of(
    venue: Venue,
    world: World,
    house: House,
    keys: ApiKeyStore,
    *,
    seed: int,
    now_ms: Callable[[], int],
) -> CrowdTrading:
    traders = await traders_of(venue, keys, house.crowd, now_ms=now_ms())
    return CrowdTrading(
        venue, traders, Crowd(seed, traders=len(traders), markets=world.markets), now_ms
    )


async def traders_of(
    venue: Venue, keys: ApiKeyStore, wallets: Sequence[PaperWallet], *, now_ms: int
) -> list[HouseTrader]:
    for wallet in wallets:
        await venue.refresh_wallet(wallet.address)
    return [new_trader(wallet.address, wallet.key, keys, now_ms=now_ms) for wallet in wallets]


class Followers:
    """Accounts for whoever asks the control endpoint: funded, approved, and always the same for the
    same seed.
    """

    def __init__(self, deployment: Deployment, venue: Venue, *, seed: int) -> None:
        self._deployment = deployment
        self._venue = venue
        self._seed = seed
        self._created = 0

    async def create(self, kind: str, count: int, collateral: int) -> list[PaperWallet]:
        """``kind`` names a WalletKind; ``collateral`` in micro-USDC for each. Raises: ValueError,
        TransactionReverted, Transient.
        """
        numbers = range(self._created, self._created + count)
        self._created += count
        keys = [paper_key(f"{self._seed}:followers", number) for number in numbers]
        wallets = await create_wallets(
            self._deployment, WalletKind(kind), keys, collateral=collateral
        )
        for wallet in wallets:
            await self._venue.refresh_wallet(wallet.address)
        return wallets
