"""The same thing always has the same id, and two things never share one."""

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ids import derived_id, follow_id, intent_id, trade_id
from tests.builders import LEADER, PROXY, TOKEN, TRANSACTION

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
        intent_id(trade=trade, from_shares=start, follow_id=follow)
        for trade in "ab"
        for start in (0, 5)
        for follow in "xy"
    }

    assert len(ids) == 8
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_a_follow_is_directed_from_leader_to_proxy() -> None:
    assert follow_id(leader=LEADER, proxy=PROXY) == follow_id(
        leader=LEADER.lower(), proxy=PROXY.lower()
    )
    assert follow_id(leader=LEADER, proxy=PROXY) != follow_id(leader=PROXY, proxy=LEADER)
