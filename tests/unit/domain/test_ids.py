"""The same thing always has the same id, and two things never share one."""

import re
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ids import (
    continuation_id,
    derived_id,
    follow_id,
    intent_id,
    level_intent_id,
    trade_id,
)
from tests.builders import LEADER, PROXY, TOKEN, TRANSACTION

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PARTS = st.lists(st.text(alphabet="0123456789abcdef:x", max_size=6), max_size=4)


@given(PARTS, PARTS)
def test_two_lists_of_parts_have_the_same_id_only_if_they_are_the_same(
    one: list[str], other: list[str]
) -> None:
    assert (derived_id("kind", *one) == derived_id("kind", *other)) == (one == other)


def test_two_kinds_of_thing_never_share_an_id() -> None:
    assert derived_id("trade", 1) != derived_id("intent", 1)


def test_a_trade_has_the_same_id_in_every_spelling_of_its_addresses() -> None:
    def build_id(transaction_hash: str, leader: str) -> str:
        return trade_id(
            transaction_hash=transaction_hash, leader=leader, token_id=TOKEN, side="BUY"
        )

    assert build_id(TRANSACTION, LEADER) == build_id(
        TRANSACTION.upper().replace("0X", "0x"), LEADER.lower()
    )
    assert build_id(TRANSACTION, LEADER) != build_id(TRANSACTION, PROXY)


def test_each_slice_of_a_trade_has_an_intent_of_its_own_for_each_follow() -> None:
    ids = {
        intent_id(trade=trade, from_shares=start, follow_id=follow, intended_at=NOON)
        for trade in "ab"
        for start in (0, 5)
        for follow in "xy"
    }

    assert len(ids) == 8
    assert all(re.fullmatch(r"i20260131-[0-9a-f]{24}", each) for each in ids)


def test_ids_of_later_days_come_after_those_of_earlier_days_and_of_earlier_releases() -> None:
    def build_id(at: datetime) -> str:
        return intent_id(trade="a", from_shares=0, follow_id="x", intended_at=at)

    end_of_day = NOON.replace(hour=23, minute=59)
    before, after = build_id(end_of_day), build_id(end_of_day + timedelta(minutes=1))

    assert "f" * 32 < before < "i20260201" <= after
    assert build_id(end_of_day.astimezone(timezone(timedelta(hours=5)))) == before
    assert before.partition("-")[2] == after.partition("-")[2]


def test_an_exit_is_attempted_again_under_ids_of_its_own_day() -> None:
    first = intent_id(trade="a", from_shares=0, follow_id="x", intended_at=NOON)
    ids = {continuation_id(first, number) for number in (1, 2)}

    assert len(ids) == 2
    assert all(re.fullmatch(r"i20260131-[0-9a-f]{24}", each) for each in ids - {first})


def test_an_exit_of_an_earlier_release_is_attempted_again_under_ids_without_a_day() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", continuation_id("0" * 32, 1))


def test_the_same_reading_of_a_level_has_the_same_id() -> None:
    assert level_intent_id("a", 1, read_at=NOON) == level_intent_id("a", 1, read_at=NOON)
    assert level_intent_id("a", 1, read_at=NOON) != level_intent_id("a", 2, read_at=NOON)


def test_a_follow_is_directed_from_leader_to_proxy() -> None:
    assert follow_id(leader=LEADER, proxy=PROXY) == follow_id(
        leader=LEADER.lower(), proxy=PROXY.lower()
    )
    assert follow_id(leader=LEADER, proxy=PROXY) != follow_id(leader=PROXY, proxy=LEADER)
