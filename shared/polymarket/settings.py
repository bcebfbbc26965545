"""Where the venue is; the defaults are the live one."""

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
    venue_timeout_s: float = Field(default=10, gt=0)
    """A request is given up after this; for an order that means that its outcome is unknown."""

    def clob(self, path: str) -> str:
        return str(self.clob_url).rstrip("/") + path
