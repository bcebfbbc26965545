"""Ingest makes one intent per follower of a fill, and the same ones if the fill is redelivered."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.handler import Handler
from shared.domain.errors import Transient
from shared.domain.follows import Follow
from shared.domain.history import KEPT_FOR
from shared.domain.money import Side
from shared.domain.outcomes import OutcomeToken
from shared.messages.intents import CopyIntended, Missing
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, a_fill, a_follow, controls, seconds, shares, usdc
from tests.fakes import Clock, FakeComplements, FakeHoldings, FakeTrades, FixedControls, wire

BOTH = controls(a_follow(), a_follow(follow_id="follow-2", proxy=OTHER_PROXY))


def an_ingest(trades: FakeTrades | None = None) -> tuple[Handler, FixedControls, Clock]:
    fixed_controls, clock = FixedControls(BOTH), Clock(NOON)
    return (
        Handler(
            trades=trades or FakeTrades(),
            holdings=FakeHoldings(),
            complements=FakeComplements(),
            controls=fixed_controls,
            now=clock,
        ),
        fixed_controls,
        clock,
    )


async def intended(handler: Handler, fill: LeaderFillSeen) -> list[CopyIntended]:
    """The intents of the fill; no row is to be published again."""
    messages = await handler.on_leader_fill_seen(fill)
    assert all(isinstance(message, CopyIntended) for message in messages)
    return [message for message in messages if isinstance(message, CopyIntended)]


async def test_a_fill_becomes_an_intent_per_follower() -> None:
    handler, _, _ = an_ingest()

    messages = await intended(handler, a_fill())

    assert [message.intent.proxy for message in messages] == [
        follow.proxy for follow in BOTH.follows_for(a_fill().leader)
    ]
    assert [message.key() for message in messages] == [
        message.intent.proxy.encode() for message in messages
    ]
    assert len({message.message_id for message in messages}) == 2


async def test_a_redelivered_fill_yields_the_same_intents_after_time_and_follows_changed() -> None:
    handler, fixed_controls, clock = an_ingest()
    first = await intended(handler, a_fill())
    fixed_controls.earlier[BOTH.version] = BOTH
    fixed_controls.controls = controls(a_follow(percent=None, fixed_usdc=usdc(50)), version=8)
    clock.now += seconds(60)

    again = await intended(handler, a_fill())

    assert wire(again) == wire(first)


@pytest.mark.parametrize("side", Side)
async def test_a_fill_from_before_the_kept_rows_is_neither_copied_nor_carried(side: Side) -> None:
    """Its rows may have been pruned: it may have been copied."""
    trades = FakeTrades()
    handler, _, clock = an_ingest(trades)
    clock.now += KEPT_FOR + seconds(1)

    assert await intended(handler, a_fill(side=side)) == []
    assert (trades.rows_by_trade, trades.slices_by_trade) == ({}, {})


async def test_a_second_source_of_the_same_fill_yields_no_intent() -> None:
    handler, _, _ = an_ingest()
    await intended(handler, a_fill())

    assert await intended(handler, a_fill(source=FillSource.CHAIN, row_id="0xabc:1")) == []


async def test_a_top_up_is_sized_by_the_difference() -> None:
    handler, _, _ = an_ingest()
    await intended(handler, a_fill(row_id="a", shares=shares(60)))

    messages = await intended(handler, a_fill(row_id="b", shares=shares(40)))

    assert {message.intent.leader_shares for message in messages} == {shares(40)}


async def test_a_fill_is_not_recorded_while_no_controls_are_known() -> None:
    trades = FakeTrades()
    handler, fixed_controls, _ = an_ingest(trades)
    fixed_controls.controls = None

    with pytest.raises(Transient):
        await intended(handler, a_fill())

    assert trades.rows_by_trade == {}


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(FillSource), st.sampled_from("abc"), st.integers(1, 30)),
        min_size=1,
        max_size=12,
    )
)
async def test_every_redelivered_row_yields_the_intents_that_it_yielded_before(
    rows: list[tuple[FillSource, str, int]],
) -> None:
    handler, _, _ = an_ingest()
    amounts: dict[tuple[FillSource, str], int] = {}
    intended_by_row: dict[tuple[FillSource, str], list[CopyIntended]] = {}

    for source, row_id, amount in rows:
        fill = a_fill(
            source=source,
            row_id=row_id,
            shares=shares(amounts.setdefault((source, row_id), amount)),
        )
        messages = await intended(handler, fill)
        assert intended_by_row.setdefault((source, row_id), messages) == messages

    ids = [
        message.intent.intent_id for messages in intended_by_row.values() for message in messages
    ]
    assert len(ids) == len(set(ids))


async def test_a_follower_who_starts_later_gets_no_intent_of_an_earlier_fill() -> None:
    handler, fixed_controls, _ = an_ingest()
    fixed_controls.controls = controls(a_follow())
    first = await intended(handler, a_fill())
    fixed_controls.earlier[7], fixed_controls.controls = (
        fixed_controls.controls,
        replace(BOTH, version=8),
    )

    assert await intended(handler, a_fill()) == first


NO = OutcomeToken(token_id="7" * 70, outcome="No")
AGAINST = a_follow(follow_id="follow-2", proxy=OTHER_PROXY, counter=True)


def a_counter_ingest(complements: FakeComplements, *follows: Follow) -> Handler:
    handler, _, _ = an_ingest()
    fixed = FixedControls(controls(*(follows or (a_follow(), AGAINST))))
    return replace(handler, controls=fixed, complements=complements)


async def test_the_complement_is_asked_for_only_where_a_follow_of_the_leader_needs_it() -> None:
    complements = FakeComplements({a_fill().token_id: NO})

    await intended(a_counter_ingest(complements, a_follow()), a_fill())
    assert complements.requests == []
    same, against = await intended(a_counter_ingest(complements), a_fill())

    assert complements.requests == [a_fill().token_id]
    assert (same.intent.token_id, against.intent.token_id) == (a_fill().token_id, NO.token_id)
    assert against.intent.leader_token_id == a_fill().token_id


async def test_a_sale_asks_no_venue_for_the_complement() -> None:
    """What a counter follow can hold is stored: an exit of others waits for nobody."""
    complements = FakeComplements({a_fill().token_id: NO})

    _, against = await intended(a_counter_ingest(complements), a_fill(side=Side.SELL))

    assert against.intent.token_id == NO.token_id
    assert complements.requests == []


async def test_a_venue_that_does_not_answer_holds_up_no_other_follow() -> None:
    same, against = await intended(a_counter_ingest(FakeComplements()), a_fill())

    assert same.intent.complement_missing is None
    assert against.intent.complement_missing is Missing.UNAVAILABLE


@pytest.mark.parametrize("side", Side)
async def test_a_redelivered_fill_yields_the_same_counter_intents(side: Side) -> None:
    handler = a_counter_ingest(FakeComplements({a_fill().token_id: NO}))
    first = await intended(handler, a_fill(side=side))

    assert wire(await intended(handler, a_fill(side=side))) == wire(first)
    assert {message.intent.token_id for message in first} == {a_fill().token_id, NO.token_id}
