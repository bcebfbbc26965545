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

from services.ingest.decisions import CLOCKS_DIFFER, RESENT_WITHIN
from shared.domain.ids import trade_id
from shared.domain.money import Side
from tests.builders import LEADER
from tests.unit.ingest.sightings import (
    NO,
    YES,
    Fill,
    Sighting,
    by_the_data_api,
    on_the_chain,
    on_the_socket,
)
from tests.unit.ingest.test_identity import FILLS, FOLLOWS, KINDS, Ingest, a_whole_fill, drawn

FIRST, SECOND, THIRD = (f"0x{digit * 64}" for digit in "123")
"""Transactions."""
SETTLED_AFTER = 8
"""Seconds from a match to the block of its settlement, where that was sent again."""


def settled_by(transaction: str, fills: Sequence[Fill], *, matched: int = 0) -> list[Fill]:
    return [replace(fill, transaction=transaction, matched=matched) for fill in fills]


def told_by_the_socket(fills: Sequence[Fill], choose: st.DataObject) -> list[Sighting]:
    """Any of the rows, by either subscription."""
    some = [fill for fill in fills if choose.draw(st.booleans())]
    return [
        on_the_socket(fill, choose.draw(st.sampled_from(KINDS)), as_text=choose.draw(st.booleans()))
        for fill in some
    ]


def told_by_a_block(fills: Sequence[Fill], *, mined: int) -> list[Sighting]:
    """By the chain, also after a reorg, and by the Data API."""
    return [on_the_chain(fills, block=block, mined=mined) for block in (100, 101)] + [
        by_the_data_api(fills, mined=mined)
    ]


def copied(ingest: Ingest, *transactions: str) -> dict[tuple[str, Side], int]:
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
                part.shares for trade in trades for part in ingest.parts(trade)
            )
    parts = [part for trade in ingest.books.parts for part in ingest.parts(trade)]
    assert len(ingest.intents) == len(parts) * len(FOLLOWS)
    return {line: amount for line, amount in found.items() if amount}


def traded(fills: Sequence[Fill]) -> dict[tuple[str, Side], int]:
    sums: dict[tuple[str, Side], int] = {}
    for fill in fills:
        sums[fill.token_id, fill.side] = sums.get((fill.token_id, fill.side), 0) + fill.shares
    return sums


def doubled(amounts: dict[tuple[str, Side], int]) -> dict[tuple[str, Side], int]:
    return {line: 2 * amount for line, amount in amounts.items()}


ONE_FILL = [a_whole_fill()]
SENT_AGAIN = [
    on_the_socket(settled_by(FIRST, ONE_FILL)[0], "trades", as_text=False),
    on_the_socket(settled_by(SECOND, ONE_FILL)[0], "trades", as_text=False),
    by_the_data_api(settled_by(SECOND, ONE_FILL), mined=SETTLED_AFTER),
    on_the_chain(settled_by(SECOND, ONE_FILL), block=100, mined=SETTLED_AFTER),
]
"""The socket tells the match under the transaction that fails, and perhaps under the other one too.
"""


@pytest.mark.parametrize(
    "told",
    [
        order
        for n in range(1, 5)
        for chosen in combinations(SENT_AGAIN, n)
        for order in permutations(chosen)
    ],
)
async def test_a_settlement_that_is_sent_again_is_copied_once_by_any_of_the_sources_in_every_order(
    told: tuple[Sighting, ...],
) -> None:
    ingest = Ingest()

    await ingest.hears([*told, *told])

    assert copied(ingest, FIRST, SECOND) == traded(ONE_FILL)


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_whatever_is_in_a_settlement_that_is_sent_again_is_copied_once(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    retold_at = choose.draw(st.integers(0, SETTLED_AFTER))
    on_sockets = settled_by(FIRST, fills) + settled_by(SECOND, fills, matched=retold_at)
    told = told_by_the_socket(on_sockets, choose) + told_by_a_block(
        settled_by(SECOND, fills), mined=SETTLED_AFTER
    )
    ingest = Ingest()

    await ingest.hears(drawn(told, choose, shuffle))

    assert copied(ingest, FIRST, SECOND) == traded(fills)


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_without_a_word_from_the_chain_it_is_never_copied_beyond_what_was_traded(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    told = told_by_the_socket(settled_by(FIRST, fills) + settled_by(SECOND, fills), choose)
    if choose.draw(st.booleans()):
        told.append(by_the_data_api(settled_by(SECOND, fills), mined=SETTLED_AFTER))
    ingest = Ingest()

    await ingest.hears(drawn(told, choose, shuffle))

    assert all(
        amount <= traded(fills)[line] for line, amount in copied(ingest, FIRST, SECOND).items()
    )


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_two_equal_trades_within_seconds_are_both_copied_in_the_end_whichever_rows_of_the_socket_are_missing_or_late(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    apart, takes = choose.draw(st.integers(0, 6)), choose.draw(st.integers(1, SETTLED_AFTER))
    one, other = settled_by(FIRST, fills), settled_by(SECOND, fills, matched=apart)
    told = (
        told_by_the_socket(one + other, choose)
        + told_by_a_block(one, mined=takes)
        + told_by_a_block(other, mined=apart + takes)
    )
    ingest = Ingest()

    await ingest.hears(drawn(told, choose, shuffle))

    assert copied(ingest, FIRST) == copied(ingest, SECOND) == traded(fills)


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_trade_beside_an_equal_one_that_is_sent_again_makes_two_copies_and_not_three(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    failed, again, real = (settled_by(transaction, fills) for transaction in (FIRST, SECOND, THIRD))
    told = told_by_the_socket(failed + again + real, choose)
    told += told_by_a_block(again, mined=SETTLED_AFTER) + told_by_a_block(
        real, mined=choose.draw(st.integers(1, SETTLED_AFTER))
    )
    ingest = Ingest()

    await ingest.hears(drawn(told, choose, shuffle))

    assert copied(ingest, FIRST, SECOND, THIRD) == doubled(traded(fills))


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_replaying_any_prefix_changes_nothing(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    failed, again, real = (settled_by(transaction, fills) for transaction in (FIRST, SECOND, THIRD))
    told = (
        told_by_the_socket(failed + again + real, choose)
        + told_by_a_block(again, mined=SETTLED_AFTER)
        + told_by_a_block(real, mined=3)
    )
    ingest = Ingest()
    await ingest.hears(drawn(told, choose, shuffle))
    before = deepcopy((ingest.books.rows, ingest.books.parts, ingest.intents))

    await ingest.replays(choose.draw(st.integers(0, len(ingest.topic))))

    assert (ingest.books.rows, ingest.books.parts, ingest.intents) == before


@settings(deadline=None)
@given(fills=FILLS, choose=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_crash_after_the_commit_of_any_message_loses_and_doubles_nothing(
    fills: list[Fill], choose: st.DataObject, shuffle: Random
) -> None:
    one, other = settled_by(FIRST, fills), settled_by(SECOND, fills)
    told = (
        told_by_the_socket(one + other, choose)
        + told_by_a_block(one, mined=4)
        + told_by_a_block(other, mined=5)
    )
    dice = Random(choose.draw(st.integers()))
    ingest = Ingest(crashes=lambda: dice.random() < 0.5)

    await ingest.hears(drawn(told, choose, shuffle))

    assert copied(ingest, FIRST) == copied(ingest, SECOND) == traded(fills)


async def test_a_trade_of_other_shares_or_after_the_block_of_an_equal_one_is_copied_on_the_sockets_word_at_once() -> (
    None
):
    """Who trades without doubt waits for nothing."""
    ingest, apart = Ingest(), SETTLED_AFTER + CLOCKS_DIFFER.seconds + 1
    first, other, later = (
        a_whole_fill(),
        replace(a_whole_fill(size=11), transaction=SECOND),
        replace(a_whole_fill(), transaction=THIRD, matched=apart),
    )

    await ingest.hears(
        [
            on_the_socket(first, "trades", as_text=False),
            on_the_socket(other, "trades", as_text=False),
        ]
    )
    assert copied(ingest, first.transaction, SECOND) == traded([first, other])
    await ingest.hears(
        [
            on_the_chain([first], block=100, mined=SETTLED_AFTER),
            on_the_socket(later, "trades", as_text=False),
        ]
    )

    assert copied(ingest, THIRD) == traded([later])


async def test_an_equal_trade_that_comes_before_the_block_of_the_first_waits_for_its_own_and_not_for_the_other() -> (
    None
):
    ingest, one, other = (
        Ingest(),
        settled_by(FIRST, ONE_FILL),
        settled_by(SECOND, ONE_FILL, matched=1),
    )

    await ingest.hears(
        [
            on_the_socket(one[0], "trades", as_text=False),
            on_the_socket(other[0], "trades", as_text=False),
        ]
    )
    assert (copied(ingest, FIRST), copied(ingest, SECOND)) == (traded(ONE_FILL), {})
    await ingest.hears([by_the_data_api(one, mined=3)])
    assert copied(ingest, SECOND) == {}
    await ingest.hears([by_the_data_api(other, mined=3)])

    assert copied(ingest, SECOND) == traded(ONE_FILL)


@pytest.mark.parametrize(("late_by", "copies"), [(0, 1), (1, 2)])
async def test_what_was_copied_of_a_trade_that_failed_counts_for_the_next_one_of_ten_minutes(
    late_by: int, copies: int
) -> None:
    """A ghost: the socket told it, and its settlement failed for good. Its copies stand, and the
    leader's next trade finds them.
    """
    ingest, soon = Ingest(), RESENT_WITHIN.seconds + late_by
    ghost, real = settled_by(FIRST, ONE_FILL), settled_by(SECOND, ONE_FILL)

    await ingest.hears(
        [
            on_the_socket(ghost[0], "trades", as_text=False),
            on_the_chain(real, block=100, mined=soon),
        ]
    )

    assert copied(ingest, FIRST, SECOND) == {
        line: copies * amount for line, amount in traded(ONE_FILL).items()
    }


async def test_of_a_larger_trade_the_difference_is_copied() -> None:
    ingest, told, proven = (
        Ingest(),
        a_whole_fill(size=10),
        replace(a_whole_fill(size=15), transaction=SECOND),
    )

    await ingest.hears(
        [on_the_socket(told, "trades", as_text=False), on_the_chain([proven], block=100)]
    )

    assert copied(ingest, told.transaction, SECOND) == traded([proven])


async def test_trades_of_another_token_or_side_are_nobodys_continuation() -> None:
    ingest, told = Ingest(), a_whole_fill()
    others = [
        replace(told, transaction=SECOND, token_id=NO),
        replace(told, transaction=THIRD, side=Side.SELL),
    ]

    await ingest.hears(
        [
            on_the_socket(told, "trades", as_text=False),
            *(on_the_chain([other], block=100) for other in others),
        ]
    )

    assert copied(ingest, told.transaction, SECOND, THIRD) == traded([told, *others])
