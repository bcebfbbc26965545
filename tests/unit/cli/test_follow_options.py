"""The options of `slipstream follow` become its filters and modes, and are shown as they were
given.
"""

from dataclasses import fields
from decimal import Decimal
from inspect import signature
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.commands.controls import follow as follow_command
from cli.errors import CommandError
from cli.follow_options import FollowOptions, format_further_terms
from cli.following import build_further_terms_table, parse_follow
from cli.main import app
from shared.domain.follows import Follow
from shared.domain.terms import NO_FILTERS, EntryMode, Filters
from tests.builders import LEADER, PROXY, a_follow, controls, usdc

MARKET, OTHER = "0x" + "ab" * 32, "0x" + "cd" * 32


def follow_with(**options: Any) -> Follow:
    return parse_follow(LEADER, PROXY, FollowOptions(**{"percent": "10"} | options))


def test_every_option_is_a_parameter_of_the_command_with_the_same_default() -> None:
    parameters = signature(follow_command).parameters

    for field in fields(FollowOptions):
        assert (parameters[field.name].default or ()) == (field.default or ()), field.name


def test_without_options_nothing_is_filtered() -> None:
    follow = follow_with()

    assert (follow.filters, follow.entries, follow.counter) == (NO_FILTERS, EntryMode.TRADES, False)
    assert format_further_terms(follow) == ""


ALL = {
    "entries": "none",
    "counter": True,
    "min_leader": "100.50",
    "min_price": "0.05",
    "max_price": "0.95",
    "max_spread": "2.5",
    "min_liquidity": "10000",
    "min_time_left": "30m",
    "max_time_left": "3d",
    "tags": ("Politics", "us-elections"),
    "excluded_tags": ("sports",),
    "markets": (MARKET.upper().replace("0X", "0x"),),
    "excluded_markets": (OTHER,),
}


def test_the_command_passes_on_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[FollowOptions] = []

    def parse(_leader: str, _proxy: str, options: FollowOptions) -> Follow:
        parsed.append(options)
        raise CommandError("it goes no further")

    monkeypatch.setattr("cli.following.parse_follow", parse)
    given = f"--fixed 5 --counter --tag a --tag b --not-market {OTHER} --min-time-left 2h"
    command = ["follow", LEADER, "--into", PROXY, *given.split()]

    result = CliRunner().invoke(app, command)

    assert "it goes no further" in result.output
    assert parsed == [
        FollowOptions(
            fixed="5",
            counter=True,
            tags=("a", "b"),
            excluded_markets=(OTHER,),
            min_time_left="2h",
        )
    ]


def test_each_option_becomes_a_term() -> None:
    follow = follow_with(**ALL)

    assert (follow.entries, follow.counter) == (EntryMode.NONE, True)
    assert follow.filters == Filters(
        min_leader_usdc=usdc("100.50"),
        min_price=Decimal("0.05"),
        max_price=Decimal("0.95"),
        max_spread_bps=Decimal(250),
        min_liquidity_usdc=usdc(10_000),
        min_seconds_to_end=1_800,
        max_seconds_to_end=259_200,
        tags=frozenset({"politics", "us-elections"}),
        excluded_tags=frozenset({"sports"}),
        markets=frozenset({MARKET}),
        excluded_markets=frozenset({OTHER}),
    )


def test_terms_are_shown_as_the_options_that_set_them() -> None:
    follow = follow_with(**ALL)

    assert format_further_terms(follow) == (
        "--entries none --counter --min-leader 100.5 --min-price 0.05 --max-price 0.95 "
        "--max-spread 2.5 --min-liquidity 10000 --min-time-left 30m --max-time-left 3d "
        f"--tag politics --tag us-elections --not-tag sports --market {MARKET} --not-market {OTHER}"
    )


@pytest.mark.parametrize(("span", "shown"), [("90m", "90m"), ("120m", "2h"), ("48h", "2d")])
def test_a_time_is_shown_by_its_longest_unit(span: str, shown: str) -> None:
    assert format_further_terms(follow_with(min_time_left=span)) == f"--min-time-left {shown}"


def test_a_condition_id_without_its_last_byte_is_that_of_a_market_of_version_v2() -> None:
    follow = follow_with(markets=("0x" + "ab" * 31,))

    assert follow.filters.markets == {"0x" + "ab" * 31 + "00"}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"entries": "some"}, "--entries is some: it must be one of trades, mirror, none"),
        ({"min_leader": "-1"}, "--min-leader is -1"),
        ({"min_leader": "many"}, "--min-leader is 'many'"),
        ({"min_price": "0.6", "max_price": "0.5"}, "contradict"),
        ({"max_price": "1.5"}, "at most 1"),
        ({"max_spread": "-2"}, "--max-spread is -2"),
        ({"min_liquidity": "-5"}, "--min-liquidity is -5"),
        ({"min_time_left": "3"}, "--min-time-left is '3': give minutes, hours or days"),
        ({"max_time_left": "-3d"}, "--max-time-left is '-3d'"),
        ({"min_time_left": "2d", "max_time_left": "3h"}, "contradict"),
        ({"tags": ("us politics",)}, "--tag is 'us politics'"),
        ({"tags": ("a",), "excluded_tags": ("A",)}, "required cannot be excluded"),
        ({"markets": ("0x12",)}, "--market: '0x12' is no condition id"),
        ({"excluded_markets": ("ab" * 33,)}, "--not-market"),
    ],
)
def test_impossible_filters_are_refused_with_what_is_wrong(
    options: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(CommandError, match=wrong):
        follow_with(**options)


def test_only_follows_with_further_terms_are_in_their_table() -> None:
    assert build_further_terms_table(controls(a_follow())) is None

    other = a_follow(follow_id="2", proxy="0x00000000000000000000000000000000000000b2")
    filtered = a_follow(counter=True, filters=Filters(min_leader_usdc=usdc(100)))
    table = build_further_terms_table(controls(filtered, other))
    console = Console(width=200, record=True)
    with console.capture() as printed:
        console.print(table)

    assert table is not None
    assert table.row_count == 1
    assert all(word in printed.get() for word in (LEADER, PROXY, "--counter --min-leader 100"))
