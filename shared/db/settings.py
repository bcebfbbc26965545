"""Settings of the database connection, and of how controls are kept up to date."""

from datetime import timedelta

from pydantic import Field, PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict


class DatabaseSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="DATABASE_", frozen=True, use_attribute_docstrings=True
    )

    url: PostgresDsn
    """postgresql://user:password@host:port/name"""
    connections: int = 6
    """The maximum of open connections per process."""
    idle_in_transaction_timeout: timedelta = Field(
        default=timedelta(seconds=5), ge=timedelta(milliseconds=1)
    )
    """The database ends a transaction that is idle for longer: a paused process holds no locks."""


class ControlsSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="CONTROLS_", frozen=True, use_attribute_docstrings=True
    )

    refresh_interval: timedelta = timedelta(seconds=1)
    """How soon a change is seen whose notification was lost; others are seen at once."""
    max_age: timedelta = timedelta(seconds=5)
    """With controls that were confirmed longer ago nothing new is started: fail closed."""
