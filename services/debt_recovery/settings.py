"""Everything that debt-recovery reads from its environment, besides the shared KAFKA_, DATABASE_
and OTEL_ variables.
"""

from datetime import timedelta

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="DEBT_RECOVERY_", frozen=True, use_attribute_docstrings=True
    )

    sum_every: timedelta = timedelta(seconds=10)
    """How often what is owed is summed up for the metrics."""
