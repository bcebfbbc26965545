"""A resent settlement is copied once, and two trades that look alike are both copied.

In both cases the activity socket reports a match before it is settled, so that its row may name a
transaction that never gets into a block. In these tests every source reports in every order, as
often as it likes, and from its raw bytes on.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.decisions import CLOCK_TOLERANCE, RESENT_WITHIN, RepeatedRows
from shared.domain.ids import trade_id
from shared.domain.money import Side
from shared.observe.metrics import REGISTRY, CopyStart
from tests.builders import LEADER, a_follow, usdc
from tests.unit.ingest.source_reports import (
    NO,
    YES,
    Fill,
    SourceReport,
    chain_report,
    data_api_report,
    socket_report,
)
from tests.unit.ingest.test_identity import (
    FILLS,
    FOLLOWS,
    KINDS,
    Ingest,
    a_settled_fill,
    shuffled_with_repeats,
)

FIRST_HASH, SECOND_HASH, THIRD_HASH = (f"0x{digit * 64}" for digit in "123")
SETTLED_AFTER_S = 8
"""Seconds from a match to the block of its settlement, if that was resent."""


def in_transaction(
    transaction: str, fills: Sequence[Fill], *, matched_after_s: int = 0
) -> list[Fill]:
    return [
        replace(fill, transaction=transaction, matched_after_s=matched_after_s) for fill in fills
    ]


def socket_reports(fills: Sequence[Fill], choose: st.DataObject) -> list[SourceReport]:
    """A row of some of the fills, from either subscription."""
    reported = [fill for fill in fills if choose.draw(st.booleans())]
    return [
        socket_report(fill, choose.draw(st.sampled_from(KINDS)), as_text=choose.draw(st.booleans()))
        for fill in reported
    ]


def block_reports(fills: Sequence[Fill], *, mined_after_s: int) -> list[SourceReport]:
    """The chain's logs, also as they are after a reorg, and the Data API's page."""
    return [
        chain_report(fills, block=block, mined_after_s=mined_after_s) for block in (100, 101)
    ] + [data_api_report(fills, mined_after_s=mined_after_s)]


def copied_shares(ingest: Ingest, *transactions: str) -> dict[tuple[str, Side], int]:
    """Micro-shares that were copied of these transactions together, by token and side."""
    copied = {}
    for token in (YES, NO):
        for side in Side:
            trades = [
                trade_id(transaction_hash=each, leader=LEADER, token_id=token, side=side)
                for each in transactions
            ]
            copied[token, side] = sum(
                each.shares for trade in trades for each in ingest.copied_slices(trade)
            )
    slices = [
        each for trade in ingest.trades.slices_by_trade for each in ingest.copied_slices(trade)
    ]
    assert len(ingest.intents) == len(slices) * len(FOLLOWS)
    return {line: amount for line, amount in copied.items() if amount}


def traded_shares(fills: Sequence[Fill]) -> dict[tuple[str, Side], int]:
    sums: dict[tuple[str, Side], int] = {}
    for fill in fills:
        sums[fill.token_id, fill.side] = sums.get((fill.token_id, fill.side), 0) + fill.shares
    return sums


def doubled(amounts: dict[tuple[str, Side], int]) -> dict[tuple[str, Side], int]:
    return {line: 2 * amount for line, amount in amounts.items()}


ONE_FILL = [a_settled_fill()]
RESENT_REPORTS = [
    socket_report(in_transaction(FIRST_HASH, ONE_FILL)[0], "trades", as_text=False),
    socket_report(in_transaction(SECOND_HASH, ONE_FILL)[0], "trades", as_text=False),
    data_api_report(in_transaction(SECOND_HASH, ONE_FILL), mined_after_s=SETTLED_AFTER_S),
    chain_report(in_transaction(SECOND_HASH, ONE_FILL), block=100, mined_after_s=SETTLED_AFTER_S),
]
"""The socket reports the match under the transaction that fails, and perhaps under the other one
too."""
OTHER_SETTLED = chain_report(
    in_transaction(FIRST_HASH, ONE_FILL), block=102, mined_after_s=SETTLED_AFTER_S
)
"""The first transaction did not fail: the two are two trades."""


@pytest.mark.parametrize(
    "reports",
    [
        order
        for n in range(1, 5)
        for chosen in combinations(RESENT_REPORTS, n)
        for order in permutations(chosen)
    ],
)
async def test_a_resent_settlement_is_copied_once_for_every_subset_and_order_of_the_reports(
    reports: tuple[SourceReport, ...],
) -> None:
    ingest = Ingest()

    await ingest.receive([*reports, *reports])

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH) == traded_shares(ONE_FILL)


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_all_fills_of_a_resent_settlement_are_copied_once(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    """The venue sends a settlement again with the time of its match. With another time, only
    caution takes it for the same trade.
    """
    repeated_rows = choose.draw(st.sampled_from(RepeatedRows))
    latest = 0 if repeated_rows is RepeatedRows.SPEED else SETTLED_AFTER_S
    resent_at = choose.draw(st.integers(0, latest))
    socket_fills = in_transaction(FIRST_HASH, fills) + in_transaction(
        SECOND_HASH, fills, matched_after_s=resent_at
    )
    reports = socket_reports(socket_fills, choose) + block_reports(
        in_transaction(SECOND_HASH, fills), mined_after_s=SETTLED_AFTER_S
    )
    ingest = Ingest(repeated_rows=repeated_rows)

    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH) == traded_shares(fills)


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_without_the_chain_a_resent_settlement_is_never_copied_beyond_what_was_traded(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    reports = socket_reports(
        in_transaction(FIRST_HASH, fills) + in_transaction(SECOND_HASH, fills), choose
    )
    if choose.draw(st.booleans()):
        reports.append(
            data_api_report(in_transaction(SECOND_HASH, fills), mined_after_s=SETTLED_AFTER_S)
        )
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))

    assert all(
        amount <= traded_shares(fills)[line]
        for line, amount in copied_shares(ingest, FIRST_HASH, SECOND_HASH).items()
    )


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_two_equal_trades_are_both_copied_whichever_socket_rows_are_missing_or_late(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    apart_s = choose.draw(st.integers(0, 6))
    settlement_s = choose.draw(st.integers(1, SETTLED_AFTER_S))
    one = in_transaction(FIRST_HASH, fills)
    other = in_transaction(SECOND_HASH, fills, matched_after_s=apart_s)
    reports = (
        socket_reports(one + other, choose)
        + block_reports(one, mined_after_s=settlement_s)
        + block_reports(other, mined_after_s=apart_s + settlement_s)
    )
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))

    assert (
        copied_shares(ingest, FIRST_HASH)
        == copied_shares(ingest, SECOND_HASH)
        == traded_shares(fills)
    )


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_trade_beside_an_equal_resent_one_leads_to_two_copies_and_not_three(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    failed, resent, separate = (
        in_transaction(transaction, fills) for transaction in (FIRST_HASH, SECOND_HASH, THIRD_HASH)
    )
    reports = socket_reports(failed + resent + separate, choose)
    reports += block_reports(resent, mined_after_s=SETTLED_AFTER_S) + block_reports(
        separate, mined_after_s=choose.draw(st.integers(1, SETTLED_AFTER_S))
    )
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH, THIRD_HASH) == doubled(
        traded_shares(fills)
    )


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_fixed_amount_is_paid_once_per_trade_also_if_its_settlement_is_resent(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    """Whether the first transaction is in a block too, and so another trade, or has failed. The
    socket reports the first one, or some of its fills.
    """
    are_two = choose.draw(st.booleans())
    one, other = in_transaction(FIRST_HASH, fills), in_transaction(SECOND_HASH, fills)
    reports = socket_reports(one, choose) + block_reports(other, mined_after_s=5)
    if are_two:
        reports += block_reports(one, mined_after_s=4)
    follow = a_follow(percent=None, fixed_usdc=usdc(25), min_usdc=0)
    ingest = Ingest(follows=[follow])

    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))

    paid: dict[str, int] = {}
    for intent in ingest.intents.values():
        if intent.side is Side.BUY:
            paid[intent.token_id] = paid.get(intent.token_id, 0) + intent.usdc
    bought = {fill.token_id for fill in fills if fill.side is Side.BUY}
    assert paid == dict.fromkeys(bought, usdc(50 if are_two else 25))


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_replay_of_any_prefix_changes_nothing(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    failed, resent, separate = (
        in_transaction(transaction, fills) for transaction in (FIRST_HASH, SECOND_HASH, THIRD_HASH)
    )
    reports = (
        socket_reports(failed + resent + separate, choose)
        + block_reports(resent, mined_after_s=SETTLED_AFTER_S)
        + block_reports(separate, mined_after_s=3)
    )
    ingest = Ingest()
    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))
    before = deepcopy((ingest.trades.rows_by_trade, ingest.trades.slices_by_trade, ingest.intents))

    await ingest.replay(choose.draw(st.integers(0, len(ingest.topic))))

    assert (ingest.trades.rows_by_trade, ingest.trades.slices_by_trade, ingest.intents) == before


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_crash_after_the_commit_of_any_message_loses_and_repeats_nothing(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    one, other = in_transaction(FIRST_HASH, fills), in_transaction(SECOND_HASH, fills)
    reports = (
        socket_reports(one + other, choose)
        + block_reports(one, mined_after_s=4)
        + block_reports(other, mined_after_s=5)
    )
    crashes = Random(choose.draw(st.integers()))
    ingest = Ingest(crashes=lambda: crashes.random() < 0.5)

    await ingest.receive(shuffled_with_repeats(reports, choose, shuffle))

    assert (
        copied_shares(ingest, FIRST_HASH)
        == copied_shares(ingest, SECOND_HASH)
        == traded_shares(fills)
    )


async def test_a_socket_row_that_cannot_be_a_resent_settlement_is_copied_at_once() -> None:
    """Its shares differ from those of the earlier trade, or its match is after that one's block."""
    ingest, apart_s = Ingest(), SETTLED_AFTER_S + CLOCK_TOLERANCE.seconds + 1
    first, other, later = (
        a_settled_fill(),
        replace(a_settled_fill(size=11), transaction=SECOND_HASH),
        replace(a_settled_fill(), transaction=THIRD_HASH, matched_after_s=apart_s),
    )

    await ingest.receive(
        [
            socket_report(first, "trades", as_text=False),
            socket_report(other, "trades", as_text=False),
        ]
    )
    assert copied_shares(ingest, first.transaction, SECOND_HASH) == traded_shares([first, other])
    await ingest.receive(
        [
            chain_report([first], block=100, mined_after_s=SETTLED_AFTER_S),
            socket_report(later, "trades", as_text=False),
        ]
    )

    assert copied_shares(ingest, THIRD_HASH) == traded_shares([later])


@pytest.mark.parametrize(
    ("repeated_rows", "apart_s"),
    [(RepeatedRows.SPEED, 0), (RepeatedRows.CAUTION, 0), (RepeatedRows.CAUTION, 1)],
)
async def test_an_equal_row_that_may_be_the_same_match_awaits_confirmation(
    repeated_rows: RepeatedRows, apart_s: int
) -> None:
    ingest = Ingest(repeated_rows=repeated_rows)
    one = in_transaction(FIRST_HASH, ONE_FILL)
    other = in_transaction(SECOND_HASH, ONE_FILL, matched_after_s=apart_s)

    await ingest.receive(
        [
            socket_report(one[0], "trades", as_text=False),
            socket_report(other[0], "trades", as_text=False),
        ]
    )
    assert (copied_shares(ingest, FIRST_HASH), copied_shares(ingest, SECOND_HASH)) == (
        traded_shares(ONE_FILL),
        {},
    )
    await ingest.receive([data_api_report(one, mined_after_s=3)])
    assert copied_shares(ingest, SECOND_HASH) == {}
    await ingest.receive([data_api_report(other, mined_after_s=3)])

    assert copied_shares(ingest, SECOND_HASH) == traded_shares(ONE_FILL)


@pytest.mark.parametrize("confirmed", [False, True])
async def test_an_equal_row_of_a_later_second_is_copied_at_once(*, confirmed: bool) -> None:
    """Whether the trade of the first row is in a block already or not."""
    ingest, one = Ingest(), in_transaction(FIRST_HASH, ONE_FILL)
    later = in_transaction(SECOND_HASH, ONE_FILL, matched_after_s=1)

    await ingest.receive([socket_report(one[0], "trades", as_text=False)])
    if confirmed:
        await ingest.receive([chain_report(one, block=100, mined_after_s=2)])
    await ingest.receive([socket_report(later[0], "trades", as_text=False)])

    assert copied_shares(ingest, SECOND_HASH) == traded_shares(ONE_FILL)


async def test_of_ten_equal_trades_three_a_second_those_of_a_new_second_do_not_wait() -> None:
    """What waits is copied with its own block: all ten in the end, each once."""
    ingest = Ingest()
    trades = [
        in_transaction(f"0x{number:064x}", ONE_FILL, matched_after_s=3 * number // 10)
        for number in range(10)
    ]

    await ingest.receive([socket_report(fills[0], "trades", as_text=False) for fills in trades])
    at_once = [fills for fills in trades if copied_shares(ingest, fills[0].transaction)]
    await ingest.receive(
        [
            chain_report(fills, block=100 + number, mined_after_s=5)
            for number, fills in enumerate(trades)
        ]
    )

    assert [fills[0].matched_after_s for fills in at_once] == [0, 1, 2]
    assert [copied_shares(ingest, fills[0].transaction) for fills in trades] == [
        traded_shares(ONE_FILL)
    ] * 10


async def test_a_row_of_a_later_second_waits_beside_a_trade_that_the_socket_missed() -> None:
    ingest, one = Ingest(), in_transaction(FIRST_HASH, ONE_FILL)
    later = in_transaction(SECOND_HASH, ONE_FILL, matched_after_s=1)

    await ingest.receive(
        [
            chain_report(one, block=100, mined_after_s=2),
            socket_report(later[0], "trades", as_text=False),
        ]
    )

    assert copied_shares(ingest, SECOND_HASH) == {}


@pytest.mark.parametrize(("late_s", "copies"), [(0, 1), (1, 2)])
async def test_copies_of_a_failed_trade_count_for_an_equal_one_within_ten_minutes(
    late_s: int, copies: int
) -> None:
    """The socket reported the trade, and its settlement failed for good: its copies remain."""
    ingest, settled_s = Ingest(), RESENT_WITHIN.seconds + late_s
    failed, settled = in_transaction(FIRST_HASH, ONE_FILL), in_transaction(SECOND_HASH, ONE_FILL)

    await ingest.receive(
        [
            socket_report(failed[0], "trades", as_text=False),
            chain_report(settled, block=100, mined_after_s=settled_s),
        ]
    )

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH) == {
        line: copies * amount for line, amount in traded_shares(ONE_FILL).items()
    }


async def test_of_a_larger_confirmed_trade_the_difference_is_copied() -> None:
    ingest, reported, confirmed = (
        Ingest(),
        a_settled_fill(size=10),
        replace(a_settled_fill(size=15), transaction=SECOND_HASH),
    )

    await ingest.receive(
        [socket_report(reported, "trades", as_text=False), chain_report([confirmed], block=100)]
    )

    assert copied_shares(ingest, reported.transaction, SECOND_HASH) == traded_shares([confirmed])


async def test_trades_of_another_token_or_side_are_no_resent_settlements() -> None:
    ingest, reported = Ingest(), a_settled_fill()
    others = [
        replace(reported, transaction=SECOND_HASH, token_id=NO),
        replace(reported, transaction=THIRD_HASH, side=Side.SELL),
    ]

    await ingest.receive(
        [
            socket_report(reported, "trades", as_text=False),
            *(chain_report([other], block=100) for other in others),
        ]
    )

    assert copied_shares(ingest, reported.transaction, SECOND_HASH, THIRD_HASH) == traded_shares(
        [reported, *others]
    )


def counted(start: CopyStart) -> int:
    """Slices of leaders' trades of which this process has counted copies."""
    name = "slipstream_leader_trades_copied_total"
    return int(REGISTRY.get_sample_value(name, {"start": start}) or 0)


@pytest.mark.parametrize(
    ("reports", "at_once", "waited"),
    [
        ([RESENT_REPORTS[0]] * 2, 1, 0),
        ([RESENT_REPORTS[3], RESENT_REPORTS[2]], 1, 0),
        (RESENT_REPORTS, 1, 0),
        ([*RESENT_REPORTS[1::-1], RESENT_REPORTS[3], OTHER_SETTLED], 1, 1),
        ([RESENT_REPORTS[0], RESENT_REPORTS[2], OTHER_SETTLED], 1, 1),
    ],
    ids=["repeated", "confirmed first", "resent", "awaited confirmation", "taken for resent"],
)
async def test_what_is_copied_is_counted_once_by_whether_it_waited(
    reports: list[SourceReport], at_once: int, waited: int
) -> None:
    before = counted(CopyStart.AT_ONCE), counted(CopyStart.WAITED)

    await Ingest().receive(reports)

    assert (counted(CopyStart.AT_ONCE), counted(CopyStart.WAITED)) == (
        before[0] + at_once,
        before[1] + waited,
    )
