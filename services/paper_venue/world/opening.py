"""Opens the world of a seed: conditions on the chain, funded wallets, market makers' quotes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.paper_venue.chain.conditions import Condition, distribute_shares, prepare_conditions
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.wallets import PaperWallet, WalletKind, create_wallets, paper_key
from services.paper_venue.exchange.orders import Market
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.leader_strategies import (
    ActionSequence,
    CrowdStrategy,
    Pace,
    assign_strategies,
)
from services.paper_venue.world.market_makers import MarketMakers
from services.paper_venue.world.market_plans import (
    MarketCharacter,
    MarketPlan,
    build_market,
    plan_markets,
)
from services.paper_venue.world.quoting import PriceDrift
from services.paper_venue.world.simulated_traders import CrowdTraders, Leaders, PairMerger
from services.paper_venue.world.trader_wallets import TraderWallet, build_trader

_MAKER_COUNT = 2
_MAKER_COLLATERAL = 10**15
_MAKER_SHARES_PER_QUOTE = 10_000
_LEADER_COLLATERAL = 10**12
_CROWD_TRADER_COUNT = 2
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedWallets:
    """The wallets of the simulated traders."""

    makers: tuple[PaperWallet, ...]
    leaders: tuple[PaperWallet, ...]
    crowd_traders: tuple[PaperWallet, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(each.address for each in (*self.makers, *self.leaders, *self.crowd_traders))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The markets of a world, with their plans and their conditions on the chain, in one order.

    ``plans`` is empty where the markets are those of a recording.
    """

    plans: tuple[MarketPlan, ...]
    markets: tuple[Market, ...]
    conditions: tuple[Condition, ...]

    def find_condition(self, condition_id: str) -> Condition | None:
        """The market's condition on the chain; None: there is no such market."""
        return next(
            (condition for condition in self.conditions if condition.condition_id == condition_id),
            None,
        )

    def event_conditions(self, condition_id: str) -> tuple[Condition, ...]:
        """The conditions of the neg-risk event that the market belongs to, its own included:
        exactly one of them comes true. Empty for any other market.
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


async def create_simulated_wallets(
    deployment: Deployment, *, seed: int, leaders: int
) -> SimulatedWallets:
    """Create the wallets of market makers, leaders and crowd traders, with money and approvals.

    Raises: TransactionReverted, Transient.
    """
    maker_keys = [paper_key(f"{seed}:makers", index) for index in range(_MAKER_COUNT)]
    leader_keys = [paper_key(f"{seed}:leaders", index) for index in range(leaders)]
    crowd_keys = [paper_key(f"{seed}:crowd", index) for index in range(_CROWD_TRADER_COUNT)]
    makers = await create_wallets(
        deployment, WalletKind.EOA, maker_keys, collateral=_MAKER_COLLATERAL
    )
    others = await create_wallets(
        deployment, WalletKind.EOA, [*leader_keys, *crowd_keys], collateral=_LEADER_COLLATERAL
    )
    return SimulatedWallets(
        makers=tuple(makers), leaders=tuple(others[:leaders]), crowd_traders=tuple(others[leaders:])
    )


async def open_markets(
    deployment: Deployment,
    wallets: SimulatedWallets,
    *,
    seed: int,
    count: int,
    quote_shares: int,
    character: MarketCharacter = MarketCharacter.CALM,
) -> World:
    """Prepare the seed's conditions and give the market makers shares of each.

    Raises: TransactionReverted, Transient.
    """
    plans = plan_markets(seed, count, character=character)
    conditions = await prepare_conditions(
        deployment, {plan.question_id: plan.exchange for plan in plans}
    )
    makers = [maker.address for maker in wallets.makers]
    await distribute_shares(
        deployment, conditions, makers, quote_shares * _MICRO * _MAKER_SHARES_PER_QUOTE
    )
    markets = [
        build_market(
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
    wallets: SimulatedWallets,
    keys: ApiKeyStore,
    *,
    seed: int,
    quote_shares: int,
    drift_per_second: Decimal,
    now_ms: int,
) -> MarketMakers:
    """Let the market makers place all quotes, and return them: their ``update`` renews quotes."""
    makers = MarketMakers(
        venue,
        await build_traders(venue, keys, wallets.makers, now_ms=now_ms),
        list(zip(world.plans, world.markets, strict=True)),
        shares=quote_shares * _MICRO,
        drift=PriceDrift(
            seed, markets=len(world.markets), per_second=drift_per_second, now_ms=now_ms
        ),
    )
    makers.open(now_ms=now_ms)
    return makers


async def build_leaders(
    venue: Venue,
    world: World,
    wallets: SimulatedWallets,
    keys: ApiKeyStore,
    *,
    seed: int,
    character: MarketCharacter,
    merger: PairMerger,
    now_ms: Callable[[], int],
) -> Leaders:
    traders = await build_traders(venue, keys, wallets.leaders, now_ms=now_ms())
    actions = ActionSequence(
        seed, strategies=assign_strategies(character, len(traders)), markets=world.markets
    )
    return Leaders(
        venue, traders, actions, pace=Pace(seed, character), merger=merger, now_ms=now_ms
    )


async def build_crowd_traders(
    venue: Venue,
    world: World,
    wallets: SimulatedWallets,
    keys: ApiKeyStore,
    *,
    seed: int,
    now_ms: Callable[[], int],
) -> CrowdTraders:
    traders = await build_traders(venue, keys, wallets.crowd_traders, now_ms=now_ms())
    return CrowdTraders(
        venue, traders, CrowdStrategy(seed, traders=len(traders), markets=world.markets), now_ms
    )


async def build_traders(
    venue: Venue, keys: ApiKeyStore, wallets: Sequence[PaperWallet], *, now_ms: int
) -> list[TraderWallet]:
    for wallet in wallets:
        await venue.refresh_wallet(wallet.address)
    return [build_trader(wallet.address, wallet.key, keys, now_ms=now_ms) for wallet in wallets]
