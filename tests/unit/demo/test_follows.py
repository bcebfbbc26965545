"""The demo's follows have different terms, and every follower has leaders."""

from cli.demo.follows import LEADERS_PER_FOLLOWER, TERMS, plan_follows
from tests.builders import LEADER

LEADERS = [f"{LEADER[:-1]}{number}" for number in range(5)]
PROXIES = [f"0x{number:040x}" for number in range(20)]


def test_every_follower_copies_as_many_leaders_and_none_twice() -> None:
    follows = plan_follows(LEADERS, PROXIES)

    assert (
        len({follow.follow_id for follow in follows})
        == len(follows)
        == len(PROXIES) * LEADERS_PER_FOLLOWER
    )
    assert {follow.proxy for follow in follows} == set(PROXIES)
    assert {follow.leader for follow in follows} == set(LEADERS)


def test_there_are_percentages_and_fixed_amounts() -> None:
    follows = plan_follows(LEADERS, PROXIES)

    assert any(follow.percent is not None for follow in follows)
    assert any(follow.fixed_usdc is not None for follow in follows)
    assert len({follow.daily_cap_usdc for follow in follows}) > 1


def test_one_leader_is_enough() -> None:
    assert len(plan_follows(LEADERS[:1], PROXIES[:3])) == 3


def test_terms_have_either_a_percentage_or_a_fixed_amount() -> None:
    assert all((terms.percent is None) != (terms.fixed is None) for terms in TERMS)
