"""Two worlds of one seed do the same; quotes follow the price, are renewed, and cross no order;
leaders' trades are counted.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import orjson
import pytest
from eth_account import Account

from services.paper_venue.chain.view import verify
from services.paper_venue.exchange.accounts import Holdings
from services.paper_venue.exchange.matching_engine import MatchingEngine
from services.paper_venue.exchange.orders import Market, Side
from services.paper_venue.faults.catalogue import Faults
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.leader_strategies import (
    ActionSequence,
    CrowdStrategy,
    LeaderStrategy,
    Pace,
    TradeRequest,
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
from services.paper_venue.world.simulated_traders import CrowdTraders, Leaders, NoTrade
from services.paper_venue.world.trade_counter import TradeCounter
from services.paper_venue.world.trader_wallets import TraderWallet, build_trader
from shared.chain.addresses import POLYGON_CHAIN_ID
from tests.unit.paper_venue.builders import rich
from tests.unit.paper_venue.fakes import Clock, FakeChain, FakeChannels, FakeSettlements

SHARE = 1_000_000
QUOTED = 20_000 * SHARE


@dataclass
class FakePairMerger:
    """Merges at once, without a chain."""

    venue: Venue
    merges: list[tuple[str, str, int]] = field(default_factory=list)
    refusal: str = ""

    async def merge(self, trader: TraderWallet, market: Market, shares: int) -> None:
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.merges.append((trader.address, market.id, shares))
        account = self.venue.engine.accounts.get(trader.address)
        for token in market.token_ids:
            account.shares[token] -= shares
        account.collateral += shares


class SmallWorld:
    """A world without a chain, with all simulated traders and a clock that the test moves."""

    def __init__(
        self,
        seed: int,
        *,
        character: MarketCharacter = MarketCharacter.CALM,
        drift: str = "2",
        strategies: Sequence[LeaderStrategy] | None = None,
    ) -> None:
        self.clock, self.published = Clock(), FakeChannels()
        self.plans: list[MarketPlan] = plan_markets(seed, 6, character=character)
        self.markets = [
            build_market(
                plan,
                condition_id=f"0x{number:064x}",
                token_ids=(f"{2 * number}", f"{2 * number + 1}"),
            )
            for number, plan in enumerate(self.plans, 1)
        ]
        strategies = assign_strategies(character, 5) if strategies is None else strategies
        keys = ApiKeyStore(secret=b"x" * 32, chain_id=POLYGON_CHAIN_ID)
        makers, leaders, crowd_traders = (
            self._traders(name, count, keys)
            for name, count in (("m", 2), ("l", len(strategies)), ("c", 2))
        )
        counter = TradeCounter(
            self.published,
            leaders=[each.address for each in leaders],
            crowd_traders=[each.address for each in crowd_traders],
        )
        self.venue = Venue(
            engine=MatchingEngine(self.markets),
            verify=verify,
            settlements=FakeSettlements(),
            channels=counter,
            chain=FakeChain(),
            faults=Faults(),
        )
        counter.count_into(self.venue.stats)
        for trader in makers:
            self.venue.engine.accounts.refresh(trader.address, self._rich(10**18))
        for trader in (*leaders, *crowd_traders):
            self.venue.engine.accounts.refresh(trader.address, self._rich(0))
        drifting = PriceDrift(seed, markets=6, per_second=Decimal(drift), now_ms=self.clock.ms)
        paired = list(zip(self.plans, self.markets, strict=True))
        self.makers = MarketMakers(self.venue, makers, paired, shares=QUOTED, drift=drifting)
        self.merger = FakePairMerger(self.venue)
        self.leaders = Leaders(
            self.venue,
            leaders,
            ActionSequence(seed, strategies=strategies, markets=self.markets),
            pace=Pace(seed, character),
            merger=self.merger,
            now_ms=self.clock.now_ms,
        )
        self.crowd_traders = CrowdTraders(
            self.venue,
            crowd_traders,
            CrowdStrategy(seed, traders=2, markets=self.markets),
            self.clock.now_ms,
        )
        self.makers.open(now_ms=self.clock.ms)

    def _traders(self, name: str, count: int, keys: ApiKeyStore) -> list[TraderWallet]:
        private = [f"0x{ord(name):062x}{number:02x}" for number in range(1, count + 1)]
        return [
            build_trader(Account.from_key(key).address, key, keys, now_ms=self.clock.ms)
            for key in private
        ]

    def _rich(self, shares: int) -> Holdings:
        tokens = {token: shares for market in self.markets for token in market.token_ids}
        return rich_in(tokens)

    async def run(self, seconds: int) -> None:
        """Market makers act every 50 ms, leaders twice a second, crowd traders once a second."""
        for tick in range(20 * seconds):
            self.clock.ms += 50
            self.makers.update(now_ms=self.clock.ms)
            if tick % 10 == 0:
                self.leaders.act_once()
            if tick % 20 == 0:
                self.crowd_traders.trade_once()
            await asyncio.sleep(0)

    def best_prices(self, number: int = 0) -> tuple[int | None, int | None]:
        book = self.venue.engine.books[self.markets[number].condition_id]
        return book.best_bid(0), book.best_ask(0)


def rich_in(shares: dict[str, int]) -> Holdings:
    return replace(rich(collateral=10**18), shares=shares)


def published_events(world: SmallWorld) -> list[bytes]:
    """Everything that was published, and what was merged."""
    return [
        orjson.dumps(each)
        for each in (
            *world.published.user,
            *world.published.market,
            *world.published.activity,
            *world.merger.merges,
        )
    ]


@pytest.mark.parametrize("character", list(MarketCharacter))
async def test_two_worlds_of_one_seed_place_the_same_orders(character: MarketCharacter) -> None:
    one, other = SmallWorld(7, character=character), SmallWorld(7, character=character)

    await one.run(40)
    await other.run(40)

    assert published_events(one) == published_events(other)
    assert one.venue.stats["leader_trades"] > 20


async def test_another_seed_places_other_orders() -> None:
    one, other = SmallWorld(7), SmallWorld(8)

    await one.run(5)
    await other.run(5)

    assert published_events(one) != published_events(other)


@pytest.mark.parametrize("character", list(MarketCharacter))
async def test_books_stay_uncrossed_and_every_market_stays_quoted_while_prices_walk(
    character: MarketCharacter,
) -> None:
    world = SmallWorld(3, character=character, drift="20")
    before = [world.best_prices(number) for number in range(6)]

    for _ in range(20):
        await world.run(1)
        for number in range(6):
            bid, ask = world.best_prices(number)
            assert bid is not None
            assert ask is not None
            assert bid < ask

    assert [world.best_prices(number) for number in range(6)] != before


async def test_no_market_maker_ever_trades_with_himself_or_takes() -> None:
    world = SmallWorld(5, drift="20")

    for _ in range(200):
        world.clock.ms += 50
        world.makers.update(now_ms=world.clock.ms)

    assert world.venue.stats["matched"] == 0
    assert world.venue.stats["accepted"] > 200


async def test_a_price_moves_when_its_best_quote_is_taken_and_the_depth_is_renewed() -> None:
    world = SmallWorld(5, drift="0", strategies=[LeaderStrategy.FLIP])
    bid, ask = world.best_prices()
    assert bid is not None
    assert ask is not None
    depth = sum(
        level.shares for level in world.venue.engine.books[world.markets[0].condition_id].asks(0)
    )

    world.leaders.trade(
        TradeRequest(
            trader_index=0,
            token_id=world.markets[0].token_ids[0],
            side=Side.BUY,
            amount=QUOTED * ask // 10_000 * 3 // 4,
        )
    )
    world.makers.update(now_ms=world.clock.ms)

    assert world.best_prices() == (bid + 100, ask + 100)
    for _ in range(20):
        world.makers.update(now_ms=world.clock.ms)
    assert (
        sum(
            level.shares
            for level in world.venue.engine.books[world.markets[0].condition_id].asks(0)
        )
        >= depth
    )


async def test_a_resolved_market_is_no_longer_quoted_and_leaders_trade_elsewhere() -> None:
    world = SmallWorld(5)

    world.venue.on_market_resolved(
        world.markets[0].condition_id, yes=1, no=0, now_ms=world.clock.ms
    )
    await world.run(20)

    assert world.best_prices() == (None, None)
    assert world.venue.stats["leader_trades"] > 0


async def test_a_market_making_leader_is_filled_by_the_crowd_and_counted_once() -> None:
    world = SmallWorld(2, character=MarketCharacter.ROUGH, strategies=[LeaderStrategy.MARKET_MAKE])
    address = world.leaders.traders[0].address

    await world.run(120)

    rows = {
        (row["transactionHash"], row["asset"], row["side"])
        for row in world.published.activity
        if row["proxyWallet"] == address
    }
    takers = [
        event
        for owner, event in world.published.user
        if event["event_type"] == "trade" and event["trader_side"] == "MAKER"
    ]
    assert any(event["owner"] == world.leaders.traders[0].api_key for event in takers), (
        "nobody took his quotes"
    )
    assert world.venue.stats["leader_trades"] == len(rows)
    assert world.venue.stats["house_matched"] == world.venue.stats["matched"]


async def test_leaders_stop_at_the_requested_number_of_trades_and_cancel_their_quotes() -> None:
    world = SmallWorld(2, character=MarketCharacter.ROUGH)

    await world.leaders.run(trades=30, interval_s=0.1, sleep=world.clock.sleep)

    leaders = {trader.address for trader in world.leaders.traders}
    assert world.venue.stats["leader_trades"] >= 30
    assert not [
        resting for resting in world.venue.engine.resting.values() if resting.order.maker in leaders
    ]


async def test_a_failed_merge_ends_the_leaders_trading() -> None:
    world = SmallWorld(2, strategies=[LeaderStrategy.MERGE_OUT])

    world.merger.refusal = "the chain refused"

    with pytest.raises(RuntimeError, match="the chain refused"):
        await world.leaders.run(trades=1_000, interval_s=0.1, sleep=world.clock.sleep)


async def test_a_trade_that_is_refused_says_why() -> None:
    world = SmallWorld(2)
    token = world.markets[0].token_ids[0]

    with pytest.raises(NoTrade, match="not enough balance"):
        world.leaders.trade(
            TradeRequest(trader_index=0, token_id=token, side=Side.SELL, amount=SHARE)
        )
