"""A copy is sized by its follow's terms, and the strictest mode applies."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.follows import (
    GLOBAL,
    MODES_BY_STRICTNESS,
    Follow,
    FollowCycle,
    Mode,
    follower_scope,
    group_by_leader,
    leader_scope,
    may_trade,
    require_no_cycle,
)
from shared.domain.money import Side
from shared.domain.terms import EndMode, Equities, Tier
from tests.builders import LEADER, OTHER_PROXY, PROXY, a_follow, controls, usdc

PERCENTS = st.decimals("0.01", "500", places=2)
AMOUNTS = st.integers(0, 10**13)


@given(percent=PERCENTS, bounds=st.tuples(AMOUNTS, AMOUNTS).map(sorted), leader_usdc=AMOUNTS)
def test_a_copy_is_between_its_minimum_and_its_maximum(
    percent: Decimal, bounds: list[int], leader_usdc: int
) -> None:
    follow = a_follow(percent=percent, min_usdc=bounds[0], max_usdc=bounds[1])

    assert bounds[0] <= follow.copy_usdc(leader_usdc) <= bounds[1]


@given(percent=PERCENTS, leader_usdc=AMOUNTS)
def test_between_the_bounds_a_copy_is_the_percentage_rounded_down(
    percent: Decimal, leader_usdc: int
) -> None:
    follow = a_follow(percent=percent, min_usdc=0, max_usdc=10**18)

    assert follow.copy_usdc(leader_usdc) == int(percent * 100) * leader_usdc // 10_000


def test_a_fixed_amount_does_not_depend_on_the_leaders_trade() -> None:
    follow = a_follow(percent=None, fixed_usdc=usdc(7))

    assert {follow.copy_usdc(leader_usdc) for leader_usdc in (0, usdc(1), usdc(10_000))} == {
        usdc(7)
    }


TIERS = (
    Tier(from_usdc=0, percent=Decimal(10)),
    Tier(from_usdc=usdc(1000), percent=Decimal(5)),
    Tier(from_usdc=usdc(10_000), fixed_usdc=usdc(600)),
)


@pytest.mark.parametrize(
    ("leader_usdc", "expected"),
    [
        (0, 0),
        (usdc("999.99"), usdc("99.999")),
        (usdc(1000), usdc(100)),
        (usdc(2000), usdc(100)),
        (usdc(2002), usdc("100.1")),
        (usdc("9999.999999"), 499_999_999),
        (usdc(10_000), usdc(600)),
        (usdc(10**6), usdc(600)),
    ],
)
def test_the_last_tier_that_a_trade_reaches_sizes_all_of_it_unless_a_smaller_trade_has_more(
    leader_usdc: int, expected: int
) -> None:
    follow = a_follow(percent=None, tiers=TIERS, min_usdc=0, max_usdc=usdc(1000))

    assert follow.copy_usdc(leader_usdc) == expected


def test_a_tiers_copy_is_raised_to_the_minimum_and_cut_to_the_maximum() -> None:
    follow = a_follow(percent=None, tiers=TIERS, min_usdc=usdc(20), max_usdc=usdc(200))

    assert [follow.copy_usdc(usdc(size)) for size in (1, 500, 1000, 20_000)] == [
        usdc(20),
        usdc(50),
        usdc(100),
        usdc(200),
    ]


BY_EQUITY = a_follow(percent=None, equity_percent=Decimal(100), min_usdc=0, max_usdc=usdc(10**6))


@pytest.mark.parametrize(
    ("percent", "leader_equity", "follower_equity", "expected"),
    [
        ("100", usdc(10_000), usdc(1000), usdc(50)),
        ("50", usdc(10_000), usdc(1000), usdc(25)),
        ("33.3", usdc(10_000), usdc(1000), usdc("16.65")),
        ("100", usdc(3), usdc(1), usdc(1)),
        ("100", usdc(499), usdc(1000), usdc(1000)),
        ("100", 0, usdc(1000), usdc(1000)),
        ("100", usdc(700), usdc(1), 714_285),
        ("100", usdc(10_000), 0, 0),
    ],
    ids=str,
)
def test_a_share_of_the_equity_is_the_share_that_the_trade_is_of_the_leaders(
    percent: str, leader_equity: int, follower_equity: int, expected: int
) -> None:
    """Of a trade of 500 USDC. The leader owned at least what he traded."""
    follow = replace(BY_EQUITY, equity_percent=Decimal(percent))
    equities = Equities(leader_usdc=leader_equity, follower_usdc=follower_equity)

    assert follow.copy_usdc(usdc(500), equities=equities) == expected


@given(
    leader_usdc=AMOUNTS,
    equities=st.builds(Equities, leader_usdc=AMOUNTS, follower_usdc=AMOUNTS),
    percent=st.decimals("0.01", "100", places=2),
)
def test_of_at_most_the_whole_share_no_more_than_the_followers_equity_is_copied(
    leader_usdc: int, equities: Equities, percent: Decimal
) -> None:
    follow = replace(BY_EQUITY, equity_percent=percent, max_usdc=10**18)
    assert equities.follower_usdc is not None

    assert 0 <= follow.copy_usdc(leader_usdc, equities=equities) <= equities.follower_usdc


@pytest.mark.parametrize(
    "equities",
    [
        None,
        Equities(leader_usdc=None, follower_usdc=1),
        Equities(leader_usdc=1, follower_usdc=None),
    ],
)
def test_an_unknown_equity_is_not_zero(equities: Equities | None) -> None:
    with pytest.raises(ValueError, match="unknown"):
        BY_EQUITY.copy_usdc(usdc(500), equities=equities)


MAX_AMOUNTS = {"min_usdc": 0, "max_usdc": 10**18, "percent": None}


@pytest.mark.parametrize("percent", [Decimal("1e-9"), Decimal(10**9)])
@pytest.mark.parametrize("leader_usdc", [0, 1, 10**18])
def test_no_terms_that_are_accepted_end_in_an_arithmetic_error(
    percent: Decimal, leader_usdc: int
) -> None:
    equities = Equities(leader_usdc=1, follower_usdc=10**18)
    for size in (
        {"percent": percent},
        {"equity_percent": percent},
        {"tiers": (Tier(from_usdc=0, percent=percent),)},
    ):
        follow = a_follow(**MAX_AMOUNTS | size)
        assert 0 <= follow.copy_usdc(leader_usdc, equities=equities) <= follow.max_usdc


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"percent": Decimal(1), "fixed_usdc": 1}, "exactly one"),
        ({"percent": None, "fixed_usdc": None}, "exactly one"),
        ({"percent": Decimal(0)}, "above 0"),
        ({"percent": Decimal(-1)}, "above 0"),
        ({"min_usdc": 2, "max_usdc": 1}, "minimum"),
        ({"min_usdc": -1}, "minimum"),
        ({"percent": None, "fixed_usdc": 0}, "fixed amount"),
        ({"max_slippage_bps": Decimal(-1)}, "slippage"),
        ({"max_slippage_bps": Decimal(10_000)}, "slippage"),
        ({"daily_cap_usdc": -1}, "cap"),
        ({"daily_cap_usdc": 10**18 + 1}, "cap"),
        ({"max_usdc": 10**18 + 1}, "maximum"),
        ({"percent": None, "fixed_usdc": 10**18 + 1}, "fixed amount"),
        ({"percent": Decimal("1e999995")}, "percentage"),
        ({"percent": None, "equity_percent": Decimal("1e999995")}, "percentage"),
        ({"percent": None, "equity_percent": Decimal("1e-999995")}, "percentage"),
    ],
)
def test_impossible_terms_are_refused(terms: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        a_follow(**terms)


@pytest.mark.parametrize("modes", list(product(Mode, repeat=3)), ids=str)
def test_the_strictest_mode_applies(modes: tuple[Mode, Mode, Mode]) -> None:
    scopes = (GLOBAL, leader_scope(LEADER), follower_scope(PROXY))

    mode = controls(modes=dict(zip(scopes, modes, strict=True))).mode(leader=LEADER, proxy=PROXY)

    assert MODES_BY_STRICTNESS.index(mode) == max(MODES_BY_STRICTNESS.index(each) for each in modes)


def test_the_mode_of_another_scope_does_not_apply() -> None:
    others = {follower_scope(OTHER_PROXY): Mode.HALTED, leader_scope(PROXY): Mode.HALTED}

    assert controls(modes=others).mode(leader=LEADER, proxy=PROXY) is Mode.ACTIVE


@pytest.mark.parametrize(
    ("mode", "sides"),
    [
        (Mode.ACTIVE, set(Side)),
        (Mode.REDUCING, {Side.SELL}),
        (Mode.CLOSING, {Side.SELL}),
        (Mode.HALTED, set()),
    ],
)
def test_while_reducing_only_exits_may_trade_and_while_halted_nothing(
    mode: Mode, sides: set[Side]
) -> None:
    assert {side for side in Side if may_trade(mode, side)} == sides


def test_only_active_follows_are_copied() -> None:
    ended, running = a_follow(active=False), a_follow(follow_id="follow-2", proxy=OTHER_PROXY)

    both = controls(ended, running)

    assert both.follows_for(LEADER) == (running,)
    assert both.follow(leader=LEADER, proxy=PROXY) is None
    assert both.follow(leader=LEADER, proxy=OTHER_PROXY) == running
    assert group_by_leader([ended]) == {}


@pytest.mark.parametrize(
    ("at_end", "copies_sales", "may_sell"),
    [
        (EndMode.KEEP, False, False),
        (EndMode.CLOSE_OUT, False, True),
        (EndMode.FOLLOW, True, True),
    ],
)
def test_an_ended_follow_sells_what_its_terms_say_and_buys_nothing(
    at_end: EndMode, *, copies_sales: bool, may_sell: bool
) -> None:
    ended = a_follow(active=False, at_end=at_end)
    known = controls(ended)

    assert (known.follows_for(LEADER), known.follow(leader=LEADER, proxy=PROXY)) == ((), None)
    assert (ended in known.follows_for(LEADER, Side.SELL)) is copies_sales
    assert (LEADER in known.leaders()) is copies_sales
    assert (known.follow(leader=LEADER, proxy=PROXY, side=Side.SELL) == ended) is may_sell
    assert (ended in known.follows_that_sell()) is may_sell
    assert known.ended_follow(leader=LEADER, proxy=PROXY) == ended


def chain_of_follows(*wallets: str) -> list[Follow]:
    """Each wallet is copied into the next one."""
    return [
        a_follow(follow_id=f"{leader} to {proxy}", leader=leader, proxy=proxy)
        for leader, proxy in pairwise(wallets)
    ]


@pytest.mark.parametrize("wallets", ["aba", "abca", "abcdefa", "aBA", "aa"])
def test_a_follow_that_closes_a_cycle_is_refused_and_its_wallets_are_named(wallets: str) -> None:
    follows = chain_of_follows(*wallets)

    with pytest.raises(FollowCycle) as refused:
        require_no_cycle(follows, added=follows[-1:])

    named = str(refused.value).lower().split("again, ")[1].split(" -> ")
    assert (named[0], len(named), set(named)) == (named[-1], len(wallets), set(wallets.lower()))


@pytest.mark.parametrize("ended", range(3))
def test_a_cycle_of_which_a_follow_has_ended_is_none(ended: int) -> None:
    follows = chain_of_follows(*"abca")
    follows[ended] = replace(follows[ended], active=False)

    require_no_cycle(follows, added=follows)


def test_follows_of_one_leader_and_into_one_proxy_are_no_cycle() -> None:
    follows = [
        *chain_of_follows("a", "b", "c", "d"),
        *chain_of_follows("a", "c"),
        *chain_of_follows("a", "d"),
    ]

    require_no_cycle(follows, added=follows)


def test_a_follow_beside_an_old_cycle_can_be_changed() -> None:
    """The cycle is from before they were refused: its own follows can only be ended."""
    cycle, other = chain_of_follows(*"aba"), chain_of_follows(*"bcd")

    require_no_cycle([*cycle, *other], added=other)
    require_no_cycle([*cycle, *other], added=[replace(cycle[0], active=False)])


@given(
    links=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12),
)
def test_follows_that_are_added_one_by_one_never_form_a_cycle(links: list[tuple[int, int]]) -> None:
    follows: list[Follow] = []
    for leader, proxy in links:
        new = chain_of_follows(str(leader), str(proxy))
        try:
            require_no_cycle([*follows, *new], added=new)
        except FollowCycle:
            assert is_copied_into(follows, str(proxy), str(leader))
        else:
            follows += new

    assert not any(is_copied_into(follows, each.proxy, each.leader) for each in follows)


def is_copied_into(follows: Sequence[Follow], first: str, last: str) -> bool:
    """Whether copies of the first wallet's trades reach the last one."""
    reached = {first}
    for _ in range(len(follows) + 1):
        reached |= {each.proxy for each in follows if each.leader in reached}
    return last in reached


@pytest.mark.parametrize("at_end", list(EndMode))
def test_the_followers_are_those_of_all_follows_also_of_ended_ones(at_end: EndMode) -> None:
    known = controls(a_follow(), a_follow(proxy=OTHER_PROXY, active=False, at_end=at_end))

    assert known.followers() == {PROXY, OTHER_PROXY}
