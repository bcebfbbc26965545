"""Settings of the database connection, and of how controls are kept up to date."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, PostgresDsn, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Limit = Annotated[timedelta, Field(ge=timedelta(milliseconds=1))]


class DatabaseSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="DATABASE_", frozen=True, use_attribute_docstrings=True
    )

    url: PostgresDsn
    """postgresql://user:password@host:port/name. Several hosts, with commas between them: the one
    that accepts writes is used, and after a failover another."""
    connections: int = 6
    """The maximum of open connections per process, for its work. Two more renew the leases and
    confirm the controls, so that neither waits for work."""
    connect_timeout: Limit = timedelta(seconds=3)
    """How long a host may take to accept a connection."""
    pool_timeout: Limit = timedelta(seconds=5)
    """How long a statement waits for a free one of the connections."""
    lock_timeout: Limit = timedelta(seconds=3)
    """How long a statement waits for a row or a table that another transaction has locked."""
    statement_timeout: Limit = timedelta(seconds=5)
    """How long the database works at a statement, its waiting for locks included."""
    answer_timeout: Limit = timedelta(seconds=7)
    """Without an answer to a statement for this long the connection counts as lost and is replaced:
    so a server or a network that swallows packets is noticed. Longer than the statement timeout."""
    idle_in_transaction_timeout: Limit = timedelta(seconds=5)
    """The database ends a transaction that is idle for longer: a paused process holds no locks."""

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Self:
        if not self.lock_timeout <= self.statement_timeout < self.answer_timeout:
            raise ValueError(
                "DATABASE_LOCK_TIMEOUT must not be longer than DATABASE_STATEMENT_TIMEOUT, and "
                "that must be shorter than DATABASE_ANSWER_TIMEOUT: else a slow statement looks "
                "like a lost connection"
            )
        return self

    @property
    def for_upkeep(self) -> Self:
        """Those of the connections for leases and controls, one for each."""
        return self.model_copy(update={"connections": 2})


class ControlsSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="CONTROLS_", frozen=True, use_attribute_docstrings=True
    )

    refresh_interval: timedelta = timedelta(seconds=1)
    """How soon a change is seen whose notification was lost; others are seen at once."""
    max_age: timedelta = timedelta(seconds=5)
    """With controls that were confirmed longer ago nothing new is started: fail closed."""
