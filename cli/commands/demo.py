"""`slipstream demo`: run the whole system on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from cli.demo.options import DEMO_FOLDER, Until
from cli.errors import report_errors

app = typer.Typer()


Trades = Annotated[
    int, typer.Option(min=1, envvar="DEMO_TRADES", help="It ends after so many leader trades.")
]
Followers = Annotated[
    int, typer.Option(min=2, max=500, envvar="DEMO_FOLLOWERS", help="Wallets that copy.")
]
PerSecond = Annotated[str, typer.Option(envvar="DEMO_PER_SECOND", help="Leader trades per second.")]
SettleWithin = Annotated[
    int | None,
    typer.Option(
        min=1,
        envvar="DEMO_SETTLE_WITHIN",
        help="Seconds after the last trade by which every copy should be final.",
        show_default="60, with a fault 180",
    ),
]
Folder = Annotated[
    Path, typer.Option(help="Where the summary is written.", show_default="var/demo")
]
Ending = Annotated[Until, typer.Option(envvar="DEMO", help="forever: until Ctrl-C.")]
FaultName = Annotated[
    str,
    typer.Option(
        envvar="DEMO_FAULT",
        help="A fault of the venue that is on while the leaders trade.",
        show_default="none",
    ),
]


@app.command()
def demo(
    *,
    trades: Trades = 200,
    followers: Followers = 20,
    per_second: PerSecond = "2.5",
    settle_within: SettleWithin = None,
    folder: Folder = DEMO_FOLDER,
    until: Ending = Until.TRADED,
    fault: FaultName = "",
) -> None:
    """Run everything on this machine: leaders trade, followers copy, every figure is checked.

    Exit status 0 only if all checks hold. With a fault, copies that are not final are allowed if
    the summary names them.
    """
    with report_errors():
        from cli import parsing
        from cli.demo.command import run
        from cli.demo.faults import settle_within_s
        from cli.demo.options import Options

        chosen = parsing.parse_fault(fault, what="--fault (DEMO_FAULT)") if fault else None
        options = Options(
            trades=trades,
            followers=followers,
            per_second=parsing.parse_positive(per_second, what="--per-second (DEMO_PER_SECOND)"),
            until=until,
            settle_within_s=settle_within or settle_within_s(chosen),
            folder=folder,
            fault=chosen,
        )
        raise typer.Exit(run(options))
