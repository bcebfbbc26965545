"""Orders match by price, then time; amounts and refusal texts are exactly the venue's."""

from dataclasses import replace
from decimal import Decimal

import pytest

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.accounts import UNLIMITED, Holdings
from services.paper_venue.exchange.book import Level
from services.paper_venue.exchange.matching import MatchKind, match
from services.paper_venue.exchange.orders import OrderKind, Side
from shared.chain.addresses import EXCHANGE_V3
from tests.unit.paper_venue.builders import (
    MARKET,
    NO,
    SHARE,
    USDC,
    YES,
    a_spend,
    accepted,
    an_engine,
    an_order,
    refused,
    rich,
)


def test_an_order_without_a_counterparty_rests() -> None:
    engine = an_engine()

    result = accepted(engine.place(an_order(Side.BUY, price=4_000)))

    assert result.rests
    assert result.match.fills == ()
    assert engine.books[MARKET.condition_id].bids(0) == [Level(price=4_000, shares=100 * SHARE)]


def test_a_bid_for_yes_is_an_ask_for_no_at_one_minus_the_price() -> None:
    book = an_engine(an_order(Side.BUY, price=4_000)).books[MARKET.condition_id]

    assert book.asks(1) == [Level(price=6_000, shares=100 * SHARE)]
    assert book.best_ask(1) == 6_000
    assert book.best_bid(1) is None


def test_bids_are_listed_ascending_and_asks_descending() -> None:
    orders = [an_order(Side.BUY, price=p) for p in (4_000, 4_200, 4_100)] + [
        an_order(Side.SELL, price=p) for p in (5_000, 5_200, 5_100)
    ]

    book = an_engine(*orders).books[MARKET.condition_id]

    assert [level.price for level in book.bids(0)] == [4_000, 4_100, 4_200]
    assert [level.price for level in book.asks(0)] == [5_200, 5_100, 5_000]
    assert [level.price for level in book.bids(1)] == [4_800, 4_900, 5_000]
    assert [level.price for level in book.asks(1)] == [6_000, 5_900, 5_800]


@pytest.mark.parametrize(
    ("resting", "incoming", "kind"),
    [
        ((Side.SELL, YES, 5_000), (Side.BUY, YES, 5_000), MatchKind.COMPLEMENTARY),
        ((Side.BUY, NO, 5_000), (Side.BUY, YES, 5_000), MatchKind.MINT),
        ((Side.BUY, YES, 5_000), (Side.SELL, YES, 5_000), MatchKind.COMPLEMENTARY),
        ((Side.SELL, NO, 5_000), (Side.SELL, YES, 5_000), MatchKind.MERGE),
    ],
)
def test_the_four_ways_to_match(
    resting: tuple[Side, str, int], incoming: tuple[Side, str, int], kind: MatchKind
) -> None:
    side, token, price = resting
    engine = an_engine(an_order(side, token=token, price=price, maker="0xB"))
    side, token, price = incoming

    result = accepted(engine.place(an_order(side, token=token, price=price, maker="0xA")))

    assert [fill.kind for fill in result.match.fills] == [kind]
    assert not result.rests
    assert engine.resting == {}


def test_the_taker_trades_at_the_resting_price() -> None:
    engine = an_engine(an_order(Side.SELL, price=4_000, maker="0xB"))

    result = accepted(engine.place(an_order(Side.BUY, price=5_000)))

    assert (result.match.shares, result.match.collateral) == (100 * SHARE, 40 * USDC)


def test_a_market_buy_spends_its_amount_and_gets_more_shares_at_a_better_price() -> None:
    engine = an_engine(an_order(Side.SELL, price=4_000, shares=1_000 * SHARE, maker="0xB"))

    result = accepted(engine.place(a_spend(50 * USDC, price=5_000)))

    assert (result.match.making_amount, result.match.taking_amount) == (50 * USDC, 125 * SHARE)


def test_the_best_price_matches_first_and_then_the_oldest_order() -> None:
    cheap_late = an_order(Side.SELL, price=4_000, shares=10 * SHARE, maker="0xC")
    dear = an_order(Side.SELL, price=4_100, shares=10 * SHARE, maker="0xB")
    cheap_early = an_order(Side.BUY, token=NO, price=6_000, shares=10 * SHARE, maker="0xB")
    engine = an_engine(dear, cheap_early, cheap_late)

    result = accepted(engine.place(an_order(Side.BUY, price=5_000, shares=25 * SHARE)))

    assert [fill.maker.id for fill in result.match.fills] == [
        cheap_early.id,
        cheap_late.id,
        dear.id,
    ]
    assert [fill.shares for fill in result.match.fills] == [10 * SHARE, 10 * SHARE, 5 * SHARE]


def test_the_amount_that_a_resting_order_gets_is_rounded_down() -> None:
    engine = an_engine(an_order(Side.SELL, price=3_300, maker="0xB"))

    result = accepted(
        engine.place(
            an_order(Side.BUY, price=3_300, kind=OrderKind.FAK, amounts=(10 * USDC, 30_303_000))
        )
    )

    assert result.match.fills[0].shares == 10 * USDC * 10_000 // 3_300
    assert result.match.fills[0].maker_collateral == 30_303_030 * 3_300 // 10_000


def test_a_fok_that_cannot_be_filled_completely_is_killed_and_changes_nothing() -> None:
    resting = an_order(Side.SELL, price=5_000, shares=10 * SHARE, maker="0xB")
    engine = an_engine(resting)

    result = refused(engine.place(a_spend(50 * USDC, kind=OrderKind.FOK)))

    assert result.text == rules.FOK_KILLED
    assert result.is_killed
    assert engine.resting[resting.id].remaining == 10 * SHARE
    assert engine.accounts.get("0xA").collateral == 10**12


def test_a_fak_takes_what_is_there_and_drops_the_remainder() -> None:
    engine = an_engine(an_order(Side.SELL, price=5_000, shares=10 * SHARE, maker="0xB"))

    result = accepted(engine.place(a_spend(50 * USDC)))

    assert (result.match.making_amount, result.rests, result.drops_remainder) == (
        5 * USDC,
        False,
        True,
    )
    assert engine.resting == {}


def test_fills_beyond_one_transaction_are_dropped_and_do_not_leave_a_crossed_book() -> None:
    engine = an_engine(
        *(an_order(Side.SELL, price=5_000, shares=10 * SHARE, maker="0xB") for _ in range(60))
    )

    result = accepted(engine.place(an_order(Side.BUY, price=5_000, shares=600 * SHARE)))

    assert (len(result.match.fills), result.rests, result.drops_remainder) == (50, False, True)
    assert engine.books[MARKET.condition_id].bids(0) == []


def test_a_fak_without_a_counterparty_is_killed() -> None:
    assert refused(an_engine().place(a_spend(50 * USDC))).text == rules.FAK_KILLED


def test_the_taker_pays_the_fee_rounded_to_five_decimals() -> None:
    engine = an_engine(an_order(Side.SELL, price=5_200, shares=1_626 * SHARE // 100, maker="0xB"))

    result = accepted(engine.place(an_order(Side.BUY, price=5_200, shares=1_626 * SHARE // 100)))

    assert result.match.fee == 162_340  # 16.26 shares * 0.04 * 0.52 * 0.48 = 0.16234 USDC
    assert engine.accounts.get("0xA").collateral == 10**12 - 8_455_200 - 162_340
    assert engine.accounts.get("0xB").collateral == 10**12 + 8_455_200


def test_the_recorded_fee_of_a_live_trade_is_ours() -> None:
    """2026-09-24: 16.26 shares at 0.52, fee rate 5 %, fee 0.20292."""
    market = replace(MARKET, fee_rate=Decimal("0.05"))
    engine = an_engine(an_order(Side.SELL, price=5_200, shares=16_260_000, maker="0xB"))

    planned = match(
        an_order(Side.BUY, price=5_200, shares=16_260_000, market=market),
        engine.books[MARKET.condition_id],
    )

    assert planned.fee == 202_920


def test_the_same_order_again_is_duplicated() -> None:
    order = an_order(Side.BUY, price=4_000)
    engine = an_engine(order)

    assert refused(engine.place(order)).text == f"order {order.id} is invalid. Duplicated."


def test_a_killed_order_may_be_posted_again() -> None:
    engine = an_engine()
    order = a_spend(50 * USDC)
    refused(engine.place(order))
    accepted(engine.place(an_order(Side.SELL, price=5_000, shares=1_000 * SHARE, maker="0xB")))

    assert accepted(engine.place(order)).match.making_amount == 50 * USDC


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (
            an_order(price=5_050, id="0x1"),
            "order 0x1 is invalid. Price (0.505) breaks minimum tick size rule: 0.01",
        ),
        (
            an_order(price=10_000, id="0x1"),
            "order 0x1 is invalid. Price (1) breaks minimum tick size rule: 0.01",
        ),
        (
            an_order(shares=4_990_000, id="0x1"),
            "order 0x1 is invalid. Size (4.99) lower than the minimum: 5",
        ),
        (a_spend(990_000), "invalid amount for a marketable BUY order ($0.99), min size: $1"),
        (
            an_order(kind=OrderKind.FOK, amounts=(1_234_500, 2_469_000)),
            "invalid amounts, the market buy orders maker amount supports a max accuracy of "
            "2 decimals, taker amount a max of 4 decimals",
        ),
        (
            an_order(amounts=(5_000_005, 10_000_010)),
            "invalid amounts, the buy orders maker amount supports a max accuracy of 4 decimals, "
            "taker amount a max of 2 decimals",
        ),
        (an_order(amounts=(0, 10)), "Invalid order payload"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_with_the_venues_text(
    order: object, text: str
) -> None:
    assert refused(an_engine().place(order)).text == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amounts", "is_valid"),
    [
        ((1 * USDC, 1_315_700), True),  # 0.76 cut to four decimals: a ratio of 0.76005
        ((1 * USDC, 1_315_800), True),
        ((1 * USDC, 1_315_900), False),
        ((1 * USDC, 1_324_500), False),  # 0.755
    ],
)
def test_a_market_orders_price_is_on_the_grid_where_a_price_of_it_gives_these_amounts(
    amounts: tuple[int, int], is_valid: bool
) -> None:
    order = an_order(kind=OrderKind.FAK, amounts=amounts)

    assert (rules.order_refusal(order) is None) is is_valid


def test_a_marketable_limit_order_must_be_worth_a_dollar() -> None:
    engine = an_engine(an_order(Side.SELL, price=1_000, maker="0xB"))

    result = refused(engine.place(an_order(Side.BUY, price=1_000, shares=9 * SHARE)))

    assert result.text == "invalid amount for a marketable BUY order ($0.9), min size: $1"


def test_a_post_only_order_that_crosses_is_refused() -> None:
    engine = an_engine(an_order(Side.SELL, price=5_000, maker="0xB"))

    assert (
        refused(engine.place(an_order(Side.BUY, price=5_000), post_only=True)).text
        == rules.POST_ONLY_CROSSES
    )
    assert accepted(engine.place(an_order(Side.BUY, price=4_900), post_only=True)).rests


@pytest.mark.parametrize(
    ("holdings", "order"),
    [
        (rich(collateral=49_990_000), an_order(Side.BUY, maker="0xD")),
        (rich(allowance=49_990_000), an_order(Side.BUY, maker="0xD")),
        (replace(rich(), allowances={EXCHANGE_V3: UNLIMITED}), an_order(Side.BUY, maker="0xD")),
        (rich(shares=99_990_000), an_order(Side.SELL, maker="0xD")),
        (replace(rich(), approvals=frozenset({EXCHANGE_V3})), an_order(Side.SELL, maker="0xD")),
        (Holdings(block=1), an_order(Side.BUY, maker="0xD")),
    ],
)
def test_an_order_without_balance_or_allowance_is_refused(
    holdings: Holdings, order: object
) -> None:
    engine = an_engine()
    engine.accounts.refresh("0xD", holdings)

    assert refused(engine.place(order)).text == "not enough balance / allowance"  # type: ignore[arg-type]


def test_a_resting_order_reserves_until_it_is_cancelled() -> None:
    engine = an_engine()
    engine.accounts.refresh("0xD", rich(collateral=60 * USDC))
    first = an_order(Side.BUY, maker="0xD")
    accepted(engine.place(first))

    assert refused(engine.place(an_order(Side.BUY, maker="0xD"))).text == rules.NOT_ENOUGH
    engine.cancel(first.id)
    assert accepted(engine.place(an_order(Side.BUY, maker="0xD"))).rests


def test_a_buyer_needs_the_fee_on_top_of_his_amount() -> None:
    engine = an_engine(an_order(Side.SELL, price=5_000, maker="0xB"))
    engine.accounts.refresh("0xD", rich(collateral=50 * USDC))

    assert (
        refused(engine.place(a_spend(50 * USDC, maker="0xD", kind=OrderKind.FOK))).text
        == rules.NOT_ENOUGH
    )
    engine.accounts.refresh("0xD", rich(collateral=51 * USDC))
    assert (
        accepted(engine.place(a_spend(50 * USDC, maker="0xD", kind=OrderKind.FOK))).match.fee
        == USDC
    )


def test_a_cancelled_order_is_removed_from_the_book() -> None:
    order = an_order(Side.BUY, price=4_000)
    engine = an_engine(order)

    cancelled = engine.cancel(order.id)

    assert cancelled is not None
    assert cancelled[1].shares == 0
    assert engine.books[MARKET.condition_id].bids(0) == []
    assert engine.cancel(order.id) is None
