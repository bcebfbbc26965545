"""Where the database is."""

from pydantic import PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict


class DatabaseSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DATABASE_", frozen=True)

    url: PostgresDsn
    """postgresql://user:password@host:port/name"""
    connections: int = 4
    """Open at most at a time, per process."""
