"""A settlement that is sent again has the prices of its match: a trade at another price is another
trade, whatever is missing of both.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingest.decisions import FillRow, PriceRange, RepeatedRows
from services.ingest.decisions.trades import PRICE_TOLERANCE, list_prices, may_have_same_price
from shared.domain.follows import Follow
from shared.domain.money import Side
from shared.messages.leader_fills import FillSource
from tests.builders import NOON, a_fill, a_follow, usdc
from tests.unit.ingest.source_reports import (
    Fill,
    SourceReport,
    chain_report,
    data_api_report,
    socket_report,
)
from tests.unit.ingest.test_identity import Ingest, a_settled_fill, shuffled_with_repeats
from tests.unit.ingest.test_resent import (
    FIRST_HASH,
    SECOND_HASH,
    SETTLED_AFTER_S,
    THIRD_HASH,
    block_reports,
    in_transaction,
    socket_reports,
)

FOURTH_HASH = f"0x{'4' * 64}"
FIXED = a_follow(percent=None, fixed_usdc=usdc(20), min_usdc=0)
SHARE = a_follow(percent=Decimal(200), min_usdc=0, max_usdc=usdc(10_000))

CHEAP, DEAR = a_settled_fill(cents=41), a_settled_fill(cents=50)


def intended_usdc(ingest: Ingest, *transactions: str) -> int:
    """Micro-USDC of the intents of these transactions together."""
    return sum(
        intent.usdc for intent in ingest.intents.values() if intent.transaction_hash in transactions
    )


def terms_usdc(follow: Follow, fills: Sequence[Fill]) -> int:
    """What the follow's terms make of the trade."""
    return follow.copy_usdc(sum(fill.usdc for fill in fills))


def socket_row(fill: Fill, transaction: str) -> SourceReport:
    return socket_report(replace(fill, transaction=transaction), "trades", as_text=False)


def settled(fills: Sequence[Fill], transaction: str) -> SourceReport:
    return chain_report(
        in_transaction(transaction, fills), block=100, mined_after_s=SETTLED_AFTER_S
    )


@pytest.mark.parametrize("is_reported", [True, False], ids=["one of two rows", "no row"])
async def test_shares_that_the_socket_missed_are_not_those_of_a_trade_at_another_price(
    *, is_reported: bool
) -> None:
    """The other trade's settlement is sent again later: it is copied once."""
    reports = [socket_row(CHEAP, FIRST_HASH), settled([DEAR, DEAR], SECOND_HASH)]
    if is_reported:
        reports.insert(1, socket_row(DEAR, SECOND_HASH))
    ingest = Ingest(follows=[FIXED])

    await ingest.receive([*reports, settled([CHEAP], THIRD_HASH)])

    assert intended_usdc(ingest, FIRST_HASH, THIRD_HASH) == usdc(20)
    assert intended_usdc(ingest, SECOND_HASH) == usdc(20)


async def test_a_row_does_not_wait_beside_a_confirmed_trade_at_another_price() -> None:
    ingest = Ingest(follows=[FIXED])

    await ingest.receive([settled([DEAR], SECOND_HASH), socket_row(CHEAP, FIRST_HASH)])

    assert intended_usdc(ingest, FIRST_HASH) == usdc(20)


@pytest.mark.parametrize("fills", [[CHEAP, DEAR], [DEAR, CHEAP]])
@pytest.mark.parametrize("reported", [CHEAP, DEAR])
@pytest.mark.parametrize("is_confirmed_first", [True, False])
async def test_of_a_resent_trade_at_two_prices_one_row_of_the_socket_is_enough(
    fills: list[Fill], reported: Fill, *, is_confirmed_first: bool
) -> None:
    """Its first confirming row names the price of the other one."""
    reports = [socket_row(reported, FIRST_HASH), settled(fills, SECOND_HASH)]
    if is_confirmed_first:
        reports.reverse()
    ingest = Ingest(follows=[FIXED])

    await ingest.receive(reports)

    assert intended_usdc(ingest, FIRST_HASH, SECOND_HASH) == usdc(20)


async def test_of_a_source_that_does_not_say_all_prices_none_is_excluded() -> None:
    """Messages of an earlier release."""
    ingest = Ingest(follows=[FIXED])
    await ingest.receive([socket_row(CHEAP, FIRST_HASH)])
    (confirming,) = await settled([DEAR], SECOND_HASH).read_by_feed()
    ingest.topic.append(confirming.model_copy(update={"lowest_price": None, "highest_price": None}))

    await ingest.handle_all()

    assert intended_usdc(ingest, SECOND_HASH) == 0


def fills_at(cents: int) -> st.SearchStrategy[list[Fill]]:
    """Few different sizes, so that equal rows, which collapse, are frequent."""
    fill = st.builds(
        lambda order, size: a_settled_fill(order, size=size, cents=cents),
        st.integers(1, 3),
        st.sampled_from([60, 61]),
    )
    return st.lists(fill, min_size=1, max_size=3)


@settings(deadline=None)
@given(
    cheap=fills_at(41),
    dear=fills_at(50),
    follow=st.sampled_from([FIXED, SHARE]),
    choose=st.data(),
    shuffle=st.randoms(use_true_random=False),
)
async def test_of_two_trades_at_two_prices_each_is_copied_within_its_terms(
    cheap: list[Fill], dear: list[Fill], follow: Follow, choose: st.DataObject, shuffle: Random
) -> None:
    """Either may be resent, and any row of any source may be missing, late or repeated."""
    reports, hashes_by_price = [], {}
    for fills, first, second in ((cheap, FIRST_HASH, SECOND_HASH), (dear, THIRD_HASH, FOURTH_HASH)):
        settlement = choose.draw(st.sampled_from([first, second]))
        blocks = block_reports(
            in_transaction(settlement, fills),
            mined_after_s=choose.draw(st.integers(1, SETTLED_AFTER_S)),
        )
        reports += socket_reports(in_transaction(first, fills), choose)
        reports += [report for report in blocks if choose.draw(st.booleans())]
        hashes_by_price[fills[0].price] = (first, second)
    repeated_rows = choose.draw(st.sampled_from(RepeatedRows))
    ingest = Ingest(follows=[follow], repeated_rows=repeated_rows)

    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))

    for fills in (cheap, dear):
        intended = intended_usdc(ingest, *hashes_by_price[fills[0].price])
        assert intended <= terms_usdc(follow, fills)


PRICES = st.decimals(Decimal("0.001"), Decimal("0.999"), places=4)


@given(price=PRICES, change=st.decimals(Decimal(-1), Decimal(1), places=6))
@example(price=Decimal("0.74"), change=Decimal("0.0000000012") / PRICE_TOLERANCE)
@example(price=Decimal("0.74"), change=Decimal(1))
def test_prices_that_differ_by_rounding_are_the_same(price: Decimal, change: Decimal) -> None:
    other = price + change * PRICE_TOLERANCE

    assert PriceRange(price, price).meets(PriceRange(other, other))


@given(price=PRICES, ticks=st.integers(2, 100))
def test_prices_that_differ_by_two_of_the_finest_ticks_are_not(price: Decimal, ticks: int) -> None:
    other = price + ticks * PRICE_TOLERANCE

    assert not PriceRange(price, price).meets(PriceRange(other, other))
    assert not PriceRange(other, other).meets(PriceRange(price, price))


def a_row(*prices: str) -> FillRow:
    known = [Decimal(price) for price in prices]
    return FillRow(
        shares=1, filled_at=NOON, prices=PriceRange(min(known), max(known)) if known else None
    )


@pytest.mark.parametrize(
    ("rows", "others", "expected"),
    [
        ([a_row("0.41")], [a_row("0.50")], False),
        ([a_row("0.41")], [a_row("0.41", "0.50")], True),
        ([a_row("0.41"), a_row("0.45")], [a_row("0.43")], True),
        ([a_row("0.41"), a_row()], [a_row("0.50")], True),
        ([], [a_row("0.50")], True),
    ],
    ids=["apart", "one of two", "an average", "not known", "no row"],
)
def test_ranges_of_prices_are_compared(
    rows: list[FillRow], others: list[FillRow], *, expected: bool
) -> None:
    assert may_have_same_price(rows, others) is expected
    assert may_have_same_price(others, rows) is expected


async def test_rows_of_the_chain_and_the_data_api_say_the_prices_of_their_whole_trade() -> None:
    """Not those of his other trades in the transaction; a row of the socket says its own."""
    sold = a_settled_fill(side=Side.SELL, cents=49)
    for report in (
        chain_report([CHEAP, DEAR, sold], block=100),
        data_api_report([CHEAP, DEAR, sold]),
    ):
        fills = await report.read_by_feed()
        assert {(fill.side, list_prices(fill)) for fill in fills} == {
            (Side.BUY, PriceRange(Decimal("0.41"), Decimal("0.5"))),
            (Side.SELL, PriceRange(Decimal("0.49"), Decimal("0.49"))),
        }
    (row,) = await socket_row(CHEAP, FIRST_HASH).read_by_feed()
    assert list_prices(row) == PriceRange(Decimal("0.41"), Decimal("0.41"))
    assert list_prices(a_fill(source=FillSource.CHAIN)) is None
