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
    """The node that is asked for receipts and for the fills of followers."""
    lease_duration: timedelta = Field(default=timedelta(seconds=8), ge=timedelta(seconds=1))
    """How long this instance may read the fills of its partitions' followers without renewing its
    leases. Keep it below KAFKA_SESSION_TIMEOUT_MS: then no partition waits for a lease after a
    failure."""
    poll_interval: timedelta = timedelta(seconds=1)
    """How often the receipts of open watches are polled, and the fills of followers read: about a
    block's time."""
    first_lookback_blocks: int = Field(default=100, ge=0)
    """How many blocks before the finalized one the fills of followers are read where there is no
    cursor yet: two to three minutes. That is the lifetime of an order, a minute, and its
    settlement; of what was matched before, the executor asks the venue."""
    give_up_after: timedelta = timedelta(hours=1)
    """A transaction that is in no block for this long is published as dropped: replaced, or lost.
    """
    receipts_batch_size: int = Field(default=200, gt=0)
    """Receipts that are asked for together; in fewer at once where the node takes no more."""
