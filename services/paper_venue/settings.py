"""Everything the paper venue reads from its environment."""

from decimal import Decimal
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.paper_venue.world.market_plans import MarketCharacter


class Settings(BaseSettings):
    """Environment variables with the prefix ``PAPER_VENUE_``. Delays in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="PAPER_VENUE_", frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """The address it listens on."""
    port: int = Field(default=0, ge=0, le=65535)
    """0: any free port; the ready line says which."""
    rpc_url: str
    """An anvil with chain id 137 that only this venue writes to."""
    npm_folder: Path
    """The node_modules folder (or its parent) with the ConditionalTokens and Safe packages."""
    seed: int = 1
    """The same seed gives the same markets, wallets and leader trades."""
    markets: int = Field(default=6, ge=1, le=200)
    """How many markets there are."""
    leaders: int = Field(default=5, ge=1, le=100)
    """How many simulated leaders trade."""
    trades_per_second: Decimal = Field(default=Decimal(0), ge=0, le=200)
    """Leader trades from the start on; 0: only when the control endpoint requests them."""
    market_character: MarketCharacter = MarketCharacter.CALM
    """rough: thin markets, prices near 0 and 1, leaders who make markets and trade in bursts."""
    drift_per_second: Decimal = Field(default=Decimal(2), ge=0, le=50)
    """Price moves by one tick, over all markets; each changes about four levels of a book."""
    crowd_trades_per_second: Decimal = Field(default=Decimal(0), ge=0, le=50)
    """Small trades of crowd traders: wallets that nobody follows."""
    recording: Path | None = None
    """A recording to play: its markets, books and trades replace those of the seed."""
    speed: Decimal = Field(default=Decimal(1), ge=0, le=1_000)
    """The recording's speed, as a multiple of its own pace; 0: without waiting."""
    quote_shares: int = Field(default=20_000, ge=100, le=1_000_000)
    """Shares that the market makers keep at the best price."""
    broadcast_delay: float = Field(default=0.2, ge=0)
    """From a match to the broadcast of its settlement."""
    confirm_delay: float = Field(default=1.0, ge=0)
    """From a receipt to CONFIRMED."""
    activity_delay: float = Field(default=0, ge=0)
    """RTDS: from a match to its rows."""
    market_delay: float = Field(default=0, ge=0)
    """Market channel: from an event to its frames."""
    user_delay: float = Field(default=0, ge=0)
    """User channel: from an event to its frames."""
    data_lag: float = Field(default=4, ge=0)
    """Data API: from a block until it is indexed."""
    data_cache: float = Field(default=0, ge=0)
    """Data API: how long an answer is cached by its URL; the live API's edge caches for 15 s.
    0: no cache."""
    ping_timeout: float = Field(default=30, gt=0)
    """Market and user channel: a connection that sends no PING for this long is closed."""
    ready_file: Path | None = None
    """A file to write the ready line to, once everything answers."""
