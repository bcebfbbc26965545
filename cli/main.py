"""`slipstream`: follow leaders, pause and resume, look at what happens, and run all of it on this
machine.

Only what a command needs is imported, when it runs: `slipstream --help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from cli.demo.options import DEMO_FOLDER, Until
from cli.errors import told_plainly

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Copies the trades of chosen Polymarket wallets into other wallets.",
)
topics_app = typer.Typer(
    invoke_without_command=True,
    help="The declared Kafka topics: what differs on the cluster (show), or apply it.",
)
db_app = typer.Typer(no_args_is_help=True, help="The database.")
venue_app = typer.Typer(no_args_is_help=True, help="The paper venue: a Polymarket on this machine.")
app.add_typer(topics_app, name="topics")
app.add_typer(db_app, name="db")
app.add_typer(venue_app, name="venue")
letters_app = typer.Typer(
    no_args_is_help=True,
    help="Messages that could not be handled, and those that wait behind them.",
)
app.add_typer(letters_app, name="dead-letters")

VENUE_PORT = 8137
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Leader = Annotated[str, typer.Argument(help="The wallet that is copied.")]
Usdc = "USDC"


@app.command(context_settings=PASSED_ON)
def stack(context: typer.Context) -> None:
    """The local Kafka, PostgreSQL and chain: up, status, down, fetch."""
    from tools.stack.commands import app as stack_app

    stack_app(args=context.args, prog_name="slipstream stack")


@topics_app.callback()
def topics(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show_topics()


@topics_app.command("show")
def show_topics() -> None:
    """Show the declared topics and what differs on the cluster; exit status 1 if anything does."""
    with told_plainly():
        from cli.settings import find_place
        from cli.topics import show

        if not show(find_place().kafka()):
            raise typer.Exit(1)


@topics_app.command("apply")
def apply_topics() -> None:
    """Create and alter what is missing or differs; exit status 1 if something cannot be altered."""
    with told_plainly():
        from cli.settings import find_place
        from cli.topics import apply

        if not apply(find_place().kafka()):
            raise typer.Exit(1)


@db_app.command("migrate")
def migrate() -> None:
    """Bring the database to this release's shape."""
    with told_plainly():
        from cli.database import migrate
        from cli.settings import find_place

        migrate(find_place().database())


@venue_app.command("up")
def venue_up(
    *,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object: addresses, contracts, accounts with their keys."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where it answers; 0: any free one.")
    ] = VENUE_PORT,
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 1,
    accounts: Annotated[
        int, typer.Option(min=0, max=100, help="Funded accounts of each kind.")
    ] = 2,
) -> None:
    """Run a paper venue with a chain of its own (or the one of POLYGON_RPC_URL) until Ctrl-C;
    nothing of it survives.
    """
    with told_plainly():
        from cli.venue import Wanted, up

        up(Wanted(port=port, seed=seed, accounts=accounts, as_json=json))


@venue_app.command("scenario")
def venue_scenario(
    file: Annotated[
        Path, typer.Argument(help="A .toml or .json file; docs/scenarios has examples.")
    ],
    *,
    venue: Annotated[
        str, typer.Option(envvar="CLOB_URL", help="The paper venue.")
    ] = f"http://127.0.0.1:{VENUE_PORT}",
) -> None:
    """Play a scenario to a running paper venue: faults on and off, ticks, resolutions, leader
    trades, each at its time.
    """
    with told_plainly():
        from cli.scenario import play

        play(file, venue)


@venue_app.command("record")
def venue_record(
    file: Annotated[Path, typer.Argument(help="Where to write it; not a file that exists.")],
    *,
    seconds: Annotated[
        int | None, typer.Option(min=1, help="How long.", show_default="until Ctrl-C")
    ] = None,
    token: Annotated[
        list[str] | None,
        typer.Option(help="Only these tokens' markets; may be repeated.", show_default="all"),
    ] = None,
    venue: Annotated[
        str | None, typer.Option(envvar="CLOB_URL", help="A paper venue, by its CLOB's address.")
    ] = None,
    clob: Annotated[str | None, typer.Option(help="CLOB REST, if not the paper venue's.")] = None,
    gamma: Annotated[str | None, typer.Option(help="Gamma, if not the paper venue's.")] = None,
    market: Annotated[
        str | None, typer.Option(help="The market channel, if not the paper venue's.")
    ] = None,
    rtds: Annotated[str | None, typer.Option(help="RTDS, if not the paper venue's.")] = None,
) -> None:
    """Write down what a venue serves in public: markets, books, market channel and activity, to be
    played again (docs/recordings.md).
    """
    with told_plainly():
        from cli import recording

        options = recording.Asked(
            venue=venue,
            clob=clob,
            gamma=gamma,
            market=market,
            rtds=rtds,
            tokens=token or (),
            seconds=seconds,
        )
        typer.echo(recording.run_record(file, options))


@venue_app.command("play")
def venue_play(
    file: Annotated[Path, typer.Argument(help="A recording.")],
    *,
    speed: Annotated[str, typer.Option(help="Times the recorded pace, or max.")] = "1",
    json: Annotated[
        bool, typer.Option("--json", help="Print the ready line, with every address, as JSON.")
    ] = False,
) -> None:
    """Run a paper venue whose markets, books and trades are those of a recording
    (docs/recordings.md).
    """
    with told_plainly():
        from cli import recording
        from cli.settings import find_place

        recording.play(file, find_place().variable("POLYGON_RPC_URL"), speed=speed, as_json=json)


Numbers = Annotated[list[int], typer.Argument(help="As `dead-letters list` has them.")]
Why = Annotated[str, typer.Option("--why", help="For the record.")]


@letters_app.command("list")
def list_letters(
    *,
    settled: Annotated[
        bool, typer.Option("--all", help="Also those that were redriven or discarded.")
    ] = False,
) -> None:
    """What is parked or waits, oldest first."""
    with told_plainly():
        from rich.console import Console

        from cli import dead_letters
        from cli.following import with_database
        from cli.settings import find_place

        found = with_database(
            find_place().database(), lambda engine: dead_letters.listed(engine, settled=settled)
        )
        Console().print(dead_letters.draw_list(found) if found else "Nothing is parked.")


@letters_app.command("show")
def show_letter(
    number: Annotated[int, typer.Argument(help="As `dead-letters list` has it.")],
) -> None:
    """One of them whole: its message, why it is parked, and what was decided about it."""
    with told_plainly():
        from rich.console import Console

        from cli import dead_letters
        from cli.following import with_database
        from cli.settings import find_place

        dead_letters.draw(
            with_database(
                find_place().database(), lambda engine: dead_letters.shown(engine, number)
            ),
            Console(),
        )


@letters_app.command("redrive")
def redrive_letters(numbers: Numbers, *, why: Why = "") -> None:
    """Have them handled once more, each before what waits behind it."""
    with told_plainly():
        from cli import dead_letters
        from cli.following import with_database
        from cli.settings import find_place

        for told in with_database(
            find_place().database(), lambda engine: dead_letters.redrive(engine, numbers, why=why)
        ):
            typer.echo(told)


@letters_app.command("discard")
def discard_letters(
    numbers: Numbers,
    *,
    why: Annotated[str, typer.Option("--why", help="For the record; it cannot be taken back.")],
) -> None:
    """Give them up for good; what waits behind them goes on."""
    with told_plainly():
        from cli import dead_letters
        from cli.following import with_database
        from cli.settings import find_place

        for told in with_database(
            find_place().database(), lambda engine: dead_letters.discard(engine, numbers, why=why)
        ):
            typer.echo(told)


@app.command()
def follow(
    leader: Leader,
    *,
    into: Annotated[str, typer.Option("--into", help="The follower's proxy wallet.")],
    percent: Annotated[
        str | None, typer.Option(help="Copy so many percent of the leader's trade.")
    ] = None,
    fixed: Annotated[
        str | None,
        typer.Option(help="Copy this amount whatever the leader's trade is.", metavar=Usdc),
    ] = None,
    minimum: Annotated[
        str, typer.Option("--min", help="No copy is smaller: it is raised to this.", metavar=Usdc)
    ] = "1",
    maximum: Annotated[
        str, typer.Option("--max", help="No copy is larger: it is cut to this.", metavar=Usdc)
    ] = "100",
    slippage: Annotated[
        str, typer.Option(help="How many percent worse than the leader's price at most.")
    ] = "3",
    daily_cap: Annotated[
        str, typer.Option(help="To spend per UTC day at most.", metavar=Usdc)
    ] = "500",
) -> None:
    """Copy LEADER's trades into a proxy from now on; given again, the new terms count."""
    with told_plainly():
        from cli import following
        from cli.settings import find_place

        wanted = following.follow_of(
            leader,
            into,
            percent=percent,
            fixed=fixed,
            minimum=minimum,
            maximum=maximum,
            slippage=slippage,
            daily_cap=daily_cap,
        )
        version = following.with_database(
            find_place().database(), lambda engine: following.put_follow(engine, wanted)
        )
        typer.echo(
            f"{wanted.proxy} copies {following.terms(wanted)} of {wanted.leader} (version {version})"
        )


@app.command()
def unfollow(
    leader: Leader,
    *,
    proxy: Annotated[str, typer.Option("--from", help="The follower's proxy wallet.")],
) -> None:
    """Copy LEADER's trades into this proxy no longer. What it holds, it keeps."""
    with told_plainly():
        from cli import following
        from cli.settings import find_place

        version = following.with_database(
            find_place().database(), lambda engine: following.unfollow(engine, leader, proxy)
        )
        typer.echo(f"{proxy} no longer copies {leader} (version {version})")


@app.command()
def follows() -> None:
    """List who follows whom, by which terms and in which mode."""
    with told_plainly():
        from rich.console import Console

        from cli import following
        from cli.settings import find_place
        from shared.db.controls import load_controls

        Console().print(
            following.follows_table(following.with_database(find_place().database(), load_controls))
        )


LeaderScope = Annotated[str | None, typer.Option("--leader", help="Only this leader's copies.")]
FollowerScope = Annotated[
    str | None, typer.Option("--follower", help="Only copies into this proxy.")
]


@app.command()
def pause(
    *,
    leader: LeaderScope = None,
    follower: FollowerScope = None,
    exits_only: Annotated[bool, typer.Option("--exits-only", help="Still copy sales.")] = False,
) -> None:
    """Copy nothing more: everywhere, of one leader or into one proxy. Takes effect within a second."""
    _set_mode("reducing" if exits_only else "halted", leader=leader, follower=follower)


@app.command()
def resume(*, leader: LeaderScope = None, follower: FollowerScope = None) -> None:
    """Copy again: everywhere, of one leader or into one proxy. The strictest of the three modes
    counts.
    """
    _set_mode("active", leader=leader, follower=follower)


def _set_mode(mode: str, *, leader: str | None, follower: str | None) -> None:
    with told_plainly():
        from cli import following
        from cli.settings import find_place
        from shared.domain.follows import Mode

        scope = following.scope_of(leader=leader, follower=follower)
        version = following.with_database(
            find_place().database(), lambda engine: following.set_mode(engine, scope, Mode(mode))
        )
        typer.echo(f"{scope} is {mode} (version {version})")


@app.command()
def status() -> None:
    """Follows, modes, copies of today, open orders, positions, debts, latency of the last hour, and
    the services' readiness.
    """
    with told_plainly():
        from cli.settings import find_place
        from cli.status import show

        show(find_place())


@app.command()
def debts() -> None:
    """List what is owed, and by which copy."""
    with told_plainly():
        from cli.settings import find_place
        from cli.status import show_debts

        show_debts(find_place().database())


@app.command()
def demo(
    *,
    trades: Annotated[
        int, typer.Option(min=1, envvar="DEMO_TRADES", help="Leader trades, after which it ends.")
    ] = 200,
    followers: Annotated[
        int, typer.Option(min=2, max=500, envvar="DEMO_FOLLOWERS", help="Wallets that copy.")
    ] = 20,
    per_second: Annotated[
        str, typer.Option(envvar="DEMO_PER_SECOND", help="Leader trades per second.")
    ] = "2.5",
    settle_within: Annotated[
        int | None,
        typer.Option(
            min=1,
            envvar="DEMO_SETTLE_WITHIN",
            help="Seconds after the last trade.",
            show_default="60, with a fault 180",
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Where the summary is left.", show_default="var/demo")
    ] = DEMO_FOLDER,
    until: Annotated[
        Until, typer.Option(envvar="DEMO", help="forever: until Ctrl-C.")
    ] = Until.TRADED,
    fault: Annotated[
        str,
        typer.Option(
            envvar="DEMO_FAULT",
            help="Strikes at the venue while the leaders trade.",
            show_default="none",
        ),
    ] = "",
) -> None:
    """Run everything on this machine: leaders trade, followers copy, every figure is checked.

    Exit status 0 only if all checks hold; with a fault, also if nothing is open but copies that the
    summary names.
    """
    with told_plainly():
        from cli import parsing
        from cli.demo.command import run
        from cli.demo.faults import settle_within_s
        from cli.demo.options import Options

        chosen = parsing.fault(fault, what="--fault (DEMO_FAULT)") if fault else None
        options = Options(
            trades=trades,
            followers=followers,
            per_second=parsing.above_zero(per_second, what="--per-second (DEMO_PER_SECOND)"),
            until=until,
            settle_within_s=settle_within or settle_within_s(chosen),
            folder=folder,
            fault=chosen,
        )
        raise typer.Exit(run(options))


def main() -> None:
    app()
