"""Settings of tx-monitor, from environment variables TX_MONITOR_* and POLYGON_RPC_URL.

The KAFKA_, DATABASE_ and OTEL_ variables are read by shared modules.
"""

from datetime import timedelta

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="TX_MONITOR_", frozen=True, use_attribute_docstrings=True
    )

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """The node that is asked for receipts."""
    poll_interval: timedelta = timedelta(seconds=1)
    """How often the receipts of open watches are polled: about a block's time."""
    give_up_after: timedelta = timedelta(hours=1)
    """A transaction that is in no block for this long is published as dropped: replaced, or lost.
    """
    receipts_batch_size: int = Field(default=200, gt=0)
    """Receipts that are asked for together; in fewer at once where the node takes no more."""
