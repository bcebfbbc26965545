"""How a command reports an error: one sentence that says what to do, and exit status 1."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

EXPECTED_ERRORS = (
    "StackError",
    "InvalidSettings",
    "MessageError",
    "CommandError",
    "ScenarioError",
    "VenueRefused",
)
"""By name, so that no module has to be imported only to recognise its errors."""


class CommandError(Exception):
    """A command cannot do what was asked of it; the text says why, and what to do."""


@contextmanager
def report_errors() -> Iterator[None]:
    """Print an error that the reader can act on and exit with status 1. Any other error is a bug:
    it passes through and shows its traceback.
    """
    try:
        yield
    except Exception as error:
        if not _is_expected(error):
            raise
        typer.echo(f"slipstream: {error}", err=True)
        raise typer.Exit(1) from None


def _is_expected(error: Exception) -> bool:
    return any(kind.__name__ in EXPECTED_ERRORS for kind in type(error).__mro__)
