"""The same seed makes the same markets; a rough world has thin ones and some at the edges."""

from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.world.market_plans import MarketCharacter, plan_markets

SEEDS = st.integers(0, 10_000)
MOODS = st.sampled_from(MarketCharacter)


@given(seed=SEEDS, mood=MOODS)
def test_the_same_seed_makes_the_same_markets(seed: int, mood: MarketCharacter) -> None:
    assert plan_markets(seed, 12, character=mood) == plan_markets(seed, 12, character=mood)


def test_another_seed_makes_another_world() -> None:
    assert {plan.question_id for plan in plan_markets(1, 6)}.isdisjoint(
        {plan.question_id for plan in plan_markets(2, 6)}
    )


@given(seed=SEEDS, mood=MOODS)
def test_a_mid_lies_on_the_grid_within_its_band(seed: int, mood: MarketCharacter) -> None:
    for plan in plan_markets(seed, 12, character=mood):
        assert plan.mid % plan.tick == 0
        assert plan.min_mid <= plan.mid <= plan.max_mid


@given(seed=SEEDS)
def test_a_calm_world_is_deep_and_away_from_the_edges(seed: int) -> None:
    plans = plan_markets(seed, 12)

    assert all(plan.depth_percent == 100 and plan.levels == 10 for plan in plans)
    assert all(plan.min_mid >= 1_500 and plan.max_mid <= 8_500 for plan in plans)


@given(seed=SEEDS)
def test_a_rough_world_has_thin_markets_and_fine_ticks_at_both_edges(seed: int) -> None:
    plans = plan_markets(seed, 6, character=MarketCharacter.ROUGH)

    assert any(plan.depth_percent < 5 and plan.levels < 10 for plan in plans)
    assert any(plan.tick == 10 and plan.max_mid <= 400 for plan in plans)
    assert any(plan.tick == 10 and plan.min_mid >= 9_600 for plan in plans)
