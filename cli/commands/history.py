"""`slipstream history`: archive and prune the rows of what ended long ago."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, report_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from cli.history.run import Say, Scope

    Run = Callable[[AsyncEngine, Scope, Say], Awaitable[bool]]

app = typer.Typer(
    no_args_is_help=True,
    help="Archive and prune the rows of what ended weeks ago, while the services run.",
)

Folder = Annotated[
    Path | None,
    typer.Option("--folder", envvar="HISTORY_FOLDER", help="Of the archive; it is kept for good."),
]
Weeks = Annotated[int, typer.Option("--weeks", help="What is younger stays.")]
WithoutBroker = Annotated[
    bool,
    typer.Option(
        "--without-broker",
        help="Do not ask Kafka for how long its topics keep their records: they are as declared.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would leave, as `status`.")]
DEFAULT_WEEKS = 5


@app.command("status")
def show_history(*, folder: Folder = None, weeks: Weeks = DEFAULT_WEEKS) -> None:
    """Show what is old enough to leave: rows, sizes, and what keeps it."""
    with report_errors():
        _show(folder, weeks)


@app.command("archive")
def archive_history(
    *,
    folder: Folder = None,
    weeks: Weeks = DEFAULT_WEEKS,
    without_broker: WithoutBroker = False,
    dry_run: DryRun = False,
) -> None:
    """Write what is old enough into files, one per table and week, and read them back; exit status
    1 where a week holds work that has not ended.
    """
    with report_errors():
        _require_limits(weeks, without_broker=without_broker)
        if dry_run:
            _show(folder, weeks)
            return
        from cli.history.run import run_archive

        _run(run_archive, folder, weeks)


@app.command("prune")
def prune_history(
    *,
    folder: Folder = None,
    weeks: Weeks = DEFAULT_WEEKS,
    without_archive: Annotated[
        bool, typer.Option("--without-archive", help="Delete also what was not archived.")
    ] = False,
    without_broker: WithoutBroker = False,
    dry_run: DryRun = False,
) -> None:
    """Remove what is old enough and archived; exit status 1 where something of it stays."""
    with report_errors():
        _require_limits(weeks, without_broker=without_broker)
        if dry_run:
            _show(folder, weeks)
            return
        if folder is None and not without_archive:
            raise CommandError(
                "give --folder, where the archive is, or --without-archive: what is deleted then "
                "is nowhere else"
            )
        from cli.history.run import run_prune

        _run(run_prune, None if without_archive else folder, weeks)


def _require_limits(weeks: int, *, without_broker: bool) -> None:
    from cli.history.limits import fetch_topic_lifetimes, require_long_enough
    from cli.settings import find_system

    require_long_enough(weeks, {})
    if not without_broker:
        require_long_enough(weeks, fetch_topic_lifetimes(find_system().kafka_settings()))


def _show(folder: Path | None, weeks: int) -> None:
    from rich.console import Console

    from cli.following import run_with_database
    from cli.history.run import Scope, show_status
    from cli.settings import find_system
    from shared.clock import utc_now

    scope = Scope(now=utc_now(), weeks=weeks, folder=folder)
    run_with_database(
        find_system().database_settings(), lambda engine: show_status(engine, scope, Console())
    )


def _run(run: "Run", folder: Path | None, weeks: int) -> None:
    """Exit with status 1 where something stays."""
    from cli.following import run_with_database
    from cli.history.run import Scope
    from cli.settings import find_system
    from shared.clock import utc_now

    scope = Scope(now=utc_now(), weeks=weeks, folder=folder)
    is_complete = run_with_database(
        find_system().database_settings(), lambda engine: run(engine, scope, typer.echo)
    )
    if not is_complete:
        raise typer.Exit(1)
