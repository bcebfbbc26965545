"""A leader's trade is copied once, whatever sources report it, in whatever order and how often."""

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
    reconcile,
    row_key,
)
from shared.domain.money import ROUNDING_TOLERANCE_SHARES
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, a_fill, shares, usdc

NEW_TRADE = Trade(trade_id=a_fill().trade_id, rows={})
ROWS = st.dictionaries(
    st.builds(RowKey, st.sampled_from(FillSource), st.sampled_from("abcd"))
    | st.builds(
        RowKey,
        st.just(FillSource.RTDS),
        st.sampled_from("abcd"),
        st.sampled_from(["trades", "orders_matched"]),
    ),
    st.integers(1, shares(50)) | st.integers(1, 2 * ROUNDING_TOLERANCE_SHARES),
    min_size=1,
)


def a_row(row: RowKey, amount: int) -> LeaderFillSeen:
    return a_fill(source=row.source, row_id=row.row_id, row_type=row.row_type, shares=amount)


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


def test_two_types_of_the_socket_that_report_the_same_fills_do_not_add_up() -> None:
    trade, _ = after_fill(NEW_TRADE, a_fill(row_type="trades"))

    trade, other_digits = after_fill(
        trade, a_fill(row_type="orders_matched", row_id="row-2", shares=shares(100) - 1)
    )
    _, second_fill = after_fill(
        trade, a_fill(row_type="orders_matched", row_id="row-3", shares=shares(50))
    )

    assert other_digits is None
    assert second_fill is not None
    assert (second_fill.from_shares, second_fill.to_shares) == (shares(100), shares(150) - 1)


def test_a_slice_says_how_many_came_before_it_and_what_the_leader_paid() -> None:
    trade, first = after_fill(NEW_TRADE, a_fill(row_id="a", shares=shares(60)))
    _, second = after_fill(trade, a_fill(row_id="b", shares=shares(40), price=Decimal("0.25")))

    assert first is not None
    assert second is not None
    assert [(each.sequence, each.leader_usdc) for each in (first, second)] == [
        (0, usdc(30)),
        (1, usdc(10)),
    ]
