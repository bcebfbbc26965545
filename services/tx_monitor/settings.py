"""Everything that tx-monitor reads from its environment, besides the shared KAFKA_, DATABASE_ and
OTEL_ variables.
"""

from datetime import timedelta

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TX_MONITOR_", frozen=True)

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    poll_interval: timedelta = timedelta(seconds=1)
    """How often the receipts of open watches are asked for: about a block's time."""
    give_up_after: timedelta = timedelta(hours=1)
    """A transaction that is in no block for so long is told as dropped: replaced, or lost."""
    receipts_batch_size: int = Field(default=200, gt=0)
