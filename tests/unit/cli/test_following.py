"""The follow that is saved is the one that the arguments describe."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.errors import CommandError
from cli.follow_options import FollowOptions
from cli.following import (
    build_follows_table,
    find_warning,
    format_size,
    parse_follow,
    parse_scope,
)
from cli.formatting import format_number
from cli.main import app
from shared.domain.follows import GLOBAL, Follow, Mode, follower_scope, leader_scope
from shared.domain.ids import follow_id
from shared.domain.terms import EndMode, EntryMode, ExitMode, Tier
from tests.builders import LEADER, PROXY, a_follow, controls, usdc


def follow_from_arguments(
    leader: str = LEADER.lower(), proxy: str = PROXY.lower(), **changed: Any
) -> Follow:
    return parse_follow(leader, proxy, FollowOptions(**{"percent": "10"} | changed))


@pytest.mark.parametrize("mode", ExitMode)
def test_a_follow_has_the_mode_of_its_exits(mode: ExitMode) -> None:
    assert follow_from_arguments(exits=mode.value).exits is mode


@pytest.mark.parametrize("mode", EntryMode)
def test_a_follow_has_the_mode_of_its_entries(mode: EntryMode) -> None:
    assert follow_from_arguments(entries=mode.value).entries is mode
    with pytest.raises(CommandError, match=r"--entries is some.*trades, mirror, none"):
        follow_from_arguments(entries="some")


def test_an_unknown_mode_of_exits_is_refused_with_those_that_exist() -> None:
    with pytest.raises(CommandError, match=r"--exits is half.*proportional, all, none"):
        follow_from_arguments(exits="half")


@pytest.mark.parametrize(
    ("text", "mode"),
    [("keep", EndMode.KEEP), ("close-out", EndMode.CLOSE_OUT), ("follow", EndMode.FOLLOW)],
)
def test_a_follow_has_what_happens_to_its_shares_at_its_end(text: str, mode: EndMode) -> None:
    assert follow_from_arguments(at_end=text).at_end is mode
    with pytest.raises(CommandError, match=r"--at-end is sell.*keep, close-out, follow"):
        follow_from_arguments(at_end="sell")


def test_a_follow_has_the_terms_of_its_arguments() -> None:
    follow = follow_from_arguments(
        percent="12.5", minimum="0.5", maximum="99.99", slippage="1.5", daily_cap="250"
    )

    assert (follow.leader.lower(), follow.proxy.lower()) == (LEADER.lower(), PROXY.lower())
    assert follow.follow_id == follow_id(leader=LEADER, proxy=PROXY)
    assert (follow.percent, follow.fixed_usdc) == (Decimal("12.5"), None)
    assert (follow.min_usdc, follow.max_usdc, follow.daily_cap_usdc) == (
        usdc("0.5"),
        usdc("99.99"),
        usdc(250),
    )
    assert follow.max_slippage_bps == Decimal(150)
    assert follow.active


def test_a_fixed_amount_replaces_the_percentage() -> None:
    follow = follow_from_arguments(percent=None, fixed="25")

    assert (follow.percent, follow.fixed_usdc) == (None, usdc(25))


TIERS = ("1000:5%", "0:10%", "10000:600")


def test_the_command_takes_an_option_for_each_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Follow] = []

    async def save_follow(_: object, follow: Follow) -> int:
        saved.append(follow)
        return 3

    def run_with_database(_: object, work: Callable[[object], Coroutine[None, None, int]]) -> int:
        return asyncio.run(work(None))

    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://nowhere/none")
    monkeypatch.setattr("cli.following.save_follow", save_follow)
    monkeypatch.setattr("cli.following.run_with_database", run_with_database)
    options = [word for tier in TIERS for word in ("--tier", tier)]

    result = CliRunner().invoke(app, ["follow", LEADER, "--into", PROXY, *options])

    assert result.exit_code == 0, result.output
    assert [tier.from_usdc for tier in saved[0].tiers] == [0, usdc(1000), usdc(10_000)]
    assert "copies from 0: 10 %, from 1000: 5 %, from 10000: 600 USDC of" in result.output


def test_a_share_of_the_equity_replaces_the_percentage() -> None:
    follow = follow_from_arguments(percent=None, equity="50")

    assert (follow.percent, follow.equity_percent) == (None, Decimal(50))
    assert format_size(follow) == "50 % of the share of equity"


def test_a_share_of_the_equity_is_warned_of_without_the_address_that_it_needs() -> None:
    follow = follow_from_arguments(percent=None, equity="50")

    assert "DATA_URL is not set" in (find_warning(follow, {}) or "")
    assert find_warning(follow, {"DATA_URL": "https://data.example"}) is None
    assert find_warning(follow_from_arguments(), {}) is None


def test_mirroring_is_warned_of_without_the_address_that_it_needs() -> None:
    follow = follow_from_arguments(entries="mirror")

    assert "does not buy what its leader holds" in (find_warning(follow, {}) or "")
    assert find_warning(follow, {"DATA_URL": "https://data.example"}) is None


def test_tiers_are_sorted_by_the_size_that_they_begin_at() -> None:
    follow = follow_from_arguments(percent=None, tiers=tuple(TIERS))

    assert follow.tiers == (
        Tier(from_usdc=0, percent=Decimal(10)),
        Tier(from_usdc=usdc(1000), percent=Decimal(5)),
        Tier(from_usdc=usdc(10_000), fixed_usdc=usdc(600)),
    )
    assert format_size(follow) == "from 0: 10 %, from 1000: 5 %, from 10000: 600 USDC"


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"tiers": ("0:5%",)}, "exactly one"),
        ({"percent": None, "tiers": ("1:5%",)}, "begin at 0"),
        ({"percent": None, "tiers": ("0:5%", "0:6%")}, "different sizes"),
        ({"percent": None, "tiers": ("0",)}, "FROM:SIZE"),
        ({"percent": None, "tiers": ("0:x%",)}, "--tier 0:x%: the percentage is 'x'"),
        ({"percent": None, "tiers": ("x:5",)}, "begins at"),
        ({"percent": None, "tiers": ("-1:5",)}, "cannot be below 0"),
        ({"percent": None, "tiers": ("0:0%",)}, "above 0"),
        ({"percent": None, "tiers": ("0:0",)}, "above 0"),
        ({"percent": None, "tiers": ("0:",)}, "must be a number"),
        ({"equity": "5"}, "exactly one"),
        ({"percent": None, "equity": "0"}, "above 0"),
        ({"percent": None, "equity": "half"}, "--equity"),
        ({"percent": None}, "exactly one"),
        ({"fixed": "25"}, "exactly one"),
        ({"percent": "0"}, "above 0"),
        ({"minimum": "200"}, "minimum"),
        ({"proxy": LEADER}, "cannot follow itself"),
        ({"leader": "0x12"}, "the leader"),
        ({"proxy": "0x12"}, "--into"),
        ({"daily_cap": "many"}, "--daily-cap"),
        ({"daily_cap": "1e999999"}, "--daily-cap"),
        ({"maximum": "1e400000"}, "--max"),
        ({"percent": "1e999999"}, "--percent"),
        ({"percent": "1e-999999"}, "--percent"),
        ({"percent": "1e10"}, "at most 1000000000"),
        ({"percent": None, "equity": "1e10"}, "at most 1000000000"),
        ({"percent": None, "tiers": ("0:1e999995%",)}, "--tier"),
        ({"percent": None, "tiers": ("0:1e10%",)}, "at most 1000000000"),
        ({"slippage": "1e-999999"}, "--slippage"),
        ({"max_spread": "1e999999"}, "--max-spread"),
        ({"max_spread": "1e15"}, "at most 10000000 percent"),
        ({"min_price": "1e-999999"}, "--min-price"),
        ({"min_liquidity": "1e999999"}, "--min-liquidity"),
    ],
)
def test_an_impossible_follow_is_refused(changed: dict[str, Any], wrong: str) -> None:
    with pytest.raises(CommandError, match=wrong):
        follow_from_arguments(**changed)


def test_a_mode_is_set_for_everybody_or_for_one() -> None:
    assert parse_scope(leader=None, follower=None) == GLOBAL
    assert parse_scope(leader=LEADER, follower=None) == leader_scope(LEADER)
    assert parse_scope(leader=None, follower=PROXY.lower()).lower() == follower_scope(PROXY).lower()
    with pytest.raises(CommandError, match="not both"):
        parse_scope(leader=LEADER, follower=PROXY)


def test_the_list_shows_terms_and_the_strictest_mode() -> None:
    console = Console(width=200, record=True, quiet=False)

    with console.capture() as printed:
        console.print(
            build_follows_table(
                controls(
                    a_follow(), modes={GLOBAL: Mode.REDUCING, follower_scope(PROXY): Mode.HALTED}
                )
            )
        )

    assert all(word in printed.get() for word in (LEADER, PROXY, "10 %", "500", "halted"))


def test_the_list_shows_an_ended_follow_for_as_long_as_it_may_sell() -> None:
    console = Console(width=200)

    for at_end, shown in ((EndMode.FOLLOW, True), (EndMode.KEEP, False)):
        with console.capture() as printed:
            console.print(build_follows_table(controls(a_follow(active=False, at_end=at_end))))
        assert ("ended" in printed.get()) is shown


@pytest.mark.parametrize(
    ("number", "text"),
    [("10.000000", "10"), ("100", "100"), ("0.05", "0.05"), ("1E+2", "100"), ("0", "0")],
)
def test_numbers_are_shown_without_needless_zeros(number: str, text: str) -> None:
    assert format_number(Decimal(number)) == text
