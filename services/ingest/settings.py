"""Everything that ingest reads from its environment, besides the shared KAFKA_, DATABASE_, OTEL_
and venue variables.
"""

from datetime import timedelta

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="INGEST_", frozen=True, use_attribute_docstrings=True
    )

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """The node whose logs are read."""
    rtds_ping_every: timedelta = timedelta(seconds=5)
    """How often the activity socket is pinged."""
    rtds_silent_after: timedelta = timedelta(seconds=30)
    """Without any trade on the whole platform for this long, the socket is opened anew (p99 of the
    pauses is far below)."""
    chain_poll_every: timedelta = timedelta(seconds=1)
    """How often the node is asked for new logs."""
    chain_look_back_blocks: int = Field(default=8, ge=0)
    """Blocks that are read again each time: a reorg may have changed them."""
    chain_first_look_back_blocks: int = Field(default=40, ge=0)
    """Where there is no cursor yet: about a minute. Older trades would be refused as too old
    anyway."""
    data_url: HttpUrl | None = Field(default=None, validation_alias="DATA_URL")
    """Where the Data API is, https://data-api.polymarket.com for the live one; not set: this feed
    is off."""
    data_poll_every: timedelta = timedelta(seconds=5)
    """Between two rounds over all leaders. A round of n leaders takes 60 ms for each: one address
    may ask 200 times in ten seconds."""
    data_look_back: timedelta = timedelta(minutes=2)
    """How old a trade may be to be told by this feed; it is some seconds behind the chain itself.
    """
    unsettled_after: timedelta = timedelta(minutes=10)
    """A trade that was copied on the socket's word must be in a block by then, or it is told as an
    error: its settlement has failed."""
    unsettled_look_every: timedelta = timedelta(minutes=1)
    """How often copied trades are checked for being in a block."""
