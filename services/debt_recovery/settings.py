"""Settings of debt-recovery, from environment variables DEBT_RECOVERY_*.

The KAFKA_, DATABASE_ and OTEL_ variables are read by shared modules.
"""

from datetime import timedelta

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="DEBT_RECOVERY_", frozen=True, use_attribute_docstrings=True
    )

    sum_interval: timedelta = timedelta(seconds=10)
    """How often the outstanding debts are summed up for the metric."""
