"""Ingest's settings from the environment, besides the shared KAFKA_, DATABASE_, OTEL_ and venue
variables.
"""

from datetime import timedelta
from typing import Self

from pydantic import Field, HttpUrl, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.ingest.decisions import RepeatedRows


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="INGEST_", frozen=True, use_attribute_docstrings=True
    )

    lease_duration: timedelta = Field(default=timedelta(seconds=8), ge=timedelta(seconds=1))
    """How long this instance may read the chain and the Data API for its partitions without
    renewing its leases. Keep it below KAFKA_SESSION_TIMEOUT_MS: then no partition waits for a lease
    after a failure."""
    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """The node whose logs are read."""
    rtds_ping_interval: timedelta = timedelta(seconds=5)
    """How often the activity socket is pinged."""
    rtds_silence_timeout: timedelta = timedelta(seconds=30)
    """After this long without any trade on the whole platform the socket is reconnected (the p99 of
    such pauses is far below)."""
    chain_poll_interval: timedelta = timedelta(seconds=1)
    """How often the node is asked for new logs."""
    chain_lookback_blocks: int = Field(default=8, ge=0)
    """How many blocks before the cursor are read again each time: a reorg may have changed them."""
    chain_first_lookback_blocks: int = Field(default=40, ge=0)
    """How many blocks before the head are read where there is no cursor yet: about a minute. Older
    trades would be refused as too old anyway."""
    data_url: HttpUrl | None = Field(default=None, validation_alias="DATA_URL")
    """The Data API's address, https://data-api.polymarket.com for the live one. Not set: this feed
    is off, and entries of follows that copy a share of the equity are refused."""
    data_poll_interval: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))
    """The pause between two requests for the same leader. With many leaders it is longer, 34 ms for
    each: the limit is 300 requests in ten seconds for one address."""
    data_lookback: timedelta = Field(default=timedelta(minutes=2), gt=timedelta(0))
    """How long before a leader's cursor, the time of his newest known trade, his trades are fetched
    again: the Data API is some seconds behind the chain, and rows may appear out of order. Of a
    leader without a cursor the trades of this long ago are fetched."""
    data_max_lookback: timedelta = timedelta(hours=1)
    """Trades older than this are not fetched, however long nothing was read. By then entries and
    exits are too old to be copied (`PREFLIGHT_MAX_EXIT_AGE`); what followers still hold is compared
    with what the leader holds (`PREFLIGHT_RECONCILE_INTERVAL`). At least `INGEST_DATA_LOOKBACK`."""
    unsettled_after: timedelta = timedelta(minutes=10)
    """How long after its match a copied trade must be in a block. If it is not, its settlement has
    failed, and an error is logged."""
    unsettled_check_interval: timedelta = timedelta(minutes=1)
    """How often copied trades are checked for being in a block."""
    complement_timeout: timedelta = Field(default=timedelta(milliseconds=500), gt=timedelta(0))
    """How long an entry waits for the venue to name the complementary token of the leader's token,
    for follows in the counter direction; the leader's other followers wait as well. It is asked
    once per token. Once it did not answer in time, no entry waits for 30 seconds or until it does
    again: those of these follows are refused."""
    repeated_rows: RepeatedRows = RepeatedRows.SPEED
    """Which rows of the activity socket wait for their block, because an equal row was reported
    under another transaction: `speed`: those of the same second; `caution`: all within ten minutes.
    """
    carry_for: timedelta = Field(default=timedelta(hours=1), ge=timedelta(0))
    """How long a follow carries what it cannot copy of a trade because it is below the venue's
    minimum: a later trade of the same leader and token adds it to its own copy. 0: it is let go
    at once."""
    equity_interval: timedelta = Field(default=timedelta(seconds=60), gt=timedelta(0))
    """The pause between two readings of what the wallets are worth of which a follow copies a share
    of the equity. Needs `DATA_URL`; a reading takes 60 ms for each wallet."""
    max_equity_age: timedelta = Field(default=timedelta(minutes=10), gt=timedelta(0))
    """How long a reading counts: the leader's highest and the follower's lowest one decide. Without
    two, the entry is refused as `equity_unknown`: it must be more than twice the interval."""

    @model_validator(mode="after")
    def _require_lookbacks_in_order(self) -> Self:
        if self.data_max_lookback < self.data_lookback:
            raise ValueError(
                "INGEST_DATA_MAX_LOOKBACK must be at least INGEST_DATA_LOOKBACK: rows that appear "
                "late would be missed"
            )
        return self

    @model_validator(mode="after")
    def _require_two_readings(self) -> Self:
        if self.max_equity_age <= 2 * self.equity_interval:
            raise ValueError(
                "INGEST_MAX_EQUITY_AGE must be more than twice INGEST_EQUITY_INTERVAL: two "
                "readings must count, else no equity is ever known"
            )
        return self
