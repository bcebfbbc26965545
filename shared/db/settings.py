"""Where the database is, and how closely the controls in it are followed."""

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
    """Open at most at a time, per process."""
    longest_pause: timedelta = Field(default=timedelta(seconds=5), ge=timedelta(milliseconds=1))
    """Between two statements of a transaction: then the database ends it, and what a process that
    stands still had locked is free."""


class ControlsSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="CONTROLS_", frozen=True, use_attribute_docstrings=True
    )

    refresh_every: timedelta = timedelta(seconds=1)
    """A change is told at once; this is how soon one is seen whose telling was lost."""
    limit: timedelta = timedelta(seconds=5)
    """Without a confirmation for this long, nothing new is begun: fail closed."""
