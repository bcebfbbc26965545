"""Terms apply to a trade: its intents add up to the same amount, whatever rows reported it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decisions import (
    Complement,
    CopySlice,
    RecordedSizes,
    RowKey,
    SizingFacts,
    best_source_total,
    build_intents,
    size_copies,
)
from services.ingest.decisions.trades import FillRow, row_key
from services.ingest.handler import Handler
from shared.domain.follows import Controls, Follow
from shared.domain.money import (
    MIN_BUY_USDC,
    ROUNDING_TOLERANCE_SHARES,
    Side,
    cost_floor,
)
from shared.domain.terms import EntryMode
from shared.messages.intents import CopyIntended, Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, a_fill, a_follow, controls, shares, usdc
from tests.fakes import Clock, FakeComplements, FakeHoldings, FakeTrades, FixedControls

FILL = a_fill()
FIXED = a_follow(percent=None, fixed_usdc=usdc(25), min_usdc=0)
RAISED = a_follow(percent=Decimal(1), min_usdc=usdc(5))
CAPPED = a_follow(percent=Decimal(10), min_usdc=0, max_usdc=usdc(20))
TENTH = a_follow(percent=Decimal(10), min_usdc=0, max_usdc=usdc(1_000))

FOLLOWS = st.builds(
    lambda percent, fixed, bounds: a_follow(
        percent=None if fixed else percent,
        fixed_usdc=fixed,
        min_usdc=bounds[0],
        max_usdc=bounds[1],
    ),
    st.decimals("0.01", "500", places=2),
    st.none() | st.integers(1, usdc(100)),
    st.tuples(st.integers(0, usdc(50)), st.integers(0, usdc(50))).map(sorted),
)
ROWS = st.lists(
    st.builds(
        lambda source, row_id, amount, kind: a_fill(
            source=source,
            row_id=row_id,
            shares=amount,
            row_type=kind if source is FillSource.RTDS else "",
        ),
        st.sampled_from(FillSource),
        st.sampled_from("abcdef"),
        st.integers(1, shares(40)),
        st.sampled_from(["trades", "orders_matched"]),
    ),
    min_size=1,
    max_size=10,
    unique_by=row_key,
)


def a_slice(sequence: int, start: int, end: int, **overrides: Any) -> CopySlice:
    """A slice between two whole shares."""
    base = CopySlice(
        sequence=sequence,
        from_shares=shares(start),
        to_shares=shares(end),
        caused_by=RowKey(FillSource.RTDS, f"row-{sequence}"),
        controls_version=7,
        intended_at=NOON,
        leader_usdc=shares(end - start) // 2,
    )
    return replace(base, **overrides)


def size_slice(
    copied: CopySlice,
    fill: LeaderFillSeen,
    slices: Sequence[CopySlice],
    known: Mapping[int, Controls],
    complement: Complement | None = None,
) -> tuple[Intent, ...]:
    """The intents of a stored slice with which nothing was carried."""
    facts = SizingFacts(controls_by_version=known, recorded=RecordedSizes())
    sizes = size_copies(fill, slices, facts, new=())
    return build_intents(copied, fill, known[copied.controls_version], sizes, complement=complement)


def amounts(
    slices: Sequence[CopySlice], follow: Follow, fill: LeaderFillSeen = FILL
) -> list[int | None]:
    """The micro-USDC that each slice intends; None: it has no intent."""
    known = {7: controls(follow)}
    intents = [() if each.resent_of else size_slice(each, fill, slices, known) for each in slices]
    return [each[0].usdc if each else None for each in intents]


def rows_of_500_dollars(number: int) -> list[LeaderFillSeen]:
    return [a_fill(row_id=f"row-{index}", shares=shares(1000) // number) for index in range(number)]


async def handle_rows(rows: Sequence[LeaderFillSeen], *follows: Follow) -> list[Intent]:
    handler = Handler(
        trades=FakeTrades(),
        holdings=FakeHoldings(),
        complements=FakeComplements(),
        controls=FixedControls(controls(*follows)),
        now=Clock(NOON),
    )
    intents: dict[str, Intent] = {}
    for row in rows:
        for message in await handler.on_leader_fill_seen(row):
            assert isinstance(message, CopyIntended)
            intent = message.intent
            assert intents.setdefault(intent.intent_id, intent) == intent
    return list(intents.values())


@pytest.mark.parametrize(
    ("follow", "expected"),
    [(FIXED, usdc(25)), (RAISED, usdc(5)), (CAPPED, usdc(20)), (TENTH, usdc(50))],
    ids=["fixed 25", "1 %, min 5", "10 %, max 20", "10 %"],
)
@pytest.mark.parametrize("number", [1, 2, 10])
async def test_a_trade_of_500_dollars_is_copied_the_same_whatever_its_rows(
    number: int, follow: Follow, expected: int
) -> None:
    intents = await handle_rows(rows_of_500_dollars(number), follow)

    assert sum(intent.usdc for intent in intents) == expected
    assert all(intent.shares == 2 * intent.usdc for intent in intents)


@given(
    follow=FOLLOWS,
    rows=ROWS,
    price=st.sampled_from(["0.01", "0.37", "0.50", "0.999"]).map(Decimal),
    repeated=st.data(),
    shuffle=st.randoms(use_true_random=False),
)
async def test_the_intents_of_a_trade_add_up_to_its_size_up_to_the_venues_minimum(
    follow: Follow,
    rows: list[LeaderFillSeen],
    price: Decimal,
    repeated: st.DataObject,
    shuffle: Random,
) -> None:
    rows = [row.model_copy(update={"price": price}) for row in rows]
    delivered = [*rows, *repeated.draw(st.lists(st.sampled_from(rows), max_size=6))]
    shuffle.shuffle(delivered)
    total = best_source_total(
        {row_key(row): FillRow(shares=row.shares, filled_at=NOON) for row in rows}
    )

    intents = await handle_rows(delivered, follow)

    intended = sum(intent.usdc for intent in intents if intent.usdc >= MIN_BUY_USDC)
    assert intended <= follow.copy_usdc(cost_floor(total, price))
    # Each slice's value is rounded down, and what is within the tolerance is no slice.
    seen_total = total - ROUNDING_TOLERANCE_SHARES
    at_least = follow.copy_usdc(max(0, cost_floor(seen_total, price) - len(rows)))
    assert intended > at_least - MIN_BUY_USDC
    assert [intent.usdc < MIN_BUY_USDC for intent in intents[1:]] == [False] * len(intents[1:])


async def test_what_is_below_the_venues_minimum_counts_with_a_later_slice() -> None:
    """The first one is intended all the same, so that its refusal is seen."""
    slices = [a_slice(number, 12 * number, 12 * number + 12) for number in range(4)]

    assert amounts(slices, TENTH) == [usdc("0.6"), usdc("1.2"), None, usdc("1.2")]


def test_a_fixed_amount_is_paid_once_per_trade() -> None:
    assert amounts([a_slice(0, 0, 10), a_slice(1, 10, 20)], FIXED) == [usdc(25), None]


def test_new_terms_apply_to_the_whole_trade_from_the_next_slice_on() -> None:
    slices = [a_slice(0, 0, 100), a_slice(1, 100, 200, controls_version=8)]
    known = {7: controls(TENTH), 8: controls(replace(TENTH, percent=Decimal(20)), version=8)}

    (intent,) = size_slice(slices[1], a_fill(), slices, known)

    assert (intent.usdc, intent.controls_version) == (usdc(15), 8)


def test_of_a_trade_before_the_follow_began_nothing_is_copied_later() -> None:
    slices = [a_slice(0, 0, 100), a_slice(1, 100, 200, controls_version=8)]
    other = a_follow(follow_id="follow-2", proxy=OTHER_PROXY)
    known = {7: controls(other), 8: controls(other, FIXED, TENTH, version=8)}

    intents = size_slice(slices[1], a_fill(), slices, known)

    assert {intent.proxy: intent.usdc for intent in intents}[TENTH.proxy] == usdc(5)


def test_what_was_intended_as_another_trade_counts_as_intended() -> None:
    slices = [a_slice(0, 0, 100, resent_of="other"), a_slice(1, 100, 200)]

    assert amounts(slices, FIXED)[1] is None
    assert amounts(slices, TENTH)[1] == usdc(5)


def test_what_was_wrongly_taken_for_another_trade_is_intended_when_its_shares_are_copied() -> None:
    slices = [
        a_slice(0, 0, 100, resent_of="other"),
        a_slice(1, 100, 200),
        a_slice(2, 0, 100),
    ]

    assert amounts(slices, FIXED)[1:] == [None, usdc(25)]
    assert amounts(slices, TENTH)[1:] == [usdc(5), usdc(5)]


def test_a_slice_of_an_earlier_release_is_worth_its_shares_at_the_price_of_the_row() -> None:
    slices = [a_slice(0, 0, 100, leader_usdc=None), a_slice(1, 100, 200)]

    assert amounts(slices, TENTH, fill=a_fill(price=Decimal("0.25"))) == [usdc("2.5"), usdc(5)]


def test_each_followers_intent_is_sized_by_his_terms() -> None:
    fixed = a_follow(follow_id="follow-2", proxy=OTHER_PROXY, percent=None, fixed_usdc=usdc(20))
    slices = [a_slice(0, 0, 100)]

    first, second = size_slice(slices[0], a_fill(), slices, {7: controls(TENTH, fixed)})

    assert (first.usdc, first.shares, first.proxy) == (usdc(5), shares(10), TENTH.proxy)
    assert (second.usdc, second.shares, second.proxy) == (usdc(20), shares(40), OTHER_PROXY)
    assert first.intent_id != second.intent_id


@pytest.mark.parametrize("follow", [FIXED, RAISED, CAPPED, TENTH])
def test_a_sale_is_not_sized_by_terms(follow: Follow) -> None:
    """It carries what the leader sold, of what he held."""
    copied = a_slice(0, 0, 40, leader_held_shares=shares(160))
    fill = a_fill(side=Side.SELL, price=Decimal("0.25"))

    (intent,) = size_slice(copied, fill, [copied], {7: controls(follow)})

    assert (intent.leader_shares, intent.shares, intent.usdc) == (shares(40), shares(40), usdc(10))
    assert intent.leader_held_shares == shares(160)


def test_an_intent_carries_the_slice_that_it_copies_and_the_version_of_its_terms() -> None:
    copied = a_slice(0, 0, 40, controls_version=3)

    (intent,) = size_slice(copied, a_fill(), [copied], {3: controls(TENTH)})

    assert (intent.controls_version, intent.leader_shares, intent.leader_price, intent.side) == (
        3,
        shares(40),
        Decimal("0.5"),
        Side.BUY,
    )
    assert (intent.seen_at, intent.filled_at, intent.intended_at) == (
        a_fill().occurred_at,
        a_fill().filled_at,
        NOON,
    )
    assert intent.leader_held_shares is None


def test_each_slice_of_a_trade_has_intents_of_its_own() -> None:
    slices = [a_slice(0, 0, 100), a_slice(1, 100, 200)]

    ids = {
        intent.intent_id
        for each in slices
        for intent in size_slice(each, a_fill(), slices, {7: controls(TENTH)})
    }

    assert len(ids) == 2


def test_without_followers_there_are_no_intents() -> None:
    copied = a_slice(0, 0, 100)
    nobody = replace(controls(), follows_by_leader={})

    assert size_slice(copied, a_fill(), [copied], {7: nobody}) == ()


async def test_a_follow_that_mirrors_has_an_intent_of_each_slice() -> None:
    """What adds nothing is refused; preflight knows the whole trade by it."""
    rows = rows_of_500_dollars(4)
    terms = {"percent": None, "fixed_usdc": usdc(25)}

    intents = await handle_rows(rows, a_follow(entries=EntryMode.MIRROR, **terms))

    assert [each.usdc for each in intents] == [usdc(25), 0, 0, 0]
    assert sum(each.leader_shares for each in intents) == sum(row.shares for row in rows)
    assert len(await handle_rows(rows, a_follow(**terms))) == 1
