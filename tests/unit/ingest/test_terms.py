"""What a follow's filters and its direction change about the intents of a trade."""

from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import BASE_UNIT, Side, shares_for
from shared.domain.outcomes import OutcomeToken
from shared.domain.terms import EntryMode, Filters
from shared.messages.intents import Intent, Missing
from shared.messages.leader_fills import LeaderFillSeen
from tests.builders import OTHER_PROXY, TOKEN, a_fill, controls, shares, usdc
from tests.unit.ingest.test_sizing import (
    CAPPED,
    FIXED,
    RAISED,
    TENTH,
    a_slice,
    amounts,
    handle_rows,
    rows_of_500_dollars,
    size_slice,
)

NO = OutcomeToken(token_id="7" * 70, outcome="No")
COUNTER = replace(TENTH, counter=True)


def filtered(least: int, **terms: object) -> Filters:
    return Filters(min_leader_usdc=usdc(least), **terms)  # type: ignore[arg-type]


def test_a_trade_below_the_leaders_minimum_is_sized_to_nothing_until_a_slice_lifts_it_over() -> (
    None
):
    """Slices of 50 USDC each. The first is intended all the same, so that its refusal is seen."""
    slices = [a_slice(number, 100 * number, 100 * number + 100) for number in range(4)]

    assert amounts(slices, replace(TENTH, filters=filtered(100))) == [0, usdc(10), usdc(5), usdc(5)]
    assert amounts(slices, replace(TENTH, filters=filtered(101))) == [0, None, usdc(15), usdc(5)]
    assert amounts(slices, replace(FIXED, filters=filtered(150))) == [0, None, usdc(25), None]
    assert amounts(slices, replace(RAISED, filters=filtered(201))) == [0, None, None, None]


@pytest.mark.parametrize("least", [0, 499, 500, 501])
@pytest.mark.parametrize("follow", [FIXED, RAISED, CAPPED, TENTH])
@given(number=st.integers(1, 20), shuffle=st.randoms(use_true_random=False))
async def test_a_trade_in_many_rows_is_filtered_like_one_in_one_row(
    follow: object, least: int, number: int, shuffle: Random
) -> None:
    assert isinstance(follow, type(TENTH))
    rows = rows_of_500_dollars(number)
    worth = sum(row.shares for row in rows) // 2
    shuffle.shuffle(rows)

    intents = await handle_rows(rows, replace(follow, filters=filtered(least)))

    intended = sum(intent.usdc for intent in intents)
    expected = follow.copy_usdc(worth) if worth >= usdc(least) else 0
    assert intended == expected or intended >= expected - usdc(1) > 0


def test_an_intent_carries_what_the_leaders_trade_is_worth_so_far() -> None:
    slices = [a_slice(0, 0, 100), a_slice(1, 100, 300)]
    known = {7: controls(TENTH)}

    worth = [size_slice(each, a_fill(), slices, known)[0].leader_usdc for each in slices]

    assert worth == [usdc(50), usdc(150)]
    (sale,) = size_slice(slices[0], a_fill(side=Side.SELL), slices, known)
    assert sale.leader_usdc is None


@pytest.mark.parametrize(
    ("filters", "needed"),
    [
        (Filters(), False),
        (filtered(5, max_price=Decimal("0.9"), max_spread_bps=Decimal(5)), False),
        (Filters(tags=frozenset({"politics"})), True),
        (Filters(min_liquidity_usdc=1), True),
    ],
)
def test_only_an_entry_whose_filters_need_them_asks_for_the_markets_details(
    filters: Filters, needed: bool
) -> None:
    copied, known = a_slice(0, 0, 100), {7: controls(replace(TENTH, filters=filters))}

    (entry,) = size_slice(copied, a_fill(), [copied], known)
    (exit_,) = size_slice(copied, a_fill(side=Side.SELL), [copied], known)

    assert (entry.needs_market_details, exit_.needs_market_details) == (needed, False)


def test_entries_of_a_follow_without_entries_are_intended_so_that_their_refusal_is_seen() -> None:
    copied, follow = a_slice(0, 0, 100), replace(TENTH, entries=EntryMode.NONE)

    (intent,) = size_slice(copied, a_fill(), [copied], {7: controls(follow)})

    assert intent.usdc == usdc(5)


def counter_intent(
    fill: LeaderFillSeen, complement: OutcomeToken | Missing = NO, **copied: object
) -> Intent:
    slices = [a_slice(0, 0, 100, leader_usdc=int(shares(100) * fill.price), **copied)]
    (intent,) = size_slice(slices[0], fill, slices, {7: controls(COUNTER)}, complement=complement)
    return intent


def test_a_counter_follow_buys_the_complement_for_what_the_leaders_trade_is_worth() -> None:
    """He buys 100 at 0.25, worth 25; a tenth of it buys the complement, which costs 0.75."""
    intent = counter_intent(a_fill(price=Decimal("0.25")))

    assert (intent.token_id, intent.leader_token_id, intent.outcome) == (NO.token_id, TOKEN, "No")
    assert (intent.side, intent.leader_price) == (Side.BUY, Decimal("0.75"))
    assert (intent.usdc, intent.shares) == (
        usdc("2.5"),
        shares_for(usdc("2.5"), Decimal("0.75")),
    )
    assert (intent.leader_shares, intent.leader_usdc) == (shares(100), usdc(25))
    assert (intent.title, intent.traded_token_id) == (a_fill().title, TOKEN)


def test_a_counter_follow_sells_the_complement_in_the_leaders_proportion() -> None:
    fill = a_fill(side=Side.SELL, price=Decimal("0.25"))

    intent = counter_intent(fill, leader_held_shares=shares(400))

    assert (intent.token_id, intent.side, intent.leader_price) == (
        NO.token_id,
        Side.SELL,
        Decimal("0.75"),
    )
    assert (intent.leader_shares, intent.leader_held_shares) == (shares(100), shares(400))


@pytest.mark.parametrize("missing", [Missing.NO_MARKET, Missing.UNAVAILABLE])
def test_without_a_known_complement_the_intent_says_why(missing: Missing) -> None:
    intent = counter_intent(a_fill(), missing)

    assert (intent.complement_missing, intent.outcome) == (missing, "")
    assert (intent.token_id, intent.leader_token_id) == (TOKEN, TOKEN)


@given(price=st.decimals(BASE_UNIT, 1, places=8).filter(lambda price: price < 1))
def test_every_price_of_a_leader_has_a_complementary_price(price: Decimal) -> None:
    intent = counter_intent(a_fill(price=price))

    assert intent.leader_price == max(BASE_UNIT, 1 - price)


def test_a_follow_in_the_leaders_direction_is_the_same_beside_a_counter_follow() -> None:
    copied = a_slice(0, 0, 100)
    other = replace(COUNTER, follow_id="follow-2", proxy=OTHER_PROXY)

    both = size_slice(copied, a_fill(), [copied], {7: controls(TENTH, other)}, complement=NO)
    alone = size_slice(copied, a_fill(), [copied], {7: controls(TENTH)})

    assert alone == both[:1]
    assert both[0].intent_id != both[1].intent_id
    assert (both[0].leader_token_id, both[0].traded_token_id) == ("", TOKEN)
