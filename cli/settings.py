"""Where are Kafka, the database and the chain? By the environment, or by the state of the local
stack that runs.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.errors import WrongInput

if TYPE_CHECKING:
    from shared.db.settings import DatabaseSettings
    from shared.streams.settings import KafkaSettings
    from tools.stack.state import PartState, StackState

WHAT_TO_DO = "{variable} is not set and no local stack runs: set it, or start one with `slipstream stack up` or `make demo`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The system that a command speaks to."""

    variables: Mapping[str, str]
    """The environment; where it says nothing, what the local stack tells."""
    parts: tuple["PartState", ...] = ()
    """Of the local stack, where one runs and the environment does not point elsewhere."""

    def variable(self, name: str) -> str:
        """Raises: WrongInput, saying what to do."""
        if not (value := self.variables.get(name)):
            raise WrongInput(WHAT_TO_DO.format(variable=name))
        return value

    def database(self) -> "DatabaseSettings":
        """Raises: WrongInput, InvalidSettings."""
        from shared.db.settings import DatabaseSettings
        from shared.settings import read

        os.environ["DATABASE_URL"] = self.variable("DATABASE_URL")
        return read(DatabaseSettings)

    def kafka(self) -> "KafkaSettings":
        """Raises: WrongInput, InvalidSettings."""
        from shared.settings import read
        from shared.streams.settings import KafkaSettings

        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = self.variable("KAFKA_BOOTSTRAP_SERVERS")
        return read(KafkaSettings)


def find_place() -> Place:
    """Raises: StackError where a STACK_ variable has a bad value."""
    stack = _running_stack()
    told = dict(stack.environment) if stack is not None else {}
    own = {name: value for name, value in os.environ.items() if value}
    is_ours = stack is not None and own.get("DATABASE_URL", told.get("DATABASE_URL")) == told.get(
        "DATABASE_URL"
    )
    return Place(
        variables={**told, **own}, parts=stack.parts if stack is not None and is_ours else ()
    )


def _running_stack() -> "StackState | None":
    from tools.stack.commands import running_state
    from tools.stack.settings import StackSettings

    return running_state(StackSettings.from_environment().folder)
