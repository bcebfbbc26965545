"""`slipstream transfers`: list, show and resolve transfers, and resume an operator wallet."""

from typing import Annotated

import typer

from cli.errors import report_errors

app = typer.Typer(
    no_args_is_help=True,
    help="Transfers between operator wallets and proxies, which tx-monitor sends.",
)

Request = Annotated[str, typer.Argument(help="The id as `transfers list` shows it.")]
Why = Annotated[str, typer.Option("--why", help="Why: kept with the decision.")]


@app.command("list")
def list_transfers(
    *,
    closed: Annotated[
        bool, typer.Option("--all", help="The newest 200 in any state, not only the open ones.")
    ] = False,
) -> None:
    """List the operator wallets, and their transfers that are open or lost."""
    with report_errors():
        from rich.console import Console

        from cli import transfers
        from cli.following import run_with_database
        from cli.settings import find_system

        overview = run_with_database(
            find_system().database_settings(),
            lambda engine: transfers.load_overview(engine, closed=closed),
        )
        console = Console()
        for table in transfers.build_overview(overview):
            console.print(table)


@app.command("show")
def show_transfer(request: Request) -> None:
    """Show a transfer: what was requested, every attempt to send it, and what became of it."""
    with report_errors():
        from rich.console import Console

        from cli import transfers
        from cli.following import run_with_database
        from cli.settings import find_system

        history = run_with_database(
            find_system().database_settings(),
            lambda engine: transfers.load_history(engine, request),
        )
        transfers.print_whole(history, Console())


@app.command("resolve")
def resolve_transfer(
    request: Request,
    *,
    transferred_by: Annotated[
        str | None,
        typer.Option(
            "--transferred-by", help="The transaction, 0x..., that transferred this amount."
        ),
    ] = None,
    not_transferred: Annotated[
        bool, typer.Option("--not-transferred", help="No transaction transferred it.")
    ] = False,
    why: Why,
) -> None:
    """Say what became of a lost transfer, after looking at the chain."""
    with report_errors():
        from cli import transfers
        from cli.following import run_with_database
        from cli.parsing import parse_transaction_choice
        from cli.settings import find_system

        choice = parse_transaction_choice(transferred_by, not_transferred=not_transferred)
        typer.echo(
            run_with_database(
                find_system().database_settings(),
                lambda engine: transfers.resolve(engine, request, transaction_hash=choice, why=why),
            )
        )


@app.command("resume")
def resume_operator(
    operator: Annotated[str, typer.Argument(help="The address of a halted operator wallet.")],
    *,
    why: Why,
) -> None:
    """Let a halted operator wallet begin transfers again."""
    with report_errors():
        from cli import parsing, transfers
        from cli.following import run_with_database
        from cli.settings import find_system

        address = parsing.parse_address(operator, what="the operator wallet")
        typer.echo(
            run_with_database(
                find_system().database_settings(),
                lambda engine: transfers.resume(engine, address, why=why),
            )
        )
