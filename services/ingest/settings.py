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
    data_poll_interval: timedelta = timedelta(seconds=5)
    """The pause between two rounds over all leaders. A round takes 60 ms for each leader: the limit
    is 200 requests in ten seconds for one address."""
    data_lookback: timedelta = timedelta(minutes=2)
    """Trades older than this are not fetched. The Data API is some seconds behind the chain."""
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
    def _require_two_readings(self) -> Self:
        if self.max_equity_age <= 2 * self.equity_interval:
            raise ValueError(
                "INGEST_MAX_EQUITY_AGE must be more than twice INGEST_EQUITY_INTERVAL: two "
                "readings must count, else no equity is ever known"
            )
        return self
