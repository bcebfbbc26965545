"""What the fills of final blocks make of an order, before and after the venue's reports."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.decisions import (
    Order,
    OrderLookup,
    RecordedOrder,
    Settlement,
    Trade,
    VenueReply,
    apply_lookup,
    apply_new_trades,
    apply_reports,
    merge_trades,
    settle,
    sum_fills,
)
from shared.messages.orders import FINAL_STATES, OrderState, TradeReported, TradeStatus
from shared.messages.transactions import FillsSettled, TransactionState
from tests.builders import (
    NOON,
    ORDER_HASH,
    TRANSACTION,
    a_chain_fill,
    a_trade,
    fills_settled,
    seconds,
    shares,
    usdc,
)
from tests.orders import an_order

VERIFY_FOR = seconds(4)
OTHER_TRANSACTION = "0x" + "2b" * 32
REVERTED = "0x" + "3c" * 32


def matched(**overrides: object) -> Order:
    """All that was matched of it is known by the venue's reply, in rounded amounts."""
    return an_order(
        state=OrderState.MATCHED, shares=shares(10), usdc=usdc(5), posted_at=NOON, **overrides
    )


def apply_fills(
    order: Order,
    settled: FillsSettled,
    *,
    trades: tuple[Trade, ...] = (),
    now: datetime = NOON,
) -> Settlement:
    return settle(
        RecordedOrder(order=order, trades=trades),
        sum_fills(settled)[ORDER_HASH.lower()],
        now=now,
    )


def look_up(order: Order, trades: tuple[Trade, ...], *, now: datetime) -> Order:
    """The order after a lookup that shows no more than these trades."""
    return apply_lookup(order, OrderLookup(trades=trades), now=now, verify_for=VERIFY_FOR)


def report(order: Order, trades: tuple[Trade, ...], trade: TradeReported) -> RecordedOrder:
    """As the handler applies a report of the venue."""
    after = merge_trades(trades, apply_reports(trades, [trade], matched_shares=order.shares))
    if after == trades:
        return RecordedOrder(order=order, trades=trades)
    return RecordedOrder(order=apply_new_trades(order, after, now=NOON), trades=after)


def amounts(trades: tuple[Trade, ...]) -> set[tuple[str, TradeStatus, int, int, int]]:
    """What counts of the trades, whoever named them."""
    return {
        (each.transaction_hash, each.status, each.shares, each.usdc, each.fee_usdc)
        for each in trades
        if each.status is not TradeStatus.FAILED
    }


def test_an_order_is_confirmed_by_the_fill_of_all_that_was_matched() -> None:
    exact = a_chain_fill(shares=shares(10) + 7, usdc=usdc(5) - 1, fee_usdc=3)

    settlement = apply_fills(matched(), fills_settled(fills=(exact,)))

    (trade,) = settlement.trades
    assert (trade.trade_id, trade.transaction_hash) == (TRANSACTION, TRANSACTION)
    assert (trade.status, trade.is_settled) == (TradeStatus.CONFIRMED, True)
    order = settlement.after
    assert (order.state, order.shares, order.usdc, order.fee_usdc) == (
        OrderState.CONFIRMED,
        shares(10) + 7,
        usdc(5) - 1,
        3,
    )
    assert settlement.is_reported
    assert not settlement.contradicts


def test_several_logs_of_an_order_in_one_transaction_are_one_trade() -> None:
    logs = tuple(
        a_chain_fill(log_index=number, shares=shares(5), usdc=usdc("2.5"), fee_usdc=1)
        for number in (1, 2)
    )

    settlement = apply_fills(matched(), fills_settled(fills=logs))

    assert [(t.shares, t.usdc, t.fee_usdc) for t in settlement.trades] == [(shares(10), usdc(5), 2)]


def test_an_order_with_a_part_of_its_fills_is_not_final() -> None:
    half = a_chain_fill(shares=shares(5), usdc=usdc("2.5"))
    other = half.model_copy(update={"transaction_hash": OTHER_TRANSACTION})

    first = apply_fills(matched(), fills_settled(fills=(half,)))
    assert (first.after.state, first.after.shares) == (OrderState.MATCHED, shares(10))
    assert not first.is_reported

    second = apply_fills(first.after, fills_settled(fills=(other,)), trades=first.trades)
    assert (second.after.state, second.after.shares) == (OrderState.CONFIRMED, shares(10))


@pytest.mark.parametrize("state", [OrderState.SIGNED, OrderState.UNKNOWN])
def test_an_order_without_an_outcome_is_matched_by_a_fill_as_by_a_lookups_trades(
    state: OrderState,
) -> None:
    order = an_order(state=state, last_reply=VenueReply.ARRIVED)

    settlement = apply_fills(order, fills_settled())

    assert (settlement.after.state, settlement.after.unverified_since) == (OrderState.MATCHED, NOON)
    assert (settlement.is_reported, settlement.contradicts) == (False, False)
    again = apply_fills(
        settlement.after, fills_settled(), trades=settlement.trades, now=NOON + VERIFY_FOR
    )
    assert again.is_known
    later = look_up(settlement.after, settlement.trades, now=NOON + VERIFY_FOR)
    assert (later.state, later.shares) == (OrderState.CONFIRMED, shares(10))


@pytest.mark.parametrize("state", sorted(FINAL_STATES - {OrderState.CONFIRMED}))
def test_a_fill_corrects_an_order_that_had_ended_without_one(state: OrderState) -> None:
    settlement = apply_fills(an_order(state=state), fills_settled())

    assert settlement.contradicts
    assert settlement.after.state is OrderState.MATCHED
    assert state in settlement.after.reason
    later = look_up(settlement.after, settlement.trades, now=NOON + VERIFY_FOR)
    assert later.state is OrderState.CONFIRMED


def test_the_same_fills_of_a_confirmed_order_change_nothing_and_it_is_reported_again() -> None:
    first = apply_fills(matched(), fills_settled())

    again = apply_fills(first.after, fills_settled(), trades=first.trades)

    assert again.is_known
    assert again.is_reported
    assert not again.contradicts
    assert (again.after, again.trades) == (first.after, ())


def test_a_further_fill_of_a_confirmed_order_counts() -> None:
    first = apply_fills(matched(), fills_settled())
    further = a_chain_fill(transaction_hash=OTHER_TRANSACTION, shares=shares(3))

    settlement = apply_fills(first.after, fills_settled(fills=(further,)), trades=first.trades)

    assert settlement.contradicts
    assert settlement.is_reported
    assert (settlement.after.state, settlement.after.shares) == (OrderState.CONFIRMED, shares(13))


@pytest.mark.parametrize(
    "known",
    [
        a_trade(),
        a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION),
        a_trade(status=TradeStatus.CONFIRMED, transaction_hash=TRANSACTION),
        a_trade(status=TradeStatus.CONFIRMED),
        a_trade(status=TradeStatus.RETRYING, transaction_hash=REVERTED),
        a_trade(status=TradeStatus.MINED, transaction_hash=REVERTED),
    ],
    ids=lambda trade: f"{trade.status} {trade.transaction_hash[2:4]}",
)
def test_a_fill_is_the_trade_that_the_venue_has_named_before(known: TradeReported) -> None:
    recorded = report(matched(), (), known)
    exact = a_chain_fill(shares=shares(10) + 7)

    settlement = apply_fills(recorded.order, fills_settled(fills=(exact,)), trades=recorded.trades)

    (trade,) = settlement.trades
    assert (trade.trade_id, trade.transaction_hash) == ("venue-1", TRANSACTION)
    assert (trade.status, trade.shares) == (TradeStatus.CONFIRMED, shares(10) + 7)
    assert (settlement.after.state, settlement.after.shares) == (
        OrderState.CONFIRMED,
        shares(10) + 7,
    )


@pytest.mark.parametrize("status", TradeStatus)
@pytest.mark.parametrize("transaction_hash", ["", TRANSACTION, REVERTED])
def test_a_later_report_of_the_venue_about_a_settled_trade_changes_nothing(
    status: TradeStatus, transaction_hash: str
) -> None:
    settled = apply_fills(matched(), fills_settled())
    late = a_trade(status=status, transaction_hash=transaction_hash)

    assert report(settled.after, settled.trades, late) == RecordedOrder(
        order=settled.after, trades=settled.trades
    )


def test_a_trade_that_the_venue_took_for_failed_is_settled_by_its_own_transaction() -> None:
    failed = report(matched(), (), a_trade(status=TradeStatus.FAILED, transaction_hash=TRANSACTION))

    settlement = apply_fills(failed.order, fills_settled(), trades=failed.trades)

    assert settlement.contradicts
    assert [(trade.trade_id, trade.status) for trade in settlement.trades] == [
        ("venue-1", TradeStatus.CONFIRMED)
    ]
    assert settlement.after.shares == shares(10)


def test_a_trade_that_failed_is_not_what_another_transaction_filled() -> None:
    failed = report(matched(), (), a_trade(status=TradeStatus.FAILED, transaction_hash=REVERTED))
    assert failed.order.state is OrderState.FAILED

    settlement = apply_fills(failed.order, fills_settled(), trades=failed.trades)

    assert settlement.contradicts
    assert [trade.trade_id for trade in settlement.trades] == [TRANSACTION]
    assert settlement.after.shares == shares(10)


def test_two_trades_of_one_transaction_have_its_amounts_together() -> None:
    order = matched()
    recorded = RecordedOrder(order=order, trades=())
    for number, amount in enumerate((shares(3), shares(7))):
        trade = a_trade(
            trade_id=f"venue-{number}",
            shares=amount,
            status=TradeStatus.MINED,
            transaction_hash=TRANSACTION,
        )
        recorded = report(order, recorded.trades, trade)
    exact = a_chain_fill(shares=shares(10) + 7, usdc=usdc(5) - 1, fee_usdc=3)

    settlement = apply_fills(order, fills_settled(fills=(exact,)), trades=recorded.trades)

    assert len(settlement.trades) == 2
    assert (settlement.after.shares, settlement.after.usdc, settlement.after.fee_usdc) == (
        shares(10) + 7,
        usdc(5) - 1,
        3,
    )
    assert settlement.after.state is OrderState.CONFIRMED


def resolved_trade(name: str, **overrides: Any) -> Trade:
    """As the venue has named it, before a watch has found its transaction in a final block."""
    known = Trade(
        trade_id=name,
        status=TradeStatus.MINED,
        shares=shares(5),
        usdc=usdc("2.5"),
        fee_usdc=0,
        matched_at=NOON,
        transaction_hash=TRANSACTION,
        chain_state=TransactionState.FINAL,
    )
    return replace(known, **overrides)


def test_trades_in_a_final_block_are_confirmed_by_the_venue_with_the_amounts_of_the_chain() -> None:
    order = matched()
    recorded = RecordedOrder(
        order=order, trades=(resolved_trade("venue-1"), resolved_trade("venue-2"))
    )
    for trade_id in ("venue-1", "venue-2"):
        confirmed = a_trade(
            trade_id=trade_id, status=TradeStatus.CONFIRMED, transaction_hash=TRANSACTION
        )
        recorded = report(order, recorded.trades, confirmed)

    assert recorded.trades == tuple(
        resolved_trade(name, status=TradeStatus.CONFIRMED) for name in ("venue-1", "venue-2")
    )
    assert (recorded.order.state, recorded.order.shares) == (OrderState.CONFIRMED, shares(10))


@pytest.mark.parametrize(
    ("status", "transaction_hash"),
    [(TradeStatus.FAILED, TRANSACTION), (TradeStatus.RETRYING, ""), (TradeStatus.MINED, REVERTED)],
)
def test_a_trade_in_a_final_block_is_not_undone_by_the_venue(
    status: TradeStatus, transaction_hash: str
) -> None:
    known = (resolved_trade("venue-1"),)

    late = a_trade(status=status, transaction_hash=transaction_hash)

    assert apply_reports(known, [late], matched_shares=shares(10)) == ()


def halves(*fates: tuple[TradeStatus, str]) -> tuple[Trade, ...]:
    """Two trades of five shares each, as the venue has named them."""
    return tuple(
        resolved_trade(
            f"venue-{number}", status=status, transaction_hash=transaction, chain_state=""
        )
        for number, (status, transaction) in enumerate(fates, start=1)
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((TradeStatus.MINED, TRANSACTION), (TradeStatus.RETRYING, REVERTED)),
        ((TradeStatus.RETRYING, REVERTED), (TradeStatus.MATCHED, "")),
        ((TradeStatus.CONFIRMED, TRANSACTION), (TradeStatus.MINED, REVERTED)),
    ],
)
def test_a_fill_is_the_trade_whose_transaction_is_least_certain(
    first: tuple[TradeStatus, str], second: tuple[TradeStatus, str]
) -> None:
    known = halves(first, second)
    fill = a_chain_fill(transaction_hash=OTHER_TRANSACTION, shares=shares(5), usdc=usdc("2.5"))

    settlement = apply_fills(matched(), fills_settled(fills=(fill,)), trades=known)

    assert [trade.trade_id for trade in settlement.trades] == ["venue-2"]


def test_a_fill_of_another_amount_is_a_trade_of_its_own_where_the_match_has_room_for_both() -> None:
    retried = resolved_trade(
        "venue-1",
        status=TradeStatus.RETRYING,
        shares=shares(6),
        transaction_hash=REVERTED,
        chain_state="",
    )
    fill = a_chain_fill(transaction_hash=OTHER_TRANSACTION, shares=shares(4), usdc=usdc(2))

    settlement = apply_fills(matched(), fills_settled(fills=(fill,)), trades=(retried,))

    assert [trade.trade_id for trade in settlement.trades] == [OTHER_TRANSACTION]
    failed = a_trade(status=TradeStatus.FAILED, transaction_hash=REVERTED)
    ended = report(settlement.after, (retried, *settlement.trades), failed)
    assert (ended.order.state, ended.order.shares) == (OrderState.CONFIRMED, shares(4))


def test_a_confirmed_trade_that_names_a_replaced_transaction_counts_once() -> None:
    confirmed = report(
        matched(), (), a_trade(status=TradeStatus.CONFIRMED, transaction_hash=REVERTED)
    )
    assert confirmed.order.state is OrderState.CONFIRMED

    settlement = apply_fills(confirmed.order, fills_settled(), trades=confirmed.trades)

    assert [(trade.trade_id, trade.transaction_hash) for trade in settlement.trades] == [
        ("venue-1", TRANSACTION)
    ]
    assert settlement.after.shares == shares(10)


def test_exact_amounts_instead_of_rounded_ones_contradict_nothing() -> None:
    ended = report(
        matched(), (), a_trade(status=TradeStatus.CONFIRMED, transaction_hash=TRANSACTION)
    )
    exact = a_chain_fill(shares=shares(10) + 7)

    settlement = apply_fills(ended.order, fills_settled(fills=(exact,)), trades=ended.trades)

    assert settlement.after.shares == shares(10) + 7
    assert settlement.is_reported
    assert not settlement.contradicts


PARTS = ((TRANSACTION, "venue-1", shares(4)), (OTHER_TRANSACTION, "venue-2", shares(6)))
FILLS = tuple(
    fills_settled(
        fills=tuple(
            a_chain_fill(
                transaction_hash=transaction, log_index=number, shares=half, usdc=half // 2
            )
            for number, half in enumerate((amount // 2, amount // 2 + 5))
        )
    )
    for transaction, _, amount in PARTS
)
REPORTS = tuple(
    a_trade(trade_id=name, status=status, shares=amount, usdc=amount // 2, transaction_hash=hash_)
    for transaction, name, amount in PARTS
    for status, hash_ in (
        (TradeStatus.MATCHED, ""),
        (TradeStatus.RETRYING, REVERTED),
        (TradeStatus.MINED, transaction),
        (TradeStatus.CONFIRMED, transaction),
    )
)
EXPECTED = {
    (transaction, TradeStatus.CONFIRMED, amount + 5, amount // 2 + 2, usdc("0.2"))
    for transaction, _, amount in PARTS
}


@given(
    events=st.lists(st.sampled_from([*FILLS, *REPORTS, "reply"]), max_size=12),
    last=st.permutations([*FILLS, "reply"]),
)
def test_in_whatever_order_fills_reports_and_the_reply_come_each_transaction_counts_once(
    events: list[FillsSettled | TradeReported | str], last: list[FillsSettled | str]
) -> None:
    recorded, is_answered = RecordedOrder(order=an_order(posted_at=NOON), trades=()), False
    for event in (*events, *last):
        order, trades = recorded.order, recorded.trades
        if isinstance(event, FillsSettled):
            after = apply_fills(order, event, trades=trades, now=NOON + seconds(60))
            recorded = RecordedOrder(order=after.after, trades=merge_trades(trades, after.trades))
        elif isinstance(event, TradeReported):
            recorded = report(order, trades, event)
        elif not is_answered and order.state is OrderState.SIGNED:
            # Nothing else is handled for the proxy before the reply, unless it was lost.
            recorded = replace(recorded, order=matched())
        is_answered = True
    order, trades = recorded.order, recorded.trades

    assert amounts(trades) == EXPECTED
    again = apply_fills(order, FILLS[0], trades=trades, now=NOON + seconds(120))
    assert again.is_known
    if order.unverified_since is not None:
        order = look_up(order, trades, now=NOON + seconds(120))
    assert (order.state, order.shares) == (OrderState.CONFIRMED, shares(10) + 10)
