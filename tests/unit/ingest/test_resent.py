"""A settlement that fails and is sent again under another transaction is one trade; two trades that
look alike are two.

What both have in common: the socket tells of a match before it is settled, so that its row may name
a transaction that never gets into a block. Here every source tells in every order, as often as it
likes, and from its raw bytes on.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.decisions import CLOCK_TOLERANCE, RESENT_WITHIN
from shared.domain.ids import trade_id
from shared.domain.money import Side
from tests.builders import LEADER
from tests.unit.ingest.source_reports import (
    NO,
    YES,
    Fill,
    SourceReport,
    data_api_report,
    chain_report,
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
"""Transactions."""
SETTLED_AFTER_S = 8
"""Seconds from a match to the block of its settlement, where that was sent again."""


def in_transaction(
    transaction: str, fills: Sequence[Fill], *, matched_after_s: int = 0
) -> list[Fill]:
    return [replace(fill, transaction=transaction, matched_after_s=matched_after_s) for fill in fills]


def socket_reports(fills: Sequence[Fill], choose: st.DataObject) -> list[SourceReport]:
    """Any of the rows, by either subscription."""
    some = [fill for fill in fills if choose.draw(st.booleans())]
    return [
        socket_report(fill, choose.draw(st.sampled_from(KINDS)), as_text=choose.draw(st.booleans()))
        for fill in some
    ]


def block_reports(fills: Sequence[Fill], *, mined_after_s: int) -> list[SourceReport]:
    """By the chain, also after a reorg, and by the Data API."""
    return [
        chain_report(fills, block=block, mined_after_s=mined_after_s) for block in (100, 101)
    ] + [data_api_report(fills, mined_after_s=mined_after_s)]


def copied_shares(ingest: Ingest, *transactions: str) -> dict[tuple[str, Side], int]:
    """Micro-shares of each token and side, of these trades together; each part has an intent for
    each follower.
    """
    found = {}
    for token in (YES, NO):
        for side in Side:
            trades = [
                trade_id(transaction_hash=each, leader=LEADER, token_id=token, side=side)
                for each in transactions
            ]
            found[token, side] = sum(
                part.shares for trade in trades for part in ingest.copied_slices(trade)
            )
    parts = [
        part for trade in ingest.trades.slices_by_trade for part in ingest.copied_slices(trade)
    ]
    assert len(ingest.intents) == len(parts) * len(FOLLOWS)
    return {line: amount for line, amount in found.items() if amount}


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
"""The socket tells the match under the transaction that fails, and perhaps under the other one too.
"""


@pytest.mark.parametrize(
    "told",
    [
        order
        for n in range(1, 5)
        for chosen in combinations(RESENT_REPORTS, n)
        for order in permutations(chosen)
    ],
)
async def test_a_settlement_that_is_sent_again_is_copied_once_by_any_of_the_sources_in_every_order(
    told: tuple[SourceReport, ...],
) -> None:
    ingest = Ingest()

    await ingest.receive([*told, *told])

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH) == traded_shares(ONE_FILL)


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_whatever_is_in_a_settlement_that_is_sent_again_is_copied_once(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    retold_at = choose.draw(st.integers(0, SETTLED_AFTER_S))
    on_sockets = in_transaction(FIRST_HASH, fills) + in_transaction(
        SECOND_HASH, fills, matched_after_s=retold_at
    )
    told = socket_reports(on_sockets, choose) + block_reports(
        in_transaction(SECOND_HASH, fills), mined_after_s=SETTLED_AFTER_S
    )
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(told, choose, shuffle))

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH) == traded_shares(fills)


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_without_a_word_from_the_chain_it_is_never_copied_beyond_what_was_traded(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    told = socket_reports(
        in_transaction(FIRST_HASH, fills) + in_transaction(SECOND_HASH, fills), choose
    )
    if choose.draw(st.booleans()):
        told.append(
            data_api_report(in_transaction(SECOND_HASH, fills), mined_after_s=SETTLED_AFTER_S)
        )
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(told, choose, shuffle))

    assert all(
        amount <= traded_shares(fills)[line]
        for line, amount in copied_shares(ingest, FIRST_HASH, SECOND_HASH).items()
    )


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_two_equal_trades_within_seconds_are_both_copied_in_the_end_whichever_rows_of_the_socket_are_missing_or_late(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    apart, takes = choose.draw(st.integers(0, 6)), choose.draw(st.integers(1, SETTLED_AFTER_S))
    one, other = (
        in_transaction(FIRST_HASH, fills),
        in_transaction(SECOND_HASH, fills, matched_after_s=apart),
    )
    told = (
        socket_reports(one + other, choose)
        + block_reports(one, mined_after_s=takes)
        + block_reports(other, mined_after_s=apart + takes)
    )
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(told, choose, shuffle))

    assert (
        copied_shares(ingest, FIRST_HASH)
        == copied_shares(ingest, SECOND_HASH)
        == traded_shares(fills)
    )


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_trade_beside_an_equal_one_that_is_sent_again_makes_two_copies_and_not_three(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    failed, again, real = (
        in_transaction(transaction, fills) for transaction in (FIRST_HASH, SECOND_HASH, THIRD_HASH)
    )
    told = socket_reports(failed + again + real, choose)
    told += block_reports(again, mined_after_s=SETTLED_AFTER_S) + block_reports(
        real, mined_after_s=choose.draw(st.integers(1, SETTLED_AFTER_S))
    )
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(told, choose, shuffle))

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH, THIRD_HASH) == doubled(
        traded_shares(fills)
    )


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_replaying_any_prefix_changes_nothing(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    failed, again, real = (
        in_transaction(transaction, fills) for transaction in (FIRST_HASH, SECOND_HASH, THIRD_HASH)
    )
    told = (
        socket_reports(failed + again + real, choose)
        + block_reports(again, mined_after_s=SETTLED_AFTER_S)
        + block_reports(real, mined_after_s=3)
    )
    ingest = Ingest()
    await ingest.receive(shuffled_with_repeats(told, choose, shuffle))
    before = deepcopy((ingest.trades.rows_by_trade, ingest.trades.slices_by_trade, ingest.intents))

    await ingest.replay(choose.draw(st.integers(0, len(ingest.topic))))

    assert (ingest.trades.rows_by_trade, ingest.trades.slices_by_trade, ingest.intents) == before


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_crash_after_the_commit_of_any_message_loses_and_doubles_nothing(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    one, other = in_transaction(FIRST_HASH, fills), in_transaction(SECOND_HASH, fills)
    told = (
        socket_reports(one + other, choose)
        + block_reports(one, mined_after_s=4)
        + block_reports(other, mined_after_s=5)
    )
    dice = Random(choose.draw(st.integers()))
    ingest = Ingest(crashes=lambda: dice.random() < 0.5)

    await ingest.receive(shuffled_with_repeats(told, choose, shuffle))

    assert (
        copied_shares(ingest, FIRST_HASH)
        == copied_shares(ingest, SECOND_HASH)
        == traded_shares(fills)
    )


async def test_a_trade_of_other_shares_or_after_the_block_of_an_equal_one_is_copied_on_the_sockets_word_at_once() -> (
    None
):
    """Who trades without doubt waits for nothing."""
    ingest, apart = Ingest(), SETTLED_AFTER_S + CLOCK_TOLERANCE.seconds + 1
    first, other, later = (
        a_settled_fill(),
        replace(a_settled_fill(size=11), transaction=SECOND_HASH),
        replace(a_settled_fill(), transaction=THIRD_HASH, matched_after_s=apart),
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


async def test_an_equal_trade_that_comes_before_the_block_of_the_first_waits_for_its_own_and_not_for_the_other() -> (
    None
):
    ingest, one, other = (
        Ingest(),
        in_transaction(FIRST_HASH, ONE_FILL),
        in_transaction(SECOND_HASH, ONE_FILL, matched_after_s=1),
    )

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


@pytest.mark.parametrize(("late_by", "copies"), [(0, 1), (1, 2)])
async def test_what_was_copied_of_a_trade_that_failed_counts_for_the_next_one_of_ten_minutes(
    late_by: int, copies: int
) -> None:
    """A ghost: the socket told it, and its settlement failed for good. Its copies stand, and the
    leader's next trade finds them.
    """
    ingest, soon = Ingest(), RESENT_WITHIN.seconds + late_by
    ghost, real = in_transaction(FIRST_HASH, ONE_FILL), in_transaction(SECOND_HASH, ONE_FILL)

    await ingest.receive(
        [
            socket_report(ghost[0], "trades", as_text=False),
            chain_report(real, block=100, mined_after_s=soon),
        ]
    )

    assert copied_shares(ingest, FIRST_HASH, SECOND_HASH) == {
        line: copies * amount for line, amount in traded_shares(ONE_FILL).items()
    }


async def test_of_a_larger_trade_the_difference_is_copied() -> None:
    ingest, told, proven = (
        Ingest(),
        a_settled_fill(size=10),
        replace(a_settled_fill(size=15), transaction=SECOND_HASH),
    )

    await ingest.receive(
        [socket_report(told, "trades", as_text=False), chain_report([proven], block=100)]
    )

    assert copied_shares(ingest, told.transaction, SECOND_HASH) == traded_shares([proven])


async def test_trades_of_another_token_or_side_are_nobodys_continuation() -> None:
    ingest, told = Ingest(), a_settled_fill()
    others = [
        replace(told, transaction=SECOND_HASH, token_id=NO),
        replace(told, transaction=THIRD_HASH, side=Side.SELL),
    ]

    await ingest.receive(
        [
            socket_report(told, "trades", as_text=False),
            *(chain_report([other], block=100) for other in others),
        ]
    )

    assert copied_shares(ingest, told.transaction, SECOND_HASH, THIRD_HASH) == traded_shares(
        [told, *others]
    )
