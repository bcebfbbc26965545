"""Quotes are on the tick grid and never cross, wherever the price has moved; it moves at the
requested rate and by the seed alone.
"""

from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.exchange.orders import PRICE_ONE, Side
from services.paper_venue.world.market_plans import MarketCharacter, plan_markets
from services.paper_venue.world.quoting import (
    LevelKey,
    PriceDrift,
    build_ladder,
    move_mid,
    price_pressure,
)

SEEDS = st.integers(0, 10_000)
CHARACTERS = st.sampled_from(MarketCharacter)
SHARES = 20_000_000_000


@given(seed=SEEDS, character=CHARACTERS, steps=st.lists(st.sampled_from([-1, 1]), max_size=60))
def test_quotes_are_on_the_grid_and_do_not_cross_wherever_the_price_has_moved(
    seed: int, character: MarketCharacter, steps: list[int]
) -> None:
    for plan in plan_markets(seed, 6, character=character):
        mid = plan.mid
        for step in steps:
            mid = move_mid(plan, mid, step)
        quotes = build_ladder(plan, mid, shares=SHARES)

        assert plan.min_mid <= mid <= plan.max_mid
        assert all(
            q.price % plan.tick == 0 and plan.tick <= q.price <= PRICE_ONE - plan.tick
            for q in quotes.values()
        )
        assert all(q.shares * q.price % PRICE_ONE == 0 for q in quotes.values())
        assert max(level.yes_price for level in quotes if level.is_bid) < min(
            level.yes_price for level in quotes if not level.is_bid
        )


@given(seed=SEEDS)
def test_a_quote_is_keyed_by_its_level_in_the_unified_book(seed: int) -> None:
    for plan in plan_markets(seed, 6):
        for level, quote in build_ladder(plan, plan.mid, shares=SHARES).items():
            yes_price = quote.price if quote.outcome == 0 else PRICE_ONE - quote.price
            assert level == LevelKey(
                is_bid=(quote.side is Side.BUY) == (quote.outcome == 0), yes_price=yes_price
            )


@given(seed=SEEDS)
def test_a_price_that_is_quoted_before_and_after_a_move_keeps_its_maker_and_outcome(
    seed: int,
) -> None:
    plan = plan_markets(seed, 1)[0]
    before, after = (
        build_ladder(plan, plan.mid, shares=SHARES),
        build_ladder(plan, move_mid(plan, plan.mid, 1), shares=SHARES),
    )

    kept = before.keys() & after.keys()
    assert kept
    assert all(
        (before[level].maker, before[level].outcome) == (after[level].maker, after[level].outcome)
        for level in kept
    )


@given(
    seed=SEEDS,
    per_second=st.integers(0, 20),
    steps=st.lists(st.integers(0, 1_000), min_size=1, max_size=60),
)
def test_the_drift_moves_at_the_requested_rate_however_often_it_is_called(
    seed: int, per_second: int, steps: list[int]
) -> None:
    times = list(accumulate(steps))
    irregular = PriceDrift(seed, markets=6, per_second=Decimal(per_second), now_ms=0)
    steady = PriceDrift(seed, markets=6, per_second=Decimal(per_second), now_ms=0)

    moves = [move for now_ms in times for move in irregular.due_moves(now_ms)]

    assert moves == [
        move
        for now_ms in [*range(0, times[-1], 100), times[-1]]
        for move in steady.due_moves(now_ms)
    ]
    assert len(moves) == times[-1] * per_second // 1000
    assert all(0 <= index < 6 and ticks in (-1, 1) for index, ticks in moves)


@pytest.mark.parametrize("leap_ms", [90_000, 600_000, -90_000])
def test_setting_the_clock_moves_no_price(leap_ms: int) -> None:
    drift = PriceDrift(1, markets=6, per_second=Decimal(2), now_ms=0)
    drift.due_moves(400)

    assert drift.due_moves(400 + leap_ms) == []
    assert drift.due_moves(499 + leap_ms) == []
    assert len(drift.due_moves(500 + leap_ms)) == 1


def test_the_price_moves_away_from_the_side_whose_best_quote_was_taken() -> None:
    assert price_pressure({True: 100, False: 49}, 100) == 1
    assert price_pressure({True: 49, False: 100}, 100) == -1
    assert price_pressure({True: 49, False: 49}, 100) == 0
    assert price_pressure({True: 50, False: 50}, 100) == 0
    assert price_pressure({}, 100) == 0
