"""Everything that executor reads from its environment, besides the shared KAFKA_, DATABASE_, OTEL_ and venue variables."""

from datetime import timedelta

from pydantic import FilePath
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EXECUTOR_", frozen=True)

    keys_file: FilePath
    """JSON: a list of {"proxy": address, "private_key": key}. Readable by nobody else: a mounted secret."""
    look_every: timedelta = timedelta(seconds=1)
    """How often the venue is asked for the trades of orders that are not final."""
    overdue_after: timedelta = timedelta(seconds=5)
    """An order without an answer for this long is looked after."""
