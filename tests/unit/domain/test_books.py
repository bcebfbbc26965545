"""A walk takes the best levels first, and never more than the given amount."""

from collections.abc import Callable
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.books import BookFault, Level, Walk, best_first, find_fault, sell, spend
from shared.domain.money import Side
from tests.builders import level, shares, usdc

PRICES = st.integers(1, 999).map(lambda tick: Decimal(tick).scaleb(-3))
LEVELS = st.lists(
    st.builds(Level, PRICES, st.integers(0, 10**10)), max_size=12, unique_by=lambda each: each.price
)
AMOUNTS = st.integers(0, 10**10)

Take = Callable[[tuple[Level, ...], int], Walk | None]


@given(side=st.sampled_from(Side), levels=LEVELS, shuffle=st.randoms(use_true_random=False))
def test_levels_are_ordered_by_value_whatever_order_the_venue_lists_them_in(
    side: Side, levels: list[Level], shuffle: Random
) -> None:
    shuffled = list(levels)
    shuffle.shuffle(shuffled)

    prices = [each.price for each in best_first(side, shuffled)]

    assert prices == sorted(
        (each.price for each in levels if each.shares), reverse=side is Side.SELL
    )


@given(levels=LEVELS, amount=AMOUNTS)
def test_a_buyer_spends_at_most_the_amount_and_takes_all_that_it_can_pay(
    levels: list[Level], amount: int
) -> None:
    asks = best_first(Side.BUY, levels)

    walk = spend(asks, amount)

    if walk is None:
        assert not asks or amount == 0
        return
    assert walk.usdc <= amount
    assert walk.shares == sum(taken.shares for taken in walk.levels)
    assert walk.complete or walk.levels == asks
    assert not walk.complete or amount - walk.usdc < len(walk.levels) + 1


@given(levels=LEVELS, amount=AMOUNTS)
def test_a_seller_never_sells_more_than_given(levels: list[Level], amount: int) -> None:
    bids = best_first(Side.SELL, levels)

    walk = sell(bids, amount)

    if walk is None:
        assert not bids or amount == 0
        return
    assert walk.shares == sum(taken.shares for taken in walk.levels) <= amount
    assert walk.complete == (walk.shares == amount)
    assert walk.complete or walk.levels == bids


@given(levels=LEVELS, amounts=st.tuples(AMOUNTS, AMOUNTS))
@pytest.mark.parametrize(("side", "take"), [(Side.BUY, spend), (Side.SELL, sell)])
def test_a_larger_amount_never_gets_a_better_worst_price_nor_less(
    side: Side, take: Take, levels: list[Level], amounts: tuple[int, int]
) -> None:
    offers, (less, more) = best_first(side, levels), sorted(amounts)

    small, large = take(offers, less), take(offers, more)

    if small is not None:
        assert large is not None
        assert small.shares <= large.shares
        assert small.usdc <= large.usdc
        assert small.worst <= large.worst if side is Side.BUY else small.worst >= large.worst


@given(levels=LEVELS, amount=AMOUNTS)
def test_every_level_before_the_last_is_taken_completely(levels: list[Level], amount: int) -> None:
    asks, bids = best_first(Side.BUY, levels), best_first(Side.SELL, levels)

    for offers, walk in ((asks, spend(asks, amount)), (bids, sell(bids, amount))):
        taken = walk.levels if walk else ()
        assert taken[:-1] == offers[: max(0, len(taken) - 1)]


def test_a_buy_walks_from_the_cheapest_ask() -> None:
    asks = best_first(Side.BUY, [level("0.60", 100), level("0.50", 10), level("0.55", 10)])

    walk = spend(asks, usdc("10.5"))

    assert walk is not None
    assert [(taken.price, taken.shares) for taken in walk.levels] == [
        (Decimal("0.50"), shares(10)),
        (Decimal("0.55"), shares(10)),
    ]
    assert (walk.usdc, walk.shares, walk.complete, walk.best, walk.worst) == (
        usdc("10.5"),
        shares(20),
        True,
        Decimal("0.50"),
        Decimal("0.55"),
    )


def test_a_walk_through_a_book_that_is_too_thin_is_incomplete() -> None:
    walk = spend((level("0.50", 10),), usdc(6))

    assert walk is not None
    assert (walk.usdc, walk.complete) == (usdc(5), False)


@pytest.mark.parametrize("walk", [spend((), 1), sell((), 1)])
def test_an_empty_book_gives_no_walk(walk: object) -> None:
    assert walk is None


@pytest.mark.parametrize(
    ("bid", "ask", "fault"),
    [
        ("0.50", "0.51", None),
        ("0.50", "0.50", BookFault.CROSSED),
        ("0.51", "0.50", BookFault.CROSSED),
        ("0.01", "0.99", BookFault.GHOST),
        ("0.001", "0.999", BookFault.GHOST),
        ("0.01", "0.98", None),
        ("0.02", "0.99", None),
        ("0.01", None, None),
        (None, "0.99", None),
        (None, None, None),
    ],
)
def test_a_crossed_book_and_a_book_of_the_edges_alone_are_no_prices(
    bid: str | None, ask: str | None, fault: BookFault | None
) -> None:
    bids = (level(bid, 1),) if bid else ()
    asks = (level(ask, 1),) if ask else ()

    assert find_fault(bids, asks) is fault
