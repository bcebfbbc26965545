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


Entries = Annotated[
    str,
    typer.Option(
        help="What is bought: trades (what the leader buys), mirror (that, and what he holds more, "
        "at the start and after gaps) or none.",
    ),
]
Exits = Annotated[str, typer.Option(help="When the leader sells: proportional, all or none.")]
AtEnd = Annotated[
    str,
    typer.Option(
        "--at-end",
        help="What happens to the shares that it holds when it ends: keep, close-out or follow "
        "(the leader's exits are still copied).",
    ),
]


@app.command()
def follow(
    leader: Leader,
    *,
    into: Annotated[str, typer.Option("--into", help="The follower's proxy wallet.")],
    percent: Annotated[
        str | None, typer.Option(help="Copy this many percent of the leader's trade.")
    ] = None,
    fixed: Annotated[
        str | None,
        typer.Option(help="Copy this amount, whatever the leader's trade is.", metavar=USDC),
    ] = None,
    minimum: Annotated[
        str, typer.Option("--min", help="A smaller copy is raised to this.", metavar=USDC)
    ] = "1",
    maximum: Annotated[
        str, typer.Option("--max", help="A larger copy is cut to this.", metavar=USDC)
    ] = "100",
    slippage: Annotated[
        str, typer.Option(help="At most this many percent worse than the leader's price.")
    ] = "3",
    daily_cap: Annotated[
        str, typer.Option(help="Spend at most this much per UTC day by this follow.", metavar=USDC)
    ] = "500",
    entries: Entries = "trades",
    exits: Exits = "proportional",
    at_end: AtEnd = "keep",
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
            minimum=minimum,
            maximum=maximum,
            slippage=slippage,
            daily_cap=daily_cap,
            entries=entries,
            exits=exits,
            at_end=at_end,
        )
        version = following.run_with_database(
            find_system().database_settings(), lambda engine: following.save_follow(engine, new)
        )
        amount = following.format_amount(new)
        typer.echo(f"{new.proxy} copies {amount} of {new.leader} (version {version})")


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
        Console().print(following.build_follows_table(controls))


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
