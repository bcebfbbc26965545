"""Find the system that a command talks to: by the environment, or by the running local stack."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.errors import CommandError

if TYPE_CHECKING:
    from shared.db.settings import DatabaseSettings
    from shared.streams.settings import KafkaSettings
    from tools.stack.state import PartState, StackState

MISSING_VARIABLE = (
    "{variable} is not set and no local stack runs: set it, or start a local stack with "
    "`slipstream stack up` or `make demo`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Where Kafka, the database, the chain and the services are."""

    variables: Mapping[str, str]
    """The environment, completed by the variables of the running local stack."""
    parts: tuple["PartState", ...] = ()
    """The local stack's processes. Empty where none runs or the environment names another one."""

    def variable(self, name: str) -> str:
        """Raises: CommandError where it is not set, saying what to do."""
        if not (value := self.variables.get(name)):
            raise CommandError(MISSING_VARIABLE.format(variable=name))
        return value

    def database_settings(self) -> "DatabaseSettings":
        """Raises: CommandError, InvalidSettings."""
        from shared.db.settings import DatabaseSettings
        from shared.settings import read

        os.environ["DATABASE_URL"] = self.variable("DATABASE_URL")
        return read(DatabaseSettings)

    def kafka_settings(self) -> "KafkaSettings":
        """Raises: CommandError, InvalidSettings."""
        from shared.settings import read
        from shared.streams.settings import KafkaSettings

        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = self.variable("KAFKA_BOOTSTRAP_SERVERS")
        return read(KafkaSettings)


def find_system() -> System:
    """Raises: StackError where a STACK_ variable has a bad value."""
    stack = _running_stack()
    own = {name: value for name, value in os.environ.items() if value}
    if stack is None:
        return System(variables=own)
    variables = {**stack.environment, **own}
    is_local = variables.get("DATABASE_URL") == stack.environment.get("DATABASE_URL")
    return System(variables=variables, parts=stack.parts if is_local else ())


def _running_stack() -> "StackState | None":
    from tools.stack.commands import load_running_state
    from tools.stack.settings import StackSettings

    return load_running_state(StackSettings.from_environment().folder)
