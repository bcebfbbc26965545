"""`slipstream why`: show how a copy came about, and what became of it."""

from typing import Annotated

import typer

from cli.errors import report_errors

app = typer.Typer()


@app.command()
def why(
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An intent id (or its first 8 digits or more), the hash of an order, or of a "
            "transaction: of the leader's trade, or of a settlement of ours.",
        ),
    ],
    *,
    follower: Annotated[
        str | None, typer.Option("--follower", help="Only the copy into this proxy.")
    ] = None,
) -> None:
    """Show of a copy what the leader did, who reported it, which rule decided and by which margin,
    and what became of the order.
    """
    with report_errors():
        from cli.parsing import parse_address
        from cli.settings import find_system
        from cli.why.identifiers import parse_identifier
        from cli.why.show import show

        identifier = parse_identifier(wanted)
        proxy = None if follower is None else parse_address(follower, what="--follower")
        show(find_system().database_settings(), identifier, follower=proxy)
