"""`slipstream status` and `slipstream debts`: show the state of the system."""

import typer

from cli.errors import report_errors

app = typer.Typer()


@app.command()
def status() -> None:
    """Show follows, modes, today's copies, open orders, positions, debts, the last hour's latency
    and the services' readiness.
    """
    with report_errors():
        from cli.settings import find_system
        from cli.status import show

        show(find_system())


@app.command()
def drift() -> None:
    """Compare what leaders hold on the chain with what their followers hold by copying them, and
    tell what is done about a difference.
    """
    with report_errors():
        from cli.drift import show
        from cli.settings import find_system

        show(find_system())


@app.command()
def debts() -> None:
    """List what is owed, and by which copy."""
    with report_errors():
        from cli.settings import find_system
        from cli.status import show_debts

        show_debts(find_system().database_settings())
