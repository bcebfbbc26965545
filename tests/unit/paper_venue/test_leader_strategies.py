"""Each leader keeps to his strategy, sells only what he holds, and repeats his actions for the same
seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.exchange.orders import PRICE_ONE, Market, Side
from services.paper_venue.world.leader_strategies import (
    CALM_STRATEGIES,
    ActionSequence,
    CrowdStrategy,
    LeaderAction,
    LeaderStrategy,
    Merge,
    Pace,
    Requote,
    TradeRequest,
    assign_strategies,
)
from services.paper_venue.world.market_plans import MarketCharacter

SEEDS = st.integers(0, 10_000)
PRICE = 5_000


def a_market(number: int, *, neg_risk: bool = False) -> Market:
    return Market(
        id=str(number),
        condition_id=f"0x{number:064x}",
        question_id="0x",
        token_ids=(f"{number}1", f"{number}2"),
        neg_risk=neg_risk,
    )


MARKETS = [a_market(number) for number in range(1, 4)]
CENT = 10_000


@dataclass
class FakeMarket:
    """Fills every trade at once, all at one price, and keeps everybody's shares."""

    shares: dict[int, dict[str, int]] = field(default_factory=dict)

    def free_shares(self, trader_index: int) -> Mapping[str, int]:
        return self.shares.setdefault(trader_index, {})

    def best_prices(self, token_id: str) -> tuple[int | None, int | None]:
        return PRICE - 100, PRICE + 100

    def fill(self, action: LeaderAction) -> None:
        held = self.shares.setdefault(action.trader_index, {})
        if isinstance(action, Merge):
            for token in action.market.token_ids:
                held[token] -= action.shares
        elif isinstance(action, TradeRequest) and action.side is Side.BUY:
            held[action.token_id] = (
                held.get(action.token_id, 0) + action.amount * PRICE_ONE // PRICE
            )
        elif isinstance(action, TradeRequest):
            held[action.token_id] -= action.amount
        assert all(shares >= 0 for shares in held.values()), "sold more than he holds"


def generate_actions(
    *strategies: LeaderStrategy, seed: int = 1, count: int = 60, markets: list[Market] = MARKETS
) -> list[LeaderAction]:
    sequence, market = ActionSequence(seed, strategies=strategies, markets=markets), FakeMarket()
    actions = []
    for _ in range(count):
        action = sequence.next_action(market)
        assert action is not None
        market.fill(action)
        actions.append(action)
    return actions


def generate_trades(strategy: LeaderStrategy, *, seed: int = 1) -> list[TradeRequest]:
    return [
        action
        for action in generate_actions(strategy, seed=seed)
        if isinstance(action, TradeRequest)
    ]


@given(seed=SEEDS)
def test_the_same_seed_gives_the_same_actions(seed: int) -> None:
    assert generate_actions(*LeaderStrategy, seed=seed) == generate_actions(
        *LeaderStrategy, seed=seed
    )


@given(seed=SEEDS, strategy=st.sampled_from(LeaderStrategy))
def test_amounts_are_whole_cents_and_a_purchase_is_worth_20_to_500_dollars(
    seed: int, strategy: LeaderStrategy
) -> None:
    for trade in generate_trades(strategy, seed=seed):
        assert trade.amount % CENT == 0
        assert trade.amount > 0
        if trade.side is Side.BUY:
            assert 20_000_000 <= trade.amount <= 500_000_000


def test_an_accumulator_buys_one_outcome_in_equal_orders() -> None:
    first, second, third, *_ = generate_trades(LeaderStrategy.ACCUMULATE)

    assert first == second == third
    assert first.side is Side.BUY


@given(seed=SEEDS)
def test_a_partial_exiter_sells_one_purchase_in_several_sales(seed: int) -> None:
    trades = generate_trades(LeaderStrategy.EXIT_IN_PARTS, seed=seed)
    purchases = [number for number, trade in enumerate(trades) if trade.side is Side.BUY]

    rounds = [trades[begin + 1 : end] for begin, end in pairwise(purchases)]
    assert rounds
    assert all(2 <= len(sales) <= 4 for sales in rounds)
    assert all(
        sale.token_id == trades[begin].token_id
        for begin, sales in zip(purchases, rounds, strict=False)
        for sale in sales
    )


@given(seed=SEEDS)
def test_a_flipper_sells_all_and_mostly_buys_the_other_outcome(seed: int) -> None:
    trades = generate_trades(LeaderStrategy.FLIP, seed=seed)
    opposite = {
        market.token_ids[outcome]: market.token_ids[1 - outcome]
        for market in MARKETS
        for outcome in (0, 1)
    }

    flips = [
        after.token_id == opposite[sale.token_id]
        for sale, after in zip(trades[1::2], trades[2::2], strict=False)
    ]
    assert [trade.side for trade in trades[:6]] == [Side.BUY, Side.SELL] * 3
    assert sum(flips) * 2 > len(flips)


@given(seed=SEEDS)
def test_a_merger_buys_both_outcomes_and_never_sells(seed: int) -> None:
    actions = generate_actions(LeaderStrategy.MERGE_OUT, seed=seed)

    assert any(isinstance(action, Merge) for action in actions)
    assert not any(
        isinstance(action, TradeRequest) and action.side is Side.SELL for action in actions
    )


def test_pairs_of_a_neg_risk_market_are_never_merged() -> None:
    mixed = generate_actions(
        LeaderStrategy.MERGE_OUT, count=200, markets=[a_market(1, neg_risk=True), a_market(2)]
    )
    only = generate_actions(
        LeaderStrategy.MERGE_OUT, count=200, markets=[a_market(1, neg_risk=True)]
    )

    assert {action.market.id for action in mixed if isinstance(action, Merge)} == {"2"}
    assert not any(isinstance(action, Merge) for action in only)


def test_a_market_maker_improves_one_side_without_crossing_and_offers_only_what_he_holds() -> None:
    actions = generate_actions(LeaderStrategy.MARKET_MAKE, count=100)
    quotes = [action for action in actions if isinstance(action, Requote)]

    assert {(quote.bid, quote.ask) for quote in quotes if quote.ask is not None} == {
        (PRICE, PRICE + 100),
        (PRICE - 100, PRICE),
    }
    assert quotes[0].ask is None or any(
        isinstance(action, TradeRequest) for action in actions[: actions.index(quotes[0])]
    )


def test_calm_markets_have_every_strategy_but_market_making() -> None:
    assert (
        set(assign_strategies(MarketCharacter.CALM, 8))
        == set(CALM_STRATEGIES)
        == set(LeaderStrategy) - {LeaderStrategy.MARKET_MAKE}
    )
    assert set(assign_strategies(MarketCharacter.ROUGH, 5)) == set(LeaderStrategy)


def test_a_leader_who_is_busy_gets_no_other_action() -> None:
    sequence = ActionSequence(1, strategies=list(CALM_STRATEGIES), markets=MARKETS)

    leaders = {
        action.trader_index
        for _ in range(50)
        if (action := sequence.next_action(FakeMarket(), busy={0, 2})) is not None
    }

    assert leaders == {1, 3}
    assert sequence.next_action(FakeMarket(), busy={0, 1, 2, 3}) is None


@given(seed=SEEDS)
def test_crowd_traders_sell_only_what_they_hold(seed: int) -> None:
    strategy, market = CrowdStrategy(seed, traders=2, markets=MARKETS), FakeMarket()

    for _ in range(60):
        market.fill(strategy.next_trade(market))


@pytest.mark.parametrize("character", list(MarketCharacter))
def test_bursts_keep_the_requested_average_pace(character: MarketCharacter) -> None:
    pace = Pace(1, character)
    intervals = [pace.next_interval() for _ in range(10_000)]

    assert abs(sum(intervals) - 100 * len(intervals)) <= 1_000
    assert (set(intervals) == {100}) == (character is MarketCharacter.CALM)
    if character is MarketCharacter.ROUGH:
        assert [10] * 9 + [910] in [
            intervals[start : start + 10] for start in range(len(intervals))
        ]
