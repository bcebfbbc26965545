"""Settings of pricer, from environment variables PRICER_*.

The KAFKA_, DATABASE_, OTEL_ and venue variables are read by shared modules.
"""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="PRICER_", frozen=True, use_attribute_docstrings=True
    )

    max_book_age: timedelta = Field(default=timedelta(seconds=2), ge=timedelta(0))
    """An older book is fetched again: one token can fall silent while the socket works."""
    fetch_timeout: timedelta = Field(default=timedelta(seconds=2), gt=timedelta(0))
    """How long a book or a market is waited for, and a market's details are requested, the second
    attempt included; and so long again the midpoint and the last trade, where there is no book."""
    max_last_book_age: timedelta = Field(default=timedelta(seconds=15), ge=timedelta(0))
    """Where no current book can be had, the last good one is used up to this age. Keep it below
    PREFLIGHT_MAX_LAST_BOOK_AGE."""
    max_leader_price_age: timedelta = Field(default=timedelta(seconds=4), ge=timedelta(0))
    """Where the venue says nothing at all, the leader's price is used up to this age of his trade,
    if there is a bound. Keep it below PREFLIGHT_MAX_QUOTE_AGE; 0 switches it off."""
    max_bound_age: timedelta = Field(default=timedelta(seconds=60), ge=timedelta(0))
    """How old the last good book or midpoint may be that bounds the leader's price and that of the
    last trade. Keep it below PREFLIGHT_MAX_BOUND_AGE."""
    market_valid_for: timedelta = Field(default=timedelta(minutes=10), ge=timedelta(0))
    """How long tick size, fee and minimum of a market are cached, unless a book or the market
    channel shows a change."""
    market_details_valid_for: timedelta = Field(default=timedelta(minutes=5), ge=timedelta(0))
    """How long tags, liquidity and end of a market are cached, where the filters of a follow need
    them."""
    max_market_details_wait: timedelta = Field(default=timedelta(seconds=1), gt=timedelta(0))
    """How long a quote waits for them. Once they were not there in time, no quote waits for 30
    seconds or until they are again: the entries that need them are refused."""
    max_market_details: int = Field(default=2000, gt=0)
    """Tokens of which they are cached; the least recently requested is evicted first."""
    max_tokens: int = Field(default=200, gt=0, le=500)
    """Books kept from the market channel; the least recently requested is evicted first. The venue
    sends no snapshots to a subscription of more than 500."""
    share_interval: timedelta = Field(default=timedelta(milliseconds=500), ge=timedelta(0))
    """A book that changes is shared with the other instances at most this often."""
    socket_ping_interval: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How often the market channel is pinged."""
    socket_silence_timeout: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    """Without a frame for this long, pongs included, the socket is opened anew."""

    @model_validator(mode="after")
    def _require_longer_limits(self) -> Self:
        if not self.max_book_age <= self.max_last_book_age <= self.max_bound_age:
            raise ValueError(
                "PRICER_MAX_LAST_BOOK_AGE must be between PRICER_MAX_BOOK_AGE and "
                "PRICER_MAX_BOUND_AGE: a fallback has a longer limit than a current book"
            )
        return self
