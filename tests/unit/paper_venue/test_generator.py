"""The same seed makes the same world; its quotes never cross, and its leaders sell only what they hold."""

from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.generator import LeaderTape, market_of, plan_markets, quotes_for
from services.paper_venue.orders import PRICE_ONE, Side

SEEDS = st.integers(0, 10_000)


@given(seed=SEEDS)
def test_the_same_seed_makes_the_same_markets(seed: int) -> None:
    assert plan_markets(seed, 12) == plan_markets(seed, 12)


def test_another_seed_makes_another_world() -> None:
    assert {plan.question_id for plan in plan_markets(1, 6)}.isdisjoint({plan.question_id for plan in plan_markets(2, 6)})


@given(seed=SEEDS)
def test_quotes_stand_on_the_grid_and_do_not_cross(seed: int) -> None:
    for plan in plan_markets(seed, 12):
        quotes = quotes_for(plan, shares=20_000_000_000)
        in_yes = [(q.side is Side.BUY) == (q.outcome == 0) for q in quotes]
        prices = [q.price if q.outcome == 0 else PRICE_ONE - q.price for q in quotes]
        assert all(q.price % plan.tick == 0 and plan.tick <= q.price <= PRICE_ONE - plan.tick for q in quotes)
        assert max(p for p, bid in zip(prices, in_yes, strict=True) if bid) < min(
            p for p, bid in zip(prices, in_yes, strict=True) if not bid
        )
        assert all(q.shares * q.price % PRICE_ONE == 0 for q in quotes)


@given(seed=SEEDS, held=st.integers(20_000_000, 10**12))
def test_leaders_buy_for_20_to_500_dollars_and_sell_at_most_what_they_hold(seed: int, held: int) -> None:
    plan = plan_markets(seed, 1)[0]
    market = market_of(plan, condition_id="0x" + "c0" * 32, token_ids=("71", "52"))
    first, again = (LeaderTape(seed, leaders=3, markets=[market]) for _ in range(2))
    holdings = [{"71": held}, {}, {"52": held, "71": 1}]

    wishes = [first.next(holdings) for _ in range(50)]

    assert wishes == [again.next(holdings) for _ in range(50)]
    for wish in wishes:
        assert wish.amount % 10_000 == 0
        if wish.side is Side.SELL:
            assert 0 < wish.amount <= holdings[wish.leader].get(wish.token_id, 0)
        else:
            assert 20_000_000 <= wish.amount <= 500_000_000
