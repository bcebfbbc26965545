"""`slipstream follow`, `unfollow`, `follows`, `pause`, `resume`: read and change the controls."""

from typing import Annotated

import typer

from cli.errors import report_errors

app = typer.Typer()

USDC = "USDC"

Leader = Annotated[str, typer.Argument(help="The wallet that is copied.")]
LeaderScope = Annotated[str | None, typer.Option("--leader", help="Only this leader's copies.")]
FollowerScope = Annotated[
    str | None, typer.Option("--follower", help="Only copies into this proxy.")
]

Tiers = Annotated[
    list[str] | None,
    typer.Option(
        help="Copy SIZE, a percentage such as 5% or an amount, of trades from this many USDC on. "
        "Given for each tier, the first from 0.",
        metavar="USDC:SIZE",
    ),
]

Equity = Annotated[
    str | None,
    typer.Option(
        help="Copy this many percent of the share that the trade is of the leader's equity, of the "
        "follower's equity.",
        metavar="PERCENT",
    ),
]

Percent = Annotated[str | None, typer.Option(help="Copy this many percent of the leader's trade.")]

Fixed = Annotated[
    str | None,
    typer.Option(help="Copy this amount, whatever the leader's trade is.", metavar=USDC),
]

Minimum = Annotated[
    str, typer.Option("--min", help="A smaller copy is raised to this.", metavar=USDC)
]

Maximum = Annotated[str, typer.Option("--max", help="A larger copy is cut to this.", metavar=USDC)]

Slippage = Annotated[
    str, typer.Option(help="At most this many percent worse than the leader's price.")
]

DailyCap = Annotated[
    str, typer.Option(help="Spend at most this much per UTC day by this follow.", metavar=USDC)
]

Exits = Annotated[str, typer.Option(help="When the leader sells: proportional, all or none.")]


@app.command()
def follow(
    leader: Leader,
    *,
    into: Annotated[str, typer.Option("--into", help="The follower's proxy wallet.")],
    percent: Percent = None,
    fixed: Fixed = None,
    tier: Tiers = None,
    equity: Equity = None,
    minimum: Minimum = "1",
    maximum: Maximum = "100",
    slippage: Slippage = "3",
    daily_cap: DailyCap = "500",
    exits: Exits = "proportional",
) -> None:
    """Copy LEADER's trades into a proxy from now on. Given again, the new terms replace the old."""
    with report_errors():
        from cli import following
        from cli.settings import find_system

        new = following.parse_follow(
            leader,
            into,
            percent=percent,
            fixed=fixed,
            tier=tier,
            equity=equity,
            minimum=minimum,
            maximum=maximum,
            slippage=slippage,
            daily_cap=daily_cap,
            exits=exits,
        )
        system = find_system()
        version = following.run_with_database(
            system.database_settings(), lambda engine: following.save_follow(engine, new)
        )
        size = following.format_size(new)
        typer.echo(f"{new.proxy} copies {size} of {new.leader} (version {version})")
        if (warning := following.find_warning(new, system.variables)) is not None:
            typer.echo(warning, err=True)


@app.command()
def unfollow(
    leader: Leader,
    *,
    proxy: Annotated[str, typer.Option("--from", help="The follower's proxy wallet.")],
) -> None:
    """Stop copying LEADER's trades into this proxy. The proxy keeps what it holds."""
    with report_errors():
        from cli import following
        from cli.settings import find_system

        version = following.run_with_database(
            find_system().database_settings(),
            lambda engine: following.unfollow(engine, leader, proxy),
        )
        typer.echo(f"{proxy} no longer copies {leader} (version {version})")


@app.command()
def follows() -> None:
    """List who follows whom, by which terms and in which mode."""
    with report_errors():
        from rich.console import Console

        from cli import following
        from cli.settings import find_system
        from shared.db.controls import load_controls

        controls = following.run_with_database(find_system().database_settings(), load_controls)
        Console().print(following.build_follows_table(controls))


@app.command()
def pause(
    *,
    leader: LeaderScope = None,
    follower: FollowerScope = None,
    exits_only: Annotated[bool, typer.Option("--exits-only", help="Still copy sales.")] = False,
) -> None:
    """Stop copying: everywhere, of one leader or into one proxy. Takes effect within a second."""
    _change_mode("reducing" if exits_only else "halted", leader=leader, follower=follower)


@app.command()
def resume(*, leader: LeaderScope = None, follower: FollowerScope = None) -> None:
    """Copy again: everywhere, of one leader or into one proxy. The strictest of the three modes
    applies.
    """
    _change_mode("active", leader=leader, follower=follower)


def _change_mode(mode: str, *, leader: str | None, follower: str | None) -> None:
    with report_errors():
        from cli import following
        from cli.settings import find_system
        from shared.domain.follows import Mode

        scope = following.parse_scope(leader=leader, follower=follower)
        version = following.run_with_database(
            find_system().database_settings(),
            lambda engine: following.change_mode(engine, scope, Mode(mode)),
        )
        typer.echo(f"{scope} is {mode} (version {version})")
