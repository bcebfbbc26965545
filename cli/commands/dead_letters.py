"""`slipstream dead-letters`: list, show, redrive and discard what could not be handled."""

from typing import Annotated

import typer

from cli.errors import report_errors

app = typer.Typer(
    no_args_is_help=True,
    help="Messages that could not be handled, and those that wait behind them.",
)

Numbers = Annotated[list[int], typer.Argument(help="Numbers as `dead-letters list` shows them.")]
Reason = Annotated[str, typer.Option("--why", help="Why: kept with the decision.")]


@app.command("list")
def list_dead_letters(
    *,
    settled: Annotated[
        bool, typer.Option("--all", help="Also those that were redriven or discarded.")
    ] = False,
) -> None:
    """List what is parked or waits, oldest first."""
    with report_errors():
        from rich.console import Console

        from cli import dead_letters
        from cli.following import run_with_database
        from cli.settings import find_system

        loaded = run_with_database(
            find_system().database_settings(),
            lambda engine: dead_letters.load(engine, settled=settled),
        )
        Console().print(dead_letters.build_table(loaded) if loaded else "Nothing is parked.")


@app.command("show")
def show_dead_letter(
    number: Annotated[int, typer.Argument(help="The number as `dead-letters list` shows it.")],
) -> None:
    """Show one of them whole: its message, why it is parked, and what was decided about it."""
    with report_errors():
        from rich.console import Console

        from cli import dead_letters
        from cli.following import run_with_database
        from cli.settings import find_system

        loaded = run_with_database(
            find_system().database_settings(),
            lambda engine: dead_letters.require_one(engine, number),
        )
        dead_letters.print_whole(loaded, Console())


@app.command("redrive")
def redrive_dead_letters(numbers: Numbers, *, why: Reason = "") -> None:
    """Have them handled again, each before what waits behind it."""
    with report_errors():
        from cli import dead_letters
        from cli.following import run_with_database
        from cli.settings import find_system

        for line in run_with_database(
            find_system().database_settings(),
            lambda engine: dead_letters.redrive(engine, numbers, why=why),
        ):
            typer.echo(line)


@app.command("discard")
def discard_dead_letters(
    numbers: Numbers,
    *,
    why: Annotated[
        str, typer.Option("--why", help="Why: kept with the decision, which cannot be undone.")
    ],
) -> None:
    """Give them up for good; what waits behind them is handled."""
    with report_errors():
        from cli import dead_letters
        from cli.following import run_with_database
        from cli.settings import find_system

        for line in run_with_database(
            find_system().database_settings(),
            lambda engine: dead_letters.discard(engine, numbers, why=why),
        ):
            typer.echo(line)
