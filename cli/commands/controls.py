"""`slipstream follow`, `unfollow`, `follows`, `pause`, `resume`: read and change the controls."""

from typing import Annotated

import typer

from cli.commands import follow_parameters as parameters
from cli.errors import report_errors

app = typer.Typer()

Leader = Annotated[str, typer.Argument(help="The wallet that is copied.")]
LeaderScope = Annotated[str | None, typer.Option("--leader", help="Only this leader's copies.")]
FollowerScope = Annotated[
    str | None, typer.Option("--follower", help="Only copies into this proxy.")
]


@app.command()
def follow(
    context: typer.Context,
    leader: Leader,
    *,
    into: parameters.Into,
    percent: parameters.Percent = None,
    fixed: parameters.Fixed = None,
    tiers: parameters.Tiers = None,
    equity: parameters.Equity = None,
    minimum: parameters.Minimum = "1",
    maximum: parameters.Maximum = "100",
    slippage: parameters.Slippage = "3",
    daily_cap: parameters.DailyCap = "500",
    exits: parameters.Exits = "proportional",
    at_end: parameters.AtEnd = "keep",
    entries: parameters.Entries = "trades",
    counter: parameters.Counter = False,
    min_leader: parameters.MinLeader = None,
    min_price: parameters.MinPrice = None,
    max_price: parameters.MaxPrice = None,
    max_spread: parameters.MaxSpread = None,
    min_liquidity: parameters.MinLiquidity = None,
    min_time_left: parameters.MinTimeLeft = None,
    max_time_left: parameters.MaxTimeLeft = None,
    tags: parameters.Tags = None,
    excluded_tags: parameters.ExcludedTags = None,
    markets: parameters.Markets = None,
    excluded_markets: parameters.ExcludedMarkets = None,
) -> None:
    """Copy LEADER's trades into a proxy from now on. Given again, the new terms replace the old."""
    with report_errors():
        from cli import following
        from cli.follow_options import FollowOptions, format_further_terms
        from cli.settings import find_system

        options = FollowOptions.from_parameters(context.params)
        new = following.parse_follow(leader, into, options)
        system = find_system()
        version = following.run_with_database(
            system.database_settings(), lambda engine: following.save_follow(engine, new)
        )
        terms = ", ".join(filter(None, (new.leader, format_further_terms(new))))
        size = following.format_size(new)
        typer.echo(f"{new.proxy} copies {size} of {terms} (version {version})")
        if (warning := following.find_warning(new, system.variables)) is not None:
            typer.echo(warning, err=True)


@app.command()
def unfollow(
    leader: Leader,
    *,
    proxy: Annotated[str, typer.Option("--from", help="The follower's proxy wallet.")],
    positions: Annotated[
        str | None,
        typer.Option(
            help="What happens to the shares that were bought by following: keep, close-out "
            "(sell them all) or follow (copy the leader's exits until none are left). Without it, "
            "what the follow's --at-end says. Given again, it decides anew.",
        ),
    ] = None,
) -> None:
    """Stop copying LEADER's entries into this proxy."""
    with report_errors():
        from cli import following
        from cli.settings import find_system

        ended = following.run_with_database(
            find_system().database_settings(),
            lambda engine: following.unfollow(engine, leader, proxy, positions=positions),
        )
        typer.echo(
            f"{proxy} no longer copies {leader}, its shares: "
            f"{following.DESCRIPTION_BY_END[ended.at_end]} (version {ended.version})"
        )


@app.command()
def follows() -> None:
    """List who follows whom, by which terms and in which mode."""
    with report_errors():
        from rich.console import Console

        from cli import following
        from cli.settings import find_system
        from shared.db.controls import load_controls

        controls = following.run_with_database(find_system().database_settings(), load_controls)
        console = Console()
        console.print(following.build_follows_table(controls))
        if (further := following.build_further_terms_table(controls)) is not None:
            console.print(further)


@app.command()
def pause(
    *,
    leader: LeaderScope = None,
    follower: FollowerScope = None,
    exits_only: Annotated[bool, typer.Option("--exits-only", help="Still copy sales.")] = False,
    close_out: Annotated[
        bool, typer.Option("--close-out", help="Sell all shares that follows hold.")
    ] = False,
) -> None:
    """Stop copying: everywhere, of one leader or into one proxy. Takes effect within a second."""
    mode = "closing" if close_out else "reducing" if exits_only else "halted"
    _change_mode(mode, leader=leader, follower=follower)


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
