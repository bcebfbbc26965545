"""Everything that pricer reads from its environment, besides the shared KAFKA_, OTEL_ and venue
variables.
"""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="PRICER_", frozen=True, use_attribute_docstrings=True
    )

    max_book_age: timedelta = timedelta(seconds=2)
    """An older book is asked for again: a token can fall silent while its socket lives."""
    market_valid_for: timedelta = timedelta(minutes=10)
    """Tick size, fee and minimum of a market, unless the market channel says that they changed."""
    max_tokens: int = Field(default=200, gt=0, le=500)
    """Books kept from the market channel; beyond, the one that was asked for longest ago goes. The
    venue sends no snapshots above 500."""
    share_every: timedelta = timedelta(milliseconds=500)
    """A book that changes is told to the other instances at most this often."""
    socket_ping_every: timedelta = timedelta(seconds=10)
    """How often the market channel's socket is pinged."""
    socket_silent_after: timedelta = timedelta(seconds=30)
    """Without any frame or answered ping for this long, the socket is opened again."""
