"""What the tests of docs/copying.md share: its rows, terms by the command's defaults, and facts by
the settings' defaults.
"""

from decimal import Decimal
from inspect import Parameter, signature
from typing import Any

import pytest

from cli.commands.controls import follow as follow_command
from cli.follow_options import FollowOptions
from cli.following import parse_follow
from services.preflight.app import build_limits
from services.preflight.decisions import (
    Funds,
    PreflightFacts,
    Verdict,
)
from services.preflight.settings import Settings
from shared.domain.follows import Follow, Mode
from shared.domain.money import as_decimal
from shared.messages.intents import IntentApproved
from tests.builders import (
    LEADER,
    NOON,
    PROXY,
    shares,
    usdc,
)
from tests.unit.docs.tables import table_after

PAGE = "copying.md"
SETTINGS = Settings.model_construct()
"""The defaults, whatever the environment says."""
LIMITS = build_limits(SETTINGS)
RICH = Funds(
    usdc=usdc(10**6),
    allowance=usdc(10**6),
    shares=shares(10**6),
    shares_approved=True,
    fetched_at=NOON,
    reserved_usdc=0,
    spent_today=0,
    follower_spent_today=0,
)
PARAMETERS = {
    "min": "minimum",
    "max": "maximum",
    "tag": "tags",
    "tier": "tiers",
    "not-tag": "excluded_tags",
    "market": "markets",
    "not-market": "excluded_markets",
}
"""Of the command's function, where the option has another name."""
REPEATABLE = {"tiers", "tags", "excluded_tags", "markets", "excluded_markets"}


def each_row(heading: str) -> pytest.MarkDecorator:
    rows = table_after(PAGE, heading)
    return pytest.mark.parametrize("row", rows, ids=[" | ".join(row) for row in rows])


def parse_terms(cell: str) -> Follow:
    """The follow of the command with the cell's options; without a size, it copies 10 %."""
    given: dict[str, Any] = {}
    for option in cell.strip("`").split("--")[1:]:
        name, _, value = option.strip().partition(" ")
        parameter = PARAMETERS.get(name, name.replace("-", "_"))
        if not value:
            given[parameter] = True
        elif parameter in REPEATABLE:
            given.setdefault(parameter, []).append(value)
        else:
            given[parameter] = value
    defaults = {
        name: parameter.default
        for name, parameter in signature(follow_command).parameters.items()
        if parameter.default is not Parameter.empty
    }
    size = {} if given.keys() & {"percent", "fixed", "tiers", "equity"} else {"percent": "10"}
    options = FollowOptions.from_parameters(defaults | size | given)
    return parse_follow(LEADER, PROXY, options)


def parse_two(cell: str, separator: str) -> tuple[Decimal, Decimal]:
    first, second = cell.split(separator)
    return Decimal(first), Decimal(second)


def some_facts(**fields: Any) -> PreflightFacts:
    """Judged at noon, in mode active, with funds for anything; ``quoted`` and ``follow`` are
    required.
    """
    base: dict[str, Any] = {
        "mode": Mode.ACTIVE,
        "controls_version": 7,
        "limits": LIMITS,
        "now": NOON,
        "funds": RICH,
    }
    return PreflightFacts(**base | fields)


def as_written(verdict: Verdict) -> str:
    """The USDC or shares of an approved copy, or the reason of the refusal."""
    if isinstance(verdict, IntentApproved):
        return f"{as_decimal(verdict.usdc or verdict.shares):.2f}"
    return f"`{verdict.reason}`"
