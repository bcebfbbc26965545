"""The executor's settings from the environment.

It also reads the shared KAFKA_, DATABASE_, OTEL_ and venue variables.
"""

from datetime import timedelta

from pydantic import Field, FilePath, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="EXECUTOR_", frozen=True, use_attribute_docstrings=True
    )

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """Queried only for an order that the venue shows nothing of."""
    keys_file: FilePath
    """JSON: a list of {"proxy": address, "private_key": key}. A mounted secret that only the
    executor can read."""
    lease_duration: timedelta = Field(default=timedelta(seconds=8), ge=timedelta(seconds=1))
    """How long this instance may act for its partitions without renewing its leases. Keep it below
    KAFKA_SESSION_TIMEOUT_MS: then no partition waits for a lease after a failure."""
    poll_interval: timedelta = timedelta(seconds=1)
    """How often the venue is polled for the trades of matched orders whose fills are late."""
    fills_within: timedelta = timedelta(seconds=20)
    """The fills of matched orders come from the chain's final blocks (tx-monitor). The venue is
    asked for the trades of an order that is not final so long after it was posted: its settlement
    is late, retried or has failed, or the node names no final block."""
    max_wallets_per_poll: int = Field(default=40, gt=0)
    """At most this many wallets are asked for in one poll: the venue answers 50 such requests a
    second (docs/venue-protocol.md, Rate limits)."""
    gate_probe_interval: timedelta = Field(default=timedelta(seconds=1), gt=timedelta(0))
    """While the venue takes no orders, or none of a wallet's, one order in this time is posted to
    ask whether it does again; or in the time that the venue says. The others are not posted."""
    overdue_after: timedelta = timedelta(seconds=5)
    """An order without an outcome for this long is looked up."""
    verify_for: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))
    """How long the venue must show no trade of an order before a refusal or kill is final: its
    replicas lag by seconds."""
