"""The same seed makes the same markets; rough ones are thin or priced near 0 and 1."""

from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.world.market_plans import MarketCharacter, plan_markets

SEEDS = st.integers(0, 10_000)
CHARACTERS = st.sampled_from(MarketCharacter)


@given(seed=SEEDS, character=CHARACTERS)
def test_the_same_seed_makes_the_same_markets(seed: int, character: MarketCharacter) -> None:
    assert plan_markets(seed, 12, character=character) == plan_markets(
        seed, 12, character=character
    )


def test_another_seed_makes_other_markets() -> None:
    assert {plan.question_id for plan in plan_markets(1, 6)}.isdisjoint(
        {plan.question_id for plan in plan_markets(2, 6)}
    )


@given(seed=SEEDS, character=CHARACTERS)
def test_a_mid_is_on_the_tick_grid_within_its_limits(seed: int, character: MarketCharacter) -> None:
    for plan in plan_markets(seed, 12, character=character):
        assert plan.mid % plan.tick == 0
        assert plan.min_mid <= plan.mid <= plan.max_mid


@given(seed=SEEDS)
def test_calm_markets_are_deep_and_not_priced_near_0_or_1(seed: int) -> None:
    plans = plan_markets(seed, 12)

    assert all(plan.depth_percent == 100 and plan.levels == 10 for plan in plans)
    assert all(plan.min_mid >= 1_500 and plan.max_mid <= 8_500 for plan in plans)


@given(seed=SEEDS)
def test_rough_markets_include_thin_ones_and_fine_ticks_near_0_and_1(seed: int) -> None:
    plans = plan_markets(seed, 6, character=MarketCharacter.ROUGH)

    assert any(plan.depth_percent < 5 and plan.levels < 10 for plan in plans)
    assert any(plan.tick == 10 and plan.max_mid <= 400 for plan in plans)
    assert any(plan.tick == 10 and plan.min_mid >= 9_600 for plan in plans)
