"""Everything that tx-monitor reads from its environment, besides the shared KAFKA_, DATABASE_ and
OTEL_ variables.
"""

from datetime import timedelta

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="TX_MONITOR_", frozen=True, use_attribute_docstrings=True
    )

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """The node that is asked for receipts and blocks."""
    look_every: timedelta = timedelta(seconds=1)
    """How often the receipts of open watches are asked for: about a block's time."""
    give_up_after: timedelta = timedelta(hours=1)
    """A transaction that is in no block for so long is told as dropped: replaced, or lost."""
    receipts_at_a_time: int = Field(default=200, gt=0)
    """How many receipts one request asks for."""
