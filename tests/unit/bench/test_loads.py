"""The loads of the path benchmark, and who copies them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.followers import Audience, build_leaders, build_wallets
from tools.bench.loads import (
    BURST,
    DEFAULT_LOADS,
    LIGHT,
    RATE,
    WALLETS,
    build_warm_up,
    collect_audiences,
    group_loads,
    parse_loads,
)


def test_loads_are_named_or_a_rate_and_may_have_a_length_of_their_own() -> None:
    light, rate, burst, wallets = parse_loads("light, 1000x20,burst-500,wallets-300", seconds=60)

    assert (light.kind, light.copies_per_second, light.seconds) == (LIGHT, 50, 60)
    assert (rate.kind, rate.copies_per_second, rate.seconds) == (RATE, 1000, 20)
    assert (burst.kind, burst.followers, burst.trades) == (BURST, 500, 6)
    assert (wallets.kind, wallets.followers, wallets.wallets) == (WALLETS, 100, 300)
    assert wallets.copies_per_second == 200


@pytest.mark.parametrize("text", ["fast", "light-5", "light5", "burst", "burst-", "10x", "-5", "0"])
def test_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no load"):
        parse_loads(text)


@given(st.integers(1, 20_000))
def test_a_rate_is_kept_whatever_it_is(rate: int) -> None:
    (load,) = parse_loads(str(rate))

    assert load.copies_per_second == pytest.approx(rate)


def test_rates_rise_on_one_stack_and_each_other_load_has_its_own() -> None:
    groups = group_loads(parse_loads(DEFAULT_LOADS))

    assert [[load.name for load in group] for group in groups] == [
        ["light", *(f"{rate} copies/s" for rate in (200, 400, 600, 800, 1000, 1200))],
        ["burst of 1000"],
        ["burst of 10000"],
        ["1000 wallets"],
        ["5000 wallets"],
        ["history"],
    ]
    assert all(load.seconds >= 60 for group in groups for load in group)


def test_no_loads_are_no_groups() -> None:
    assert group_loads([]) == []


def test_wallets_are_shared_out_among_leaders_so_that_each_is_followed_once() -> None:
    audience = Audience(followers=2, wallets=6)
    proxies = [proxy for proxy, _ in build_wallets(6)]

    followed = [audience.select_wallets(number, proxies) for number in range(audience.leaders)]

    assert [proxy for each in followed for proxy in each] == proxies
    assert [len(each) for each in followed] == [2, 2, 2]


def test_no_two_leaders_are_the_same_nor_trade_the_same_token() -> None:
    audiences = collect_audiences(parse_loads("light,200,burst-3,wallets-12"))
    proxies = [proxy for proxy, _ in build_wallets(200)]

    leaders = [each for group in build_leaders(audiences, proxies).values() for each in group]

    assert len({each.address for each in leaders}) == len(leaders)
    assert len({each.token_id for each in leaders}) == len(leaders)
    assert all(each.follows for each in leaders)


@pytest.mark.parametrize("text", ["light", "burst-10000", "wallets-5000"])
def test_a_warm_up_reaches_every_wallet(text: str) -> None:
    (load,) = parse_loads(text)
    warm_up = build_warm_up(load.audience)

    assert warm_up.audience == load.audience
    assert warm_up.copies >= load.audience.size
    assert warm_up.trades >= (load.audience.leaders if load.wallets else 1)
