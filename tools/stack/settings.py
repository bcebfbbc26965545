"""What may the user choose about the local stack? Read once, from the environment; a bad value
names its variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tools.stack.errors import StackError

REPOSITORY = Path(__file__).resolve().parents[2]

Port = Annotated[int, Field(ge=1, le=65_535)]
Mining = Literal["interval", "automine", "manual"]


def provided_as(variable: str, field: str) -> AliasChoices:
    """Return the names a field goes by: the variable that the services read, and its own for
    callers.
    """
    return AliasChoices(variable, field)


class StackSettings(BaseSettings):
    """Each field is read from STACK_<NAME> unless it says otherwise; an empty variable counts as
    unset.
    """

    model_config = SettingsConfigDict(
        env_prefix="STACK_", frozen=True, env_ignore_empty=True, extra="forbid"
    )

    folder: Path = REPOSITORY / "var" / "stack"
    cache: Path | None = Field(
        default=None, validation_alias=provided_as("SLIPSTREAM_CACHE", "cache")
    )
    xdg_cache_home: Path | None = Field(
        default=None, validation_alias=provided_as("XDG_CACHE_HOME", "xdg_cache_home")
    )

    # What is given here is used as it is, and that part is not started.
    kafka_bootstrap_servers: str | None = Field(
        default=None,
        validation_alias=provided_as("KAFKA_BOOTSTRAP_SERVERS", "kafka_bootstrap_servers"),
    )
    database_url: str | None = Field(
        default=None, validation_alias=provided_as("DATABASE_URL", "database_url")
    )
    rpc_url: str | None = Field(
        default=None, validation_alias=provided_as("POLYGON_RPC_URL", "rpc_url")
    )

    kafka_port: Port | None = None
    postgres_port: Port | None = None
    rpc_port: Port | None = None

    brokers: Literal[1, 3] = 1
    kafka_heap_mb: int = Field(default=512, ge=192)
    # Compile Java code quickly instead of well: starts a little sooner, carries much less. Not for
    # measurements.
    quick_compile: bool = False
    # Off: a crash of the machine may lose committed rows. For tests whose subject is not
    # durability.
    durable: bool = True
    # How blocks are mined: every `block_seconds`, one for each transaction, or only when asked by
    # evm_mine.
    mining: Mining = "interval"
    block_seconds: float = Field(default=1.0, gt=0)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings.

        Raises:
            StackError: a variable has a bad value; names it, what it holds and what it wants.
        """
        try:
            return cls()
        except ValidationError as error:
            raise StackError(
                "\n".join(
                    _complaint(detail["loc"], detail["input"], detail["msg"])
                    for detail in error.errors()
                )
            ) from error

    @property
    def cache_folder(self) -> Path:
        """Where downloads are kept: SLIPSTREAM_CACHE, else a folder of ours in the user's cache."""
        return self.cache or (self.xdg_cache_home or Path.home() / ".cache") / "slipstream"


def environment_for_child(added: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process: our own, and what is added."""
    return {**os.environ, **added}


def _complaint(location: tuple[int | str, ...], value: object, wanted: str) -> str:
    name = str(location[0])
    variable = name if name.isupper() else f"STACK_{name.upper()}"
    return f"{variable} is {value!r}: {wanted[0].lower()}{wanted[1:]}"
