"""`follow`, `unfollow`, `follows`, `pause`, `resume`: the controls in the database. A change takes
effect at once, without a restart.
"""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import parsing
from cli.errors import WrongInput
from shared.db.controls import load_controls, save_follows, save_mode
from shared.db.engine import engine_scope
from shared.db.migrate import require_migrated
from shared.db.settings import DatabaseSettings
from shared.domain.follows import GLOBAL, Controls, Follow, Mode, follower_scope, leader_scope
from shared.domain.ids import follow_id
from shared.domain.money import as_decimal

T = TypeVar("T")


def with_database(settings: DatabaseSettings, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Do the work on a database of this release's shape. Raises: InvalidSettings, Transient,
    WrongInput.
    """

    async def run() -> T:
        async with engine_scope(settings) as engine:
            await require_migrated(engine)
            return await work(engine)

    return asyncio.run(run())


def follow_of(
    leader: str,
    proxy: str,
    *,
    percent: str | None,
    fixed: str | None,
    minimum: str,
    maximum: str,
    slippage: str,
    daily_cap: str,
) -> Follow:
    """The follow as it was typed. Raises: WrongInput, naming what is wrong."""
    leader, proxy = (
        parsing.address(leader, what="the leader"),
        parsing.address(proxy, what="--into"),
    )
    if leader == proxy:
        raise WrongInput("a wallet cannot follow itself: LEADER and --into are the same address")
    try:
        return Follow(
            follow_id=follow_id(leader=leader, proxy=proxy),
            version=0,
            leader=leader,
            proxy=proxy,
            percent=None if percent is None else parsing.decimal(percent, what="--percent"),
            fixed_usdc=None if fixed is None else parsing.usdc(fixed, what="--fixed"),
            min_usdc=parsing.usdc(minimum, what="--min"),
            max_usdc=parsing.usdc(maximum, what="--max"),
            max_slippage_bps=parsing.slippage_bps(slippage),
            daily_cap_usdc=parsing.usdc(daily_cap, what="--daily-cap"),
        )
    except ValueError as error:
        raise WrongInput(f"{error} (--percent, --fixed, --min and --max decide on it)") from None


async def unfollow(engine: AsyncEngine, leader: str, proxy: str) -> int:
    """End a follow. Returns the version of the change. Raises: WrongInput where there is none."""
    leader, proxy = (
        parsing.address(leader, what="the leader"),
        parsing.address(proxy, what="--from"),
    )
    standing = (await load_controls(engine)).follow(leader=leader, proxy=proxy)
    if standing is None:
        raise WrongInput(f"{proxy} does not follow {leader}: `slipstream follows` lists who does")
    return await save_follows(
        engine,
        [replace(standing, active=False)],
        by=getpass.getuser(),
        change=f"{proxy} unfollows {leader}",
    )


async def put_follow(engine: AsyncEngine, follow: Follow) -> int:
    return await save_follows(
        engine, [follow], by=getpass.getuser(), change=f"{follow.proxy} follows {follow.leader}"
    )


async def set_mode(engine: AsyncEngine, scope: str, mode: Mode) -> int:
    return await save_mode(engine, scope, mode, by=getpass.getuser())


def scope_of(*, leader: str | None, follower: str | None) -> str:
    """Raises: WrongInput."""
    if leader is not None and follower is not None:
        raise WrongInput(
            "give --leader or --follower, not both: each has a mode of its own, and the strictest counts"
        )
    if leader is not None:
        return leader_scope(parsing.address(leader, what="--leader"))
    if follower is not None:
        return follower_scope(parsing.address(follower, what="--follower"))
    return GLOBAL


def follows_table(controls: Controls) -> Table:
    table = Table(
        "leader", "into", title=f"Follows, version {controls.version}", title_justify="left"
    )
    for name in ("copies", "min", "max", "slippage %", "daily cap"):
        table.add_column(name, justify="right")
    table.add_column("mode")
    for follow in (
        follow for group in controls.follows_by_leader.values() for follow in group.values()
    ):
        amounts = (plain(as_decimal(amount)) for amount in (follow.min_usdc, follow.max_usdc))
        table.add_row(
            follow.leader,
            follow.proxy,
            terms(follow),
            *amounts,
            plain(follow.max_slippage_bps / 100),
            plain(as_decimal(follow.daily_cap_usdc)),
            controls.mode(leader=follow.leader, proxy=follow.proxy).value,
        )
    return table


def terms(follow: Follow) -> str:
    return (
        f"{plain(follow.percent)} %"
        if follow.percent is not None
        else f"{plain(as_decimal(follow.fixed_usdc or 0))} USDC"
    )


def plain(number: Decimal) -> str:
    """Without an exponent or trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
