"""Settings of pricer, from environment variables PRICER_*.

The KAFKA_, DATABASE_, OTEL_ and venue variables are read by shared modules.
"""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="PRICER_", frozen=True, use_attribute_docstrings=True
    )

    max_book_age: timedelta = timedelta(seconds=2)
    """An older book is fetched again: one token can fall silent while the socket works."""
    market_valid_for: timedelta = timedelta(minutes=10)
    """How long tick size, fee and minimum of a market are cached, unless the market channel reports
    a change."""
    max_tokens: int = Field(default=200, gt=0, le=500)
    """Books kept from the market channel; the least recently requested is evicted first. The venue
    sends no snapshots to a subscription of more than 500."""
    share_interval: timedelta = timedelta(milliseconds=500)
    """A book that changes is shared with the other instances at most this often."""
    socket_ping_interval: timedelta = timedelta(seconds=10)
    """How often the market channel is pinged."""
    socket_silence_timeout: timedelta = timedelta(seconds=30)
    """Without a frame for this long, pongs included, the socket is opened anew."""
