"""Puts the parts of the CLOB's REST API together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.paper_venue.clob.api_keys import ApiKeys
from services.paper_venue.clob.authenticator import Authenticator
from services.paper_venue.clob.catalogue import Catalogue
from services.paper_venue.clob.market_data import MarketData
from services.paper_venue.clob.own_orders import OwnOrders
from services.paper_venue.clob.rate_limits import RateLimits
from services.paper_venue.clob.replicas import Replicas
from services.paper_venue.clob.rewards import Rewards
from services.paper_venue.clob.trading import Trading
from services.paper_venue.faults.catalogue import Faults
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.routing import HttpApi
from services.paper_venue.lifecycle.venue import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class Clob:
    """The CLOB's REST API.

    ``on_timer`` is to be called every few milliseconds: it cancels the orders of keys whose
    heartbeats stopped, and records what the lagging replica serves.
    """

    parts: tuple[HttpApi, ...]
    on_timer: Callable[[], None]


def build_clob(
    venue: Venue,
    keys: ApiKeyStore,
    wallet_for: Callable[[str, int], Awaitable[str]],
    *,
    faults: Faults,
    now_ms: Callable[[], int],
) -> Clob:
    authenticator, limits, replicas = (
        Authenticator(keys, now_ms),
        RateLimits(),
        Replicas(venue, faults, now_ms),
    )
    trading = Trading(venue, authenticator, limits, faults, now_ms)
    parts = (
        MarketData(venue, now_ms),
        Catalogue(venue),
        ApiKeys(keys, authenticator, faults),
        OwnOrders(venue, authenticator, replicas, wallet_for, limits),
        trading,
        Rewards(authenticator),
    )

    def on_timer() -> None:
        trading.on_timer()
        replicas.on_timer()

    return Clob(parts=parts, on_timer=on_timer)
