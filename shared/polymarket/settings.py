"""The venue's addresses, from environment variables; the defaults are the live venue's."""

from decimal import Decimal

from pydantic import Field, HttpUrl, WebsocketUrl
from pydantic_settings import BaseSettings, SettingsConfigDict


class VenueSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True)

    clob_url: HttpUrl = HttpUrl("https://clob.polymarket.com")
    """The CLOB's REST interface."""
    clob_market_ws_url: WebsocketUrl = WebsocketUrl(
        "wss://ws-subscriptions-clob.polymarket.com/ws/market"
    )
    """The market channel: order books."""
    rtds_ws_url: WebsocketUrl = WebsocketUrl("wss://ws-live-data.polymarket.com")
    """The activity socket: trades of all wallets."""
    gamma_url: HttpUrl = HttpUrl("https://gamma-api.polymarket.com")
    """Gamma, the catalogue of markets: asked where the filters of a follow need it."""
    venue_timeout_s: float = Field(default=10, gt=0)
    """Timeout of a request; of an order, once it has a connection: an order whose reply does not
    come in time has an unknown outcome. Before that, a request waits at most this long for room in
    the venue's rate limits; an order waits 0.5 s, and a request for an API key until it has it."""

    venue_rate_share: Decimal = Field(default=Decimal(1), gt=0)
    """The part of the venue's rate limits per address that this process may use: 0.5 where two
    executors share an address. More than 1 where requests leave from several addresses."""

    def clob(self, path: str) -> str:
        """The full URL of a path of the CLOB's REST interface."""
        return str(self.clob_url).rstrip("/") + path
