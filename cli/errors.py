"""How is what went wrong told on the command line? One sentence that says what to do, and exit
status 1.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

OURS = (
    "StackError",
    "InvalidSettings",
    "MessageError",
    "WrongInput",
    "ScenarioError",
    "VenueRefused",
)


class WrongInput(Exception):
    """Something that was typed cannot be meant."""


@contextmanager
def told_plainly() -> Iterator[None]:
    """For errors that the reader can act on; anything else is a bug and shows where."""
    try:
        yield
    except Exception as error:
        if not _is_for_the_reader(error):
            raise
        typer.echo(f"slipstream: {error}", err=True)
        raise typer.Exit(1) from None


def _is_for_the_reader(error: Exception) -> bool:
    """By name, so that nothing has to be imported only to be told apart."""
    return any(kind.__name__ in OURS for kind in type(error).__mro__)
