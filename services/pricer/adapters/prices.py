"""What the venue says of a token's price beside its book."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal

from services.pricer.decisions import PriceSeen, VenuePrices
from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight
from shared.domain.errors import InvalidMessage, Transient
from shared.polymarket.clob import Clob, NoMarket

logger = logging.getLogger(__name__)


class PriceCache:
    """Midpoint and last trade's price of at most ``max_tokens`` tokens, as they were last seen."""

    def __init__(
        self,
        clob: Clob,
        *,
        now: Callable[[], datetime],
        fetch_timeout: timedelta,
        max_tokens: int,
    ) -> None:
        self._clob, self._now = clob, now
        self._fetch_timeout_s = fetch_timeout.total_seconds()
        self._seen: LruCache[str, VenuePrices] = LruCache(max_tokens)
        self._fetch = SingleFlight(self._fetch_from_venue)

    async def fetch_prices(self, token_id: str) -> VenuePrices:
        return await self._fetch(token_id)

    async def _fetch_from_venue(self, token_id: str) -> VenuePrices:
        before = self._seen.get(token_id) or VenuePrices()
        midpoint, last_trade = await asyncio.gather(
            self._read(self._clob.fetch_midpoint(token_id)),
            self._read(self._clob.fetch_last_trade_price(token_id)),
        )
        prices = VenuePrices(
            midpoint=midpoint or before.midpoint, last_trade=last_trade or before.last_trade
        )
        self._seen.put(token_id, prices)
        return prices

    async def _read(self, request: Awaitable[Decimal]) -> PriceSeen | None:
        requested_at = self._now()
        try:
            async with asyncio.timeout(self._fetch_timeout_s):
                return PriceSeen(price=await request, seen_at=requested_at)
        except (NoMarket, Transient, InvalidMessage, TimeoutError) as error:
            logger.warning("could not fetch a price: %s", error or type(error).__name__)
            return None
