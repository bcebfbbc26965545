"""`slipstream db`: bring the database to the release's schema."""

import typer

from cli.errors import report_errors

app = typer.Typer(no_args_is_help=True, help="The database's tables.")


@app.command("migrate")
def migrate_database() -> None:
    """Create or change the tables, so that they fit this release."""
    with report_errors():
        from cli.database import migrate
        from cli.settings import find_system

        migrate(find_system().database_settings())
