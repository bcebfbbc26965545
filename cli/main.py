"""`slipstream`, the command line of operators and newcomers: it assembles the commands.

A command imports what it needs when it runs, so that `slipstream --help` answers at once.
"""

import typer

from cli.commands import (
    controls,
    database,
    dead_letters,
    demo,
    history,
    stack,
    status,
    topics,
    transfers,
    venue,
    why,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Copies the trades of chosen Polymarket wallets into other wallets.",
)
for group in (stack.app, controls.app, status.app, why.app, demo.app):
    app.add_typer(group)
app.add_typer(topics.app, name="topics")
app.add_typer(database.app, name="db")
app.add_typer(venue.app, name="venue")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(transfers.app, name="transfers")
app.add_typer(history.app, name="history")


def main() -> None:
    app()
