"""What nodes show together: the node that shows least decides what is final."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tx_monitor.decisions.policy import GWEI
from services.tx_monitor.decisions.transfers import Seen
from services.tx_monitor.decisions.views import (
    NodeView,
    list_concerns,
    list_delays,
    list_disputes,
    merge_views,
)
from shared.domain.errors import Transient
from tests.unit.tx_monitor.transfer_facts import (
    HEAD,
    POLICY,
    SECOND,
    START,
    build_block,
    build_receipt,
    build_view,
    name_hash,
)

TX = name_hash(0xABC)
OTHER_FORK = build_block(HEAD - 4, 1)


def merge(*views: NodeView, asked: int | None = None) -> Seen:
    return merge_views(views, asked=asked or len(views), now=START, policy=POLICY)


def find_concerns(*views: NodeView, asked: int | None = None) -> tuple[str, ...]:
    return list_concerns(views, asked=asked or len(views), now=START, policy=POLICY)


def test_one_node_is_shown_as_it_is() -> None:
    receipt = build_receipt(TX, build_block(98))
    view = build_view(
        receipts={TX: receipt, name_hash(1): None}, blocks={98: receipt.block_hash, 120: None}
    )

    seen = merge(view)

    assert (seen.head, seen.finalized) == (view.head, view.finalized)
    assert (seen.nonce, seen.final_nonce, seen.gas_balance) == (7, 7, 10**19)
    assert (seen.base_fee, seen.suggested.max_fee) == (50 * GWEI, 130 * GWEI)
    assert seen.receipts == {TX: receipt}
    assert seen.without_receipt == {name_hash(1)}
    assert seen.canonical == {n: build_block(n).hash for n in (96, 98, 100)}
    assert seen.pooled == {TX}
    assert seen.is_complete
    assert seen.finality_lag == 8 * SECOND
    assert find_concerns(view) == ()


def test_without_an_answer_there_is_nothing_to_decide_by() -> None:
    with pytest.raises(Transient, match="none of 2 chain nodes answered"):
        merge(asked=2)

    assert find_concerns(asked=2) == ("2 of 2 chain nodes did not answer",)


def test_a_node_that_is_behind_counts_for_nothing() -> None:
    behind = build_view(
        "b",
        head=build_block(90, 1, age=11 * SECOND),
        finalized=build_block(80, 1),
        nonce=9,
        gas_balance=0,
        base_fee=900 * GWEI,
        receipts={TX: build_receipt(TX, build_block(90, 1))},
        pooled=frozenset({TX}),
    )
    current = build_view(receipts={TX: None})

    seen = merge(current, behind)

    assert seen == merge(current, asked=2)
    assert find_concerns(current, behind) == ("node b is behind: its head is block 90",)


def test_a_node_that_is_a_little_behind_counts() -> None:
    a_little = build_view("b", head=build_block(96, age=10 * SECOND), nonce=8, gas_balance=5)

    seen = merge(build_view(), a_little)

    assert (seen.head.number, seen.nonce, seen.gas_balance) == (HEAD, 8, 5)
    assert find_concerns(build_view(), a_little) == ()


def test_the_lowest_finalized_block_and_final_nonce_count() -> None:
    ahead = build_view("b", finalized=build_block(99), final_nonce=8)

    seen = merge(ahead, build_view())

    assert seen.finalized is not None
    assert (seen.finalized.number, seen.final_nonce) == (96, 7)


def test_the_stale_finalized_block_of_one_node_delays_and_is_a_concern() -> None:
    """Invariant I15."""
    stale = build_view("b", finalized=build_block(40, age=75 * SECOND))

    seen = merge(build_view(), stale)

    assert seen.finalized == stale.finalized
    assert seen.finality_lag == 75 * SECOND
    assert find_concerns(build_view(), stale) == (
        "the finalized block of node b is 75 seconds old",
    )


@pytest.mark.parametrize("finalized", [None, build_block(HEAD + 1)])
def test_a_node_without_a_possible_finalized_block_is_passed_over(finalized: Any) -> None:
    """One above its head is none: head and finalized block are of different nodes."""
    silent = build_view("b", finalized=finalized, final_nonce=None)

    assert merge(build_view(), silent).finalized == build_view().finalized
    assert merge(build_view(), silent).final_nonce == 7
    assert merge(silent).finalized is None
    assert merge(silent).final_nonce is None
    assert merge(silent).finality_lag == timedelta.max
    assert find_concerns(silent) == ("no node names a finalized block",)


def test_a_final_nonce_that_could_not_be_read_is_not_known() -> None:
    assert merge(build_view(), build_view("b", final_nonce=None)).final_nonce is None


@pytest.mark.parametrize(
    "contradiction",
    [
        {"finalized": OTHER_FORK},
        {"finalized": None, "blocks": {96: OTHER_FORK.hash}},
        {"finalized": build_block(90), "blocks": {96: OTHER_FORK.hash}},
        {"finalized": build_block(90), "blocks": {89: build_block(89, 1).hash}},
    ],
)
def test_nothing_is_final_while_nodes_contradict_one_another(contradiction: Any) -> None:
    view = build_view(blocks={89: build_block(89).hash})
    other = build_view("b", **contradiction)

    assert merge(view, other).finalized is None
    assert merge(other, view).finalized is None
    assert any("contradict one another about block" in each for each in find_concerns(view, other))


def test_nodes_with_different_heads_do_not_contradict_what_is_final() -> None:
    """Above the finalized block reorgs are ordinary; only what they agree on is canonical."""
    other = build_view("b", head=build_block(HEAD, 1))

    seen = merge(build_view(), other)

    assert seen.finalized == build_view().finalized
    assert seen.canonical == {96: build_block(96).hash}
    assert find_concerns(build_view(), other) == ()


def test_a_block_that_one_node_does_not_have_yet_is_canonical_by_the_others() -> None:
    ahead = build_view(blocks={99: name_hash(5)})
    short = build_view("b", head=build_block(98), blocks={99: None})

    assert merge(ahead, short).canonical[99] == name_hash(5)


def test_a_block_that_a_node_has_and_did_not_show_is_not_canonical() -> None:
    """It was not asked for it, or refused to answer."""
    shown, silent = build_view(blocks={97: name_hash(5)}), build_view("b", blocks={})

    assert 97 not in merge(shown, silent).canonical
    assert merge(shown).canonical[97] == name_hash(5)


def test_a_receipt_that_another_node_denies_of_a_final_block_is_disputed() -> None:
    receipt = build_receipt(TX, build_block(95))
    blocks = {95: build_block(95).hash}
    shows = build_view(receipts={TX: receipt}, blocks=blocks)
    denies = build_view("b", receipts={TX: None}, blocks=blocks)
    is_late = replace(denies, finalized=build_block(94))

    assert (merge(shows, denies).receipts, 95 in merge(shows, denies).canonical) == ({}, False)
    assert merge(shows, is_late).receipts == {TX: receipt}
    assert any("about the receipt" in each for each in find_concerns(shows, denies))


@pytest.mark.parametrize("age", [-11, -3_600])
def test_a_head_of_the_future_makes_no_other_node_late(age: int) -> None:
    """One faulty node would decide alone."""
    liar = build_view(
        "b",
        head=build_block(102, 1, age=age * SECOND),
        finalized=build_block(98, 1, age=age * SECOND),
        receipts={TX: build_receipt(TX, build_block(95, 1))},
        blocks={95: build_block(95, 1).hash},
    )
    right = build_view(receipts={TX: None}, blocks={95: build_block(95).hash})

    seen = merge(right, liar)

    assert (seen.finalized, 95 in seen.canonical, seen.receipts) == (None, False, {})
    assert any("about block 95" in each for each in find_concerns(right, liar))


def test_nodes_of_a_chain_whose_clock_is_ahead_are_all_current() -> None:
    ahead = -3_600 * SECOND
    views = [
        build_view(name, head=build_block(HEAD, age=ahead), finalized=build_block(96, age=ahead))
        for name in "ab"
    ]

    assert merge(*views).finalized == views[0].finalized
    assert find_concerns(*views) == ()


def test_a_node_that_is_behind_still_contradicts_what_is_final() -> None:
    on_fork = build_view(blocks={90: name_hash(0xBAD)})
    behind = build_view(
        "b", head=build_block(92, age=11 * SECOND), blocks={90: build_block(90).hash}
    )

    seen = merge(on_fork, behind)

    assert (seen.finalized, 90 in seen.canonical) == (None, False)
    assert any("about block 90" in each for each in find_concerns(on_fork, behind))


def test_a_node_that_is_late_disputes_nothing() -> None:
    behind = build_view("b", head=build_block(90, age=11 * SECOND), finalized=build_block(80))
    lags = build_view(finalized=build_block(40, age=75 * SECOND))
    on_fork = build_view("c", finalized=OTHER_FORK)

    def find(*views: NodeView) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (
            list_delays(views, now=START, policy=POLICY),
            list_disputes(views, now=START, policy=POLICY),
        )

    assert find(lags, behind) == (
        (
            "node b is behind: its head is block 90",
            "the finalized block of node a is 75 seconds old",
        ),
        (),
    )
    assert find(build_view(), on_fork) == (
        (),
        ("the nodes contradict one another about block 96, which is final",),
    )


def test_what_cannot_be_read_is_a_concern() -> None:
    odd = build_view("b", unreadable=("the node's receipt has no list of logs",))

    assert find_concerns(build_view(), odd) == ("node b: the node's receipt has no list of logs",)


def test_who_answered_and_who_is_up_to_date_is_known() -> None:
    behind = build_view("b", head=build_block(90, age=11 * SECOND))

    seen = merge(build_view(), behind, asked=3)

    assert seen.answered == {"a", "b"}
    assert seen.heads == {"a": HEAD}


def test_the_lowest_and_the_highest_count_of_transactions_are_kept() -> None:
    seen = merge(build_view(nonce=7), build_view("b", nonce=9))

    assert (seen.nonce_floor, seen.nonce) == (7, 9)


def test_a_receipt_from_a_block_that_its_node_has_left_is_of_neither_kind() -> None:
    """The node changed chains between two answers."""
    view = build_view(
        receipts={TX: build_receipt(TX, build_block(98, 1))}, blocks={98: build_block(98).hash}
    )

    seen = merge(view, build_view("b", receipts={TX: None}))

    assert (seen.receipts, seen.without_receipt) == ({}, frozenset())


def test_of_receipts_from_different_chains_that_of_the_longest_counts() -> None:
    longest = build_receipt(TX, build_block(98))
    view = build_view(receipts={TX: longest})
    other = build_view(
        "b", head=build_block(99, 1), receipts={TX: build_receipt(TX, build_block(97, 1))}
    )

    assert merge(view, other).receipts == merge(other, view).receipts == {TX: longest}


@pytest.mark.parametrize("other", [{"succeeded": False}, {"logs": ({"address": "0x1"},)}])
def test_a_receipt_that_nodes_contradict_counts_for_nothing(other: Any) -> None:
    """Invariant I10: a node that lacks the logs must not turn a transfer into none."""
    block = build_block(95)
    view = build_view(receipts={TX: build_receipt(TX, block)}, blocks={95: block.hash})
    other = build_view(
        "b", receipts={TX: build_receipt(TX, block, **other)}, blocks={95: block.hash}
    )

    seen = merge(view, other)

    assert (seen.receipts, seen.without_receipt) == ({}, frozenset())
    assert 95 not in seen.canonical
    assert find_concerns(view, other) == (
        f"the nodes contradict one another about the receipt of {TX}",
    )


def test_a_transaction_is_without_receipt_only_where_every_node_says_so() -> None:
    without, unread = build_view(receipts={TX: None}), build_view("b")

    assert merge(without).without_receipt == {TX}
    assert merge(without, unread).without_receipt == frozenset()
    assert not merge(without, unread).is_complete


@pytest.mark.parametrize("asked", [2, 3])
def test_an_answer_that_is_missing_makes_a_round_incomplete(asked: int) -> None:
    assert not merge(build_view(), asked=asked).is_complete
    assert not merge(build_view(blocks={5: None}), build_view("b")).is_complete
    assert find_concerns(build_view(), asked=asked) == (
        f"{asked - 1} of {asked} chain nodes did not answer",
    )


@st.composite
def draw_view(draw: st.DrawFn) -> NodeView:
    """A node with two possible blocks at each height and any finalized block."""
    height, fork = draw(st.integers(90, 100)), draw(st.integers(0, 1))
    age = draw(st.integers(0, 14)) * SECOND
    final = draw(st.none() | st.integers(88, 101))
    heights = draw(st.lists(st.integers(88, 101), max_size=4))
    return build_view(
        draw(st.sampled_from("abcd")),
        head=build_block(height, fork, age=age),
        finalized=None if final is None else build_block(final, draw(st.integers(0, 1))),
        nonce=draw(st.integers(5, 9)),
        final_nonce=draw(st.none() | st.integers(5, 9)),
        receipts=draw(
            st.dictionaries(
                st.just(TX),
                st.none()
                | st.builds(
                    lambda number, fork: build_receipt(TX, build_block(number, fork)),
                    st.integers(88, 100),
                    st.integers(0, 1),
                ),
            )
        ),
        blocks={
            each: None if each > height else build_block(each, draw(st.integers(0, 1))).hash
            for each in heights
        },
    )


def list_up_to_date(views: Sequence[NodeView]) -> list[NodeView]:
    newest = max(view.head.timestamp for view in views)
    return [view for view in views if newest - view.head.timestamp <= 10]


@given(views=st.lists(draw_view(), min_size=1, max_size=4))
def test_nothing_is_final_that_a_node_contradicts_and_no_nonce_is_lower(
    views: list[NodeView],
) -> None:
    """Invariants I8 and I13."""
    current = list_up_to_date(views)

    seen = merge(*views)

    assert seen.nonce == max(view.nonce for view in current)
    for view in current:
        for height, block_hash in view.blocks.items():
            if block_hash is not None:
                assert seen.canonical.get(height, block_hash) == block_hash
                if seen.finalized is not None and height == seen.finalized.number:
                    assert block_hash == seen.finalized.hash
        if seen.finalized is not None and view.finalized is not None:
            is_possible = view.finalized.number <= view.head.number
            assert not is_possible or seen.finalized.number <= view.finalized.number
        if view.receipts.get(TX) is not None:
            assert TX not in seen.without_receipt


@given(views=st.lists(draw_view(), min_size=1, max_size=4))
def test_the_order_of_the_nodes_decides_nothing_about_finality(views: list[NodeView]) -> None:
    seen, reverse = merge(*views), merge(*reversed(views))

    assert (seen.finalized, seen.final_nonce) == (reverse.finalized, reverse.final_nonce)
    assert seen.canonical == reverse.canonical
    assert seen.without_receipt == reverse.without_receipt
    assert (seen.nonce, seen.is_complete) == (reverse.nonce, reverse.is_complete)
