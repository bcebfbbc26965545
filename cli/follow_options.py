"""The options of `slipstream follow`, as they are given: parses them to the terms of a follow, and
writes terms as options.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Self

from cli import parsing
from cli.errors import CommandError
from cli.formatting import format_number
from shared.domain.follows import Follow
from shared.domain.money import as_decimal
from shared.domain.terms import NO_FILTERS, EntryMode, Filters
from shared.messages.filters import FollowFilters
from shared.polymarket.condition_ids import parse_condition_id

SECONDS_BY_UNIT = {"m": 60, "h": 3_600, "d": 86_400}

_SPAN = re.compile(r"([0-9]{1,6})([mhd])")
_TAG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """What was given; the names are those of the command's parameters."""

    percent: str | None = None
    fixed: str | None = None
    tiers: tuple[str, ...] = ()
    equity: str | None = None
    minimum: str = "1"
    maximum: str = "100"
    slippage: str = "3"
    daily_cap: str = "500"
    exits: str = "proportional"
    at_end: str = "keep"
    entries: str = "trades"
    counter: bool = False
    min_leader: str | None = None
    min_price: str | None = None
    max_price: str | None = None
    max_spread: str | None = None
    min_liquidity: str | None = None
    min_time_left: str | None = None
    max_time_left: str | None = None
    tags: tuple[str, ...] = ()
    excluded_tags: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()
    excluded_markets: tuple[str, ...] = ()

    @classmethod
    def from_parameters(cls, given: Mapping[str, Any]) -> Self:
        """Those of the parameters that are options; None is the default."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None and name in {field.name for field in fields(cls)}
        }
        return cls(**values)


def parse_filters(options: FollowOptions) -> Filters:
    """Raises: CommandError, naming what is wrong."""
    band = {
        name: parsing.parse_decimal(text, what=option)
        for name, option, text in (
            ("min_price", "--min-price", options.min_price),
            ("max_price", "--max-price", options.max_price),
        )
        if text is not None
    }
    try:
        return Filters(
            min_leader_usdc=_parse_usdc(options.min_leader, what="--min-leader") or 0,
            **band,
            max_spread_bps=(
                None if options.max_spread is None else parsing.parse_spread_bps(options.max_spread)
            ),
            min_liquidity_usdc=_parse_usdc(options.min_liquidity, what="--min-liquidity"),
            min_seconds_to_end=_parse_span(options.min_time_left, what="--min-time-left"),
            max_seconds_to_end=_parse_span(options.max_time_left, what="--max-time-left"),
            tags=_parse_tags(options.tags, what="--tag"),
            excluded_tags=_parse_tags(options.excluded_tags, what="--not-tag"),
            markets=_parse_markets(options.markets, what="--market"),
            excluded_markets=_parse_markets(options.excluded_markets, what="--not-market"),
        )
    except ValueError as error:
        raise CommandError(f"the filters contradict themselves: {error}") from None


def _parse_usdc(text: str | None, *, what: str) -> int | None:
    return None if text is None else parsing.parse_usdc(text, what=what)


def _parse_span(text: str | None, *, what: str) -> int | None:
    """Seconds. Raises: CommandError."""
    if text is None:
        return None
    parts = _SPAN.fullmatch(text)
    if parts is None:
        raise CommandError(
            f"{what} is {text!r}: give minutes, hours or days, such as 30m, 2h or 3d"
        )
    return int(parts[1]) * SECONDS_BY_UNIT[parts[2]]


def _parse_tags(given: tuple[str, ...], *, what: str) -> frozenset[str]:
    """Raises: CommandError."""
    tags = frozenset(tag.strip().lower() for tag in given)
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise CommandError(
                f"{what} is {tag!r}: give the tag as in the venue's addresses, such as us-politics"
            )
    return tags


def _parse_markets(given: tuple[str, ...], *, what: str) -> frozenset[str]:
    """Raises: CommandError."""
    try:
        return frozenset(map(parse_condition_id, given))
    except ValueError as error:
        raise CommandError(f"{what}: {error}") from None


def format_further_terms(follow: Follow) -> str:
    """The terms beside amounts and exits that are not the default, as options; empty: none."""
    return " ".join((*_list_modes(follow), *list_filters(follow.filters)))


def _list_modes(follow: Follow) -> Iterator[str]:
    if follow.entries is not EntryMode.TRADES:
        yield f"--entries {follow.entries.value}"
    if follow.counter:
        yield "--counter"


def list_filters(filters: Filters | FollowFilters) -> Iterator[str]:
    """Those that are set, as options."""
    spread = filters.max_spread_bps
    written = {
        "--min-leader": _format_usdc(filters.min_leader_usdc or None),
        "--min-price": _format_other(filters.min_price, than=NO_FILTERS.min_price),
        "--max-price": _format_other(filters.max_price, than=NO_FILTERS.max_price),
        "--max-spread": None if spread is None else format_number(spread / 100),
        "--min-liquidity": _format_usdc(filters.min_liquidity_usdc),
        "--min-time-left": _format_span(filters.min_seconds_to_end),
        "--max-time-left": _format_span(filters.max_seconds_to_end),
    }
    yield from (f"{option} {text}" for option, text in written.items() if text is not None)
    for option, values in (
        ("--tag", filters.tags),
        ("--not-tag", filters.excluded_tags),
        ("--market", filters.markets),
        ("--not-market", filters.excluded_markets),
    ):
        yield from (f"{option} {value}" for value in sorted(values))


def _format_usdc(amount: int | None) -> str | None:
    return None if amount is None else format_number(as_decimal(amount))


def _format_other(number: Decimal, *, than: Decimal) -> str | None:
    return None if number == than else format_number(number)


def _format_span(seconds: int | None) -> str | None:
    """By the longest unit that it is a multiple of."""
    if seconds is None:
        return None
    unit = next((each for each in "dh" if seconds % SECONDS_BY_UNIT[each] == 0), "m")
    return f"{seconds // SECONDS_BY_UNIT[unit]}{unit}"
