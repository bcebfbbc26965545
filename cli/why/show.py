"""Answers `slipstream why`: loads what is recorded and prints it."""

from rich.console import Console

from cli.following import run_with_database
from cli.why.identifiers import Identifier
from cli.why.loading import load
from cli.why.records import UncopiedTrade
from cli.why.screen import build_copies
from cli.why.uncopied import build_uncopied
from shared.db.settings import DatabaseSettings


def show(settings: DatabaseSettings, wanted: Identifier, *, follower: str | None) -> None:
    """Raises: CommandError, InvalidSettings, Transient."""
    answer = run_with_database(settings, lambda engine: load(engine, wanted, follower=follower))
    parts = build_uncopied(answer) if isinstance(answer, UncopiedTrade) else build_copies(answer)
    console = Console()
    for part in parts:
        console.print(part)
