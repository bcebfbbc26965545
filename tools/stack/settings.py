"""The settings of the local stack, read from the environment."""

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


def aliases(variable: str, field: str) -> AliasChoices:
    """Return the names of a field: the variable that the services read, and its own for callers."""
    return AliasChoices(variable, field)


class StackSettings(BaseSettings):
    """The local stack's files and how its parts run. An empty variable counts as unset.

    A server that is named here is used, and that part of the stack is not started.
    """

    model_config = SettingsConfigDict(
        env_prefix="STACK_",
        frozen=True,
        env_ignore_empty=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    folder: Path = REPOSITORY / "var" / "stack"
    """Holds the lock, the state, the logs and, while the stack runs, its data."""
    cache: Path | None = Field(default=None, validation_alias=aliases("SLIPSTREAM_CACHE", "cache"))
    """Where downloads are kept. Not set: `slipstream` in the user's cache folder."""
    xdg_cache_home: Path | None = Field(
        default=None, validation_alias=aliases("XDG_CACHE_HOME", "xdg_cache_home")
    )
    """The user's cache folder. Not set: `~/.cache`."""

    kafka_bootstrap_servers: str | None = Field(
        default=None,
        validation_alias=aliases("KAFKA_BOOTSTRAP_SERVERS", "kafka_bootstrap_servers"),
    )
    """Brokers to use instead of starting Kafka."""
    database_url: str | None = Field(
        default=None, validation_alias=aliases("DATABASE_URL", "database_url")
    )
    """A database to use instead of starting PostgreSQL."""
    rpc_url: str | None = Field(
        default=None, validation_alias=aliases("POLYGON_RPC_URL", "rpc_url")
    )
    """A node to use instead of starting a chain."""

    kafka_port: Port | None = None
    """The first broker's port. Not set: any free one."""
    postgres_port: Port | None = None
    """PostgreSQL's port. Not set: any free one."""
    rpc_port: Port | None = None
    """The chain's port. Not set: any free one."""

    brokers: Literal[1, 3] = 1
    """How many Kafka brokers run."""
    kafka_heap_mb: int = Field(default=512, ge=192)
    """The largest Java heap of each broker, in MB."""
    quick_compile: bool = False
    """Compile Kafka's Java code quickly instead of well: it starts a little sooner and handles much
    less. Not for measurements."""
    durable: bool = True
    """Off: a crash of the machine may lose committed rows. For tests that are not about
    durability."""
    mining: Mining = "interval"
    """When blocks are mined: interval, every STACK_BLOCK_SECONDS; automine, one for each
    transaction; manual, only by evm_mine."""
    block_seconds: float = Field(default=1.0, gt=0)
    """Seconds between two blocks, if mined at intervals."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings.

        Raises:
            StackError: a variable has a wrong value; names it, its value and what is allowed.
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
        """Where downloads are kept."""
        return self.cache or (self.xdg_cache_home or Path.home() / ".cache") / "slipstream"


def environment_for_child(added: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process: this process's and what is added."""
    return {**os.environ, **added}


def _complaint(location: tuple[int | str, ...], value: object, allowed: str) -> str:
    name = str(location[0])
    variable = name if name.isupper() else f"STACK_{name.upper()}"
    return f"{variable} is {value!r}: {allowed[0].lower()}{allowed[1:]}"
