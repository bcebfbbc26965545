"""`follow`, `unfollow`, `follows`, `pause`, `resume`: the controls in the database.

The services apply a change within a second, without a restart.
"""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import parsing
from cli.errors import CommandError
from cli.follow_options import (
    FollowOptions,
    format_further_terms,
    parse_filters,
)
from cli.formatting import format_number
from shared.db.controls import load_controls, save_follows, save_mode
from shared.db.engine import engine_scope, without_limits
from shared.db.migrate import require_migrated
from shared.db.settings import DatabaseSettings
from shared.domain.follows import (
    GLOBAL,
    Controls,
    Follow,
    FollowCycle,
    Mode,
    follower_scope,
    leader_scope,
)
from shared.domain.ids import follow_id
from shared.domain.money import as_decimal
from shared.domain.terms import EndMode, EntryMode, Tier

T = TypeVar("T")

DESCRIPTION_BY_END = {
    EndMode.KEEP: "kept",
    EndMode.CLOSE_OUT: "all sold",
    EndMode.FOLLOW: "sold with the leader",
}


def run_with_database(settings: DatabaseSettings, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Run the work on a database that has this release's tables. Its statements have no limit of
    time: a command reads or changes what services never do at once, and its user can end it.

    Raises: InvalidSettings, Transient, CommandError.
    """

    async def run() -> T:
        async with engine_scope(settings) as engine:
            await require_migrated(engine)
            async with without_limits(engine) as patient:
                return await work(patient)

    return asyncio.run(run())


def parse_follow(leader: str, proxy: str, options: FollowOptions) -> Follow:
    """The follow that the arguments describe. Raises: CommandError, naming what is wrong."""
    leader = parsing.parse_address(leader, what="the leader")
    proxy = parsing.parse_address(proxy, what="--into")
    if leader == proxy:
        raise CommandError("a wallet cannot follow itself: LEADER and --into are the same address")
    percent, fixed, equity = options.percent, options.fixed, options.equity
    tiers, filters = map(parsing.parse_tier, options.tiers), parse_filters(options)
    try:
        return Follow(
            follow_id=follow_id(leader=leader, proxy=proxy),
            version=0,
            leader=leader,
            proxy=proxy,
            percent=None if percent is None else parsing.parse_decimal(percent, what="--percent"),
            fixed_usdc=None if fixed is None else parsing.parse_usdc(fixed, what="--fixed"),
            tiers=tuple(sorted(tiers, key=lambda each: each.from_usdc)),
            equity_percent=(
                None if equity is None else parsing.parse_decimal(equity, what="--equity")
            ),
            min_usdc=parsing.parse_usdc(options.minimum, what="--min"),
            max_usdc=parsing.parse_usdc(options.maximum, what="--max"),
            max_slippage_bps=parsing.parse_slippage_bps(options.slippage),
            daily_cap_usdc=parsing.parse_usdc(options.daily_cap, what="--daily-cap"),
            entries=parsing.parse_entry_mode(options.entries),
            exits=parsing.parse_exit_mode(options.exits),
            at_end=parsing.parse_end_mode(options.at_end, what="--at-end"),
            counter=options.counter,
            filters=filters,
        )
    except ValueError as error:
        raise CommandError(
            f"{error} (--percent, --fixed, --tier, --equity, --min and --max decide on it)"
        ) from None


def find_warning(follow: Follow, variables: Mapping[str, str]) -> str | None:
    """What an operator must do for the follow to copy all that its terms say; None: nothing is
    known of. ``variables``: the environment of the command.
    """
    if variables.get("DATA_URL"):
        return None
    if follow.equity_percent is not None:
        return (
            "warning: DATA_URL is not set here. Ingest needs it to read what the wallets are "
            "worth: without it, every entry of this follow is refused as equity_unknown"
        )
    if follow.entries is EntryMode.MIRROR:
        return (
            "warning: DATA_URL is not set here. Preflight needs it to read what leaders hold: "
            "without it, this follow enters by trades alone, and does not buy what its leader holds"
        )
    return None


async def unfollow(
    engine: AsyncEngine, leader: str, proxy: str, *, positions: str | None = None
) -> Follow:
    """End a follow, or decide anew about the shares of one that ended. Returns it, with the new
    version of the controls.

    ``positions``: what it does with its shares; None: what its terms say. Raises: CommandError
    where there is no such follow.
    """
    leader = parsing.parse_address(leader, what="the leader")
    proxy = parsing.parse_address(proxy, what="--from")
    controls = await load_controls(engine)
    existing = controls.follow(leader=leader, proxy=proxy)
    if existing is None and positions is not None:
        existing = controls.ended_follow(leader=leader, proxy=proxy)
    if existing is None:
        raise CommandError(f"{proxy} does not follow {leader}: `slipstream follows` lists who does")
    at_end = (
        existing.at_end
        if positions is None
        else parsing.parse_end_mode(positions, what="--positions")
    )
    ended = replace(existing, active=False, at_end=at_end)
    version = await save_follows(
        engine,
        [ended],
        by=getpass.getuser(),
        change=f"{proxy} unfollows {leader}, positions: {at_end}",
    )
    return replace(ended, version=version)


async def save_follow(engine: AsyncEngine, follow: Follow) -> int:
    """Returns the new version of the controls. Raises: CommandError where it closes a cycle."""
    try:
        return await save_follows(
            engine, [follow], by=getpass.getuser(), change=f"{follow.proxy} follows {follow.leader}"
        )
    except FollowCycle as error:
        raise CommandError(f"{error}; `slipstream unfollow` ends one of these follows") from None


async def change_mode(engine: AsyncEngine, scope: str, mode: Mode) -> int:
    """Returns the new version of the controls."""
    return await save_mode(engine, scope, mode, by=getpass.getuser())


def parse_scope(*, leader: str | None, follower: str | None) -> str:
    """The scope of a mode: everything, one leader or one follower. Raises: CommandError."""
    if leader is not None and follower is not None:
        raise CommandError(
            "give --leader or --follower, not both: each has a mode of its own, and the strictest "
            "applies"
        )
    if leader is not None:
        return leader_scope(parsing.parse_address(leader, what="--leader"))
    if follower is not None:
        return follower_scope(parsing.parse_address(follower, what="--follower"))
    return GLOBAL


def build_follows_table(controls: Controls) -> Table:
    """The active follows, and those that ended and still sell."""
    table = Table(
        "leader", "into", title=f"Follows, version {controls.version}", title_justify="left"
    )
    for name in ("copies", "min", "max", "slippage %", "daily cap"):
        table.add_column(name, justify="right")
    table.add_column("entries")
    table.add_column("exits")
    table.add_column("at the end")
    table.add_column("mode")
    for follow in controls.follows_that_sell():
        amounts = (
            format_number(as_decimal(amount)) for amount in (follow.min_usdc, follow.max_usdc)
        )
        table.add_row(
            follow.leader,
            follow.proxy,
            format_size(follow),
            *amounts,
            format_number(follow.max_slippage_bps / 100),
            format_number(as_decimal(follow.daily_cap_usdc)),
            follow.entries.value,
            follow.exits.value,
            follow.at_end.value.replace("_", "-"),
            controls.mode(leader=follow.leader, proxy=follow.proxy).value
            if follow.active
            else "ended",
        )
    return table


def build_further_terms_table(controls: Controls) -> Table | None:
    """The other terms of the follows that have some; None where none has."""
    table = Table("leader", "into", "terms", title="Further terms", title_justify="left")
    for follow in _list_follows(controls):
        if terms := format_further_terms(follow):
            table.add_row(follow.leader, follow.proxy, terms)
    return table if table.row_count else None


def _list_follows(controls: Controls) -> list[Follow]:
    return [follow for group in controls.follows_by_leader.values() for follow in group.values()]


def format_size(follow: Follow) -> str:
    """How much of a leader's trade the follow copies."""
    if follow.tiers:
        return ", ".join(map(_format_tier, follow.tiers))
    if follow.equity_percent is not None:
        return f"{format_number(follow.equity_percent)} % of the share of equity"
    return _format_part(follow.percent, follow.fixed_usdc)


def _format_tier(tier: Tier) -> str:
    start = format_number(as_decimal(tier.from_usdc))
    return f"from {start}: {_format_part(tier.percent, tier.fixed_usdc)}"


def _format_part(percent: Decimal | None, fixed_usdc: int | None) -> str:
    if percent is not None:
        return f"{format_number(percent)} %"
    return f"{format_number(as_decimal(fixed_usdc or 0))} USDC"
