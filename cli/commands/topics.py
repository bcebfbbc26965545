"""`slipstream topics`: compare the declared Kafka topics with the cluster, and apply them."""

import typer

from cli.errors import report_errors

app = typer.Typer(
    invoke_without_command=True,
    help="Show how the cluster's topics differ from the declared ones, or apply the declaration.",
)


@app.callback()
def topics(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show_topics()


@app.command("show")
def show_topics() -> None:
    """Show the declared topics and what differs on the cluster; exit status 1 if anything does."""
    with report_errors():
        from cli.settings import find_system
        from cli.topics import show

        if not show(find_system().kafka_settings()):
            raise typer.Exit(1)


@app.command("apply")
def apply_topics() -> None:
    """Create missing topics and change differing ones; exit status 1 if one cannot be changed."""
    with report_errors():
        from cli.settings import find_system
        from cli.topics import apply

        if not apply(find_system().kafka_settings()):
            raise typer.Exit(1)
