"""A leader's trade is copied once, whatever sources report it, in whatever order and how often."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decisions import (
    CopySlice,
    FillRow,
    RowKey,
    Trade,
    TradeContext,
    best_source_total,
    build_intents,
    reconcile,
    row_key,
)
from shared.domain.money import ROUNDING_TOLERANCE_SHARES, Side
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, a_fill, a_follow, shares, usdc

NEW_TRADE = Trade(trade_id=a_fill().trade_id, rows={})
ROWS = st.dictionaries(
    st.tuples(st.sampled_from(FillSource), st.sampled_from("abcd")),
    st.integers(1, shares(50)) | st.integers(1, 2 * ROUNDING_TOLERANCE_SHARES),
    min_size=1,
)


def a_row(row: RowKey, amount: int) -> LeaderFillSeen:
    return a_fill(source=row[0], row_id=row[1], shares=amount)


def a_slice(**overrides: Any) -> CopySlice:
    base = CopySlice(
        from_shares=0,
        to_shares=shares(100),
        caused_by=(FillSource.RTDS, "row-1"),
        controls_version=7,
        intended_at=NOON,
    )
    return replace(base, **overrides)


def after_fill(
    trade: Trade, fill: LeaderFillSeen, **overrides: Any
) -> tuple[Trade, CopySlice | None]:
    """The trade after the fill, and the slice to copy because of it, if there is one."""
    reconciliation = reconcile(
        TradeContext(trade=trade), fill, **{"controls_version": 7, "now": NOON, **overrides}
    )
    slices = dict.fromkeys([*trade.slices, *reconciliation.to_copy])
    to_copy = reconciliation.to_copy[0] if reconciliation.to_copy else None
    return Trade(
        trade_id=trade.trade_id,
        rows={**trade.rows, row_key(fill): reconciliation.row},
        slices=tuple(slices),
    ), to_copy


def covered_shares(trade: Trade) -> int:
    """Micro-shares from the first to the last one that was copied."""
    return max((each.to_shares for each in trade.slices), default=0)


def as_rows(rows: dict[RowKey, int]) -> dict[RowKey, FillRow]:
    return {key: FillRow(shares=amount, filled_at=NOON) for key, amount in rows.items()}


@given(rows=ROWS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
def test_the_same_rows_in_every_order_and_repetition_cover_the_same_shares_once(
    rows: dict[RowKey, int], repeated: st.DataObject, shuffle: Random
) -> None:
    delivered = [*rows.items(), *repeated.draw(st.lists(st.sampled_from(sorted(rows.items()))))]
    shuffle.shuffle(delivered)
    trade, slice_by_row = NEW_TRADE, dict[RowKey, CopySlice]()

    for row, amount in delivered:
        trade, to_copy = after_fill(trade, a_row(row, amount))
        if to_copy is not None:
            assert slice_by_row.setdefault(row, to_copy) == to_copy

    assert [earlier.to_shares for earlier in trade.slices[:-1]] == [
        later.from_shares for later in trade.slices[1:]
    ]
    assert trade.slices[0].from_shares == 0
    assert all(each.shares > 0 for each in trade.slices)
    assert all(later.shares > ROUNDING_TOLERANCE_SHARES for _, later in pairwise(trade.slices))
    assert (
        0 <= best_source_total(as_rows(rows)) - covered_shares(trade) <= ROUNDING_TOLERANCE_SHARES
    )


@given(rows=ROWS)
def test_a_subset_of_the_rows_never_covers_more_than_all_of_them(rows: dict[RowKey, int]) -> None:
    trade, before = NEW_TRADE, 0

    for row, amount in rows.items():
        trade, _ = after_fill(trade, a_row(row, amount))
        assert before <= covered_shares(trade) <= best_source_total(as_rows(rows))
        before = covered_shares(trade)


def test_rows_of_two_sources_about_the_same_fill_are_one_trade() -> None:
    trade, _ = after_fill(NEW_TRADE, a_fill(source=FillSource.RTDS))

    _, again = after_fill(trade, a_fill(source=FillSource.CHAIN, row_id="0xabc:1"))

    assert again is None


def test_two_equal_fills_are_copied_as_two_if_the_chain_has_two_logs() -> None:
    trade, _ = after_fill(NEW_TRADE, a_fill(source=FillSource.RTDS))
    trade, first = after_fill(trade, a_fill(source=FillSource.CHAIN, row_id="0xabc:1"))

    _, second = after_fill(trade, a_fill(source=FillSource.CHAIN, row_id="0xabc:2"))

    assert first is None
    assert second is not None
    assert (second.from_shares, second.to_shares) == (shares(100), shares(200))


def test_a_later_row_copies_only_the_difference() -> None:
    trade, _ = after_fill(NEW_TRADE, a_fill(row_id="a", shares=shares(60)))

    _, top_up = after_fill(trade, a_fill(row_id="b", shares=shares(40)))

    assert top_up is not None
    assert (top_up.from_shares, top_up.to_shares) == (shares(60), shares(100))


def test_a_redelivered_row_yields_the_same_slice_although_time_and_controls_have_changed() -> None:
    trade, first = after_fill(NEW_TRADE, a_fill())

    _, again = after_fill(trade, a_fill(), controls_version=99, now=NOON + timedelta(hours=1))

    assert again == first


def test_a_difference_in_rounding_between_two_sources_is_not_copied() -> None:
    trade, _ = after_fill(NEW_TRADE, a_fill(shares=shares(100)))

    _, within = after_fill(
        trade, a_fill(source=FillSource.CHAIN, shares=shares(100) + ROUNDING_TOLERANCE_SHARES)
    )
    _, beyond = after_fill(
        trade, a_fill(source=FillSource.CHAIN, shares=shares(100) + ROUNDING_TOLERANCE_SHARES + 1)
    )

    assert within is None
    assert beyond is not None


def test_a_trade_smaller_than_the_dust_limit_is_copied() -> None:
    _, to_copy = after_fill(NEW_TRADE, a_fill(shares=1))

    assert to_copy is not None
    assert to_copy.shares == 1


def test_each_followers_intent_is_sized_by_his_terms() -> None:
    tenth, fixed = (
        a_follow(),
        a_follow(follow_id="follow-2", proxy=OTHER_PROXY, percent=None, fixed_usdc=usdc(20)),
    )

    first, second = build_intents(a_slice(), a_fill(), [tenth, fixed])

    assert (first.usdc, first.shares, first.proxy) == (usdc(5), shares(10), tenth.proxy)
    assert (second.usdc, second.shares, second.proxy) == (usdc(20), shares(40), OTHER_PROXY)
    assert first.intent_id != second.intent_id


def test_an_intent_carries_the_slice_that_it_copies_and_the_version_of_its_terms() -> None:
    copied = a_slice(controls_version=3, to_shares=shares(40))

    (intent,) = build_intents(copied, a_fill(side=Side.SELL, price=Decimal("0.25")), [a_follow()])

    assert (intent.controls_version, intent.leader_shares, intent.leader_price, intent.side) == (
        3,
        shares(40),
        Decimal("0.25"),
        Side.SELL,
    )
    assert (intent.seen_at, intent.filled_at, intent.intended_at) == (
        a_fill().occurred_at,
        a_fill().filled_at,
        NOON,
    )
    assert (intent.usdc, intent.shares) == (usdc(1), shares(4))


def test_each_slice_of_a_trade_has_intents_of_its_own() -> None:
    slices = [a_slice(), a_slice(from_shares=shares(100), to_shares=shares(200))]

    ids = {
        intent.intent_id
        for each in slices
        for intent in build_intents(each, a_fill(), [a_follow()])
    }

    assert len(ids) == 2


def test_without_followers_there_are_no_intents() -> None:
    assert build_intents(a_slice(), a_fill(), []) == ()
