"""Everything the paper venue reads from its environment."""

from decimal import Decimal
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.paper_venue.world.generator import Mood


class Settings(BaseSettings):
    """Prefix ``PAPER_VENUE_``. Delays in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="PAPER_VENUE_", frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """The address it listens on."""
    port: int = Field(default=0, ge=0, le=65535)
    """0: any free one, told by the ready line."""
    rpc_url: str
    """An anvil with chain id 137 that this venue alone writes to."""
    npm_folder: Path
    """The node_modules folder (or its parent) with ConditionalTokens and Safe."""
    seed: int = 1
    """The same seed gives the same markets, wallets and leader trades."""
    markets: int = Field(default=6, ge=1, le=200)
    """How many markets there are."""
    leaders: int = Field(default=5, ge=1, le=100)
    """How many simulated leaders trade."""
    trades_per_second: Decimal = Field(default=Decimal(0), ge=0, le=200)
    """Leader trades from the start on; 0: only when the control endpoint asks."""
    mood: Mood = Mood.CALM
    """rough: thin markets, prices at the edges, leaders who make markets, bursts."""
    drift_per_second: Decimal = Field(default=Decimal(2), ge=0, le=50)
    """Moves of a market's price by one tick, over all markets; each changes about four levels of a
    book."""
    crowd_per_second: Decimal = Field(default=Decimal(0), ge=0, le=50)
    """Small trades of wallets that nobody follows."""
    recording: Path | None = None
    """A recording whose markets, books and trades this venue plays, instead of the seed's."""
    speed: Decimal = Field(default=Decimal(1), ge=0, le=1_000)
    """Of the recording, times its own pace; 0: as fast as it goes."""
    quote_shares: int = Field(default=20_000, ge=100, le=1_000_000)
    """Shares that the market makers keep at the best price."""
    broadcast_delay: float = Field(default=0.2, ge=0)
    """From the match to the settlement's broadcast."""
    confirm_delay: float = Field(default=1.0, ge=0)
    """From the receipt to CONFIRMED."""
    activity_delay: float = Field(default=0, ge=0)
    """RTDS: from the match to its rows."""
    market_delay: float = Field(default=0, ge=0)
    """Market channel: from what happens to its frames."""
    user_delay: float = Field(default=0, ge=0)
    """User channel: from what happens to its frames."""
    data_lag: float = Field(default=4, ge=0)
    """Data API: from the block until it is indexed."""
    data_cache: float = Field(default=0, ge=0)
    """Data API: how long an answer stands for its URL; the real one's edge keeps it for 15 s. 0:
    not at all."""
    ping_within: float = Field(default=30, gt=0)
    """Market and user channel: who sends no PING for so long is hung up on."""
    ready_file: Path | None = None
    """Written, with what the ready line says, once everything answers."""
