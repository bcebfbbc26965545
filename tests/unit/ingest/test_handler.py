"""What ingest says of a fill, once and again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.handler import Handler
from shared.domain.errors import Transient
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, a_fill, a_follow, controls, seconds, shares, usdc
from tests.fakes import Clock, FakeTrades, FixedControls, wire

BOTH = controls(a_follow(), a_follow(follow_id="follow-2", proxy=OTHER_PROXY))


def ingest(trades: FakeTrades | None = None) -> tuple[Handler, FixedControls, Clock]:
    book, clock = FixedControls(BOTH), Clock(NOON)
    return Handler(trades=trades or FakeTrades(), controls=book, now=clock), book, clock


async def intended(handler: Handler, fill: LeaderFillSeen) -> list[CopyIntended]:
    """What follows from the fill, where it follows at once."""
    said = await handler.on_leader_fill_seen(fill)
    assert all(isinstance(message, CopyIntended) for message in said)
    return [message for message in said if isinstance(message, CopyIntended)]


async def test_a_fill_becomes_an_intent_per_follower() -> None:
    handler, _, _ = ingest()

    said = await intended(handler, a_fill())

    assert [message.intent.proxy for message in said] == [
        follow.proxy for follow in BOTH.follows_of(a_fill().leader)
    ]
    assert [message.key() for message in said] == [
        message.intent.proxy.encode() for message in said
    ]
    assert len({message.message_id for message in said}) == 2


async def test_a_redelivery_says_the_same_though_time_and_follows_have_changed() -> None:
    handler, book, clock = ingest()
    first = await intended(handler, a_fill())
    book.earlier[BOTH.version] = BOTH
    book.controls = controls(a_follow(percent=None, fixed_usdc=usdc(50)), version=8)
    clock.now += seconds(60)

    again = await intended(handler, a_fill())

    assert wire(again) == wire(first)


async def test_the_other_witness_of_the_same_fill_says_nothing() -> None:
    handler, _, _ = ingest()
    await intended(handler, a_fill())

    assert await intended(handler, a_fill(source=FillSource.CHAIN, row_id="0xabc:1")) == []


async def test_a_top_up_is_sized_by_the_difference() -> None:
    handler, _, _ = ingest()
    await intended(handler, a_fill(row_id="a", shares=shares(60)))

    said = await intended(handler, a_fill(row_id="b", shares=shares(40)))

    assert {message.intent.leader_shares for message in said} == {shares(40)}


async def test_without_known_controls_nothing_is_recorded() -> None:
    trades = FakeTrades()
    handler, book, _ = ingest(trades)
    book.controls = None

    with pytest.raises(Transient):
        await intended(handler, a_fill())

    assert trades.rows_by_trade == {}


@given(
    told=st.lists(
        st.tuples(st.sampled_from(FillSource), st.sampled_from("abc"), st.integers(1, 30)),
        min_size=1,
        max_size=12,
    )
)
async def test_whatever_is_told_again_says_what_it_said_before(
    told: list[tuple[FillSource, str, int]],
) -> None:
    handler, _, _ = ingest()
    amounts: dict[tuple[FillSource, str], int] = {}
    said: dict[tuple[FillSource, str], list[CopyIntended]] = {}

    for source, row_id, amount in told:
        fill = a_fill(
            source=source,
            row_id=row_id,
            shares=shares(amounts.setdefault((source, row_id), amount)),
        )
        messages = await intended(handler, fill)
        assert said.setdefault((source, row_id), messages) == messages

    ids = [message.intent.intent_id for messages in said.values() for message in messages]
    assert len(ids) == len(set(ids))


async def test_who_starts_to_follow_later_is_not_part_of_what_was_intended_before() -> None:
    handler, book, _ = ingest()
    book.controls = controls(a_follow())
    first = await intended(handler, a_fill())
    book.earlier[7], book.controls = book.controls, replace(BOTH, version=8)

    assert await intended(handler, a_fill()) == first
