"""The cache of markets' trading rules."""

from collections.abc import Callable
from datetime import datetime, timedelta

from services.pricer.decisions import KnownMarket
from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight
from shared.messages.intents import Missing
from shared.polymarket.attempts import fetch_twice
from shared.polymarket.clob import Clob


class MarketCache:
    """The trading rules of each token's market: fetched once, then cached for ``valid_for``."""

    def __init__(
        self,
        clob: Clob,
        *,
        now: Callable[[], datetime],
        valid_for: timedelta,
        fetch_timeout: timedelta,
        max_tokens: int,
    ) -> None:
        self._clob, self._now, self._valid_for = clob, now, valid_for
        self._fetch_timeout_s = fetch_timeout.total_seconds()
        self._cached: LruCache[str, KnownMarket] = LruCache(max_tokens)
        self._invalidations = 0
        self._fetch = SingleFlight(self._fetch_from_venue)

    def cached_market(
        self, token_id: str, *, read_after: datetime | None = None
    ) -> KnownMarket | None:
        cached = self._cached.get(token_id)
        if cached is None or self._now() - cached.fetched_at > self._valid_for:
            return None
        return None if _is_before(cached, read_after) else cached

    async def fetch_market(
        self, token_id: str, *, read_after: datetime | None = None
    ) -> KnownMarket | Missing:
        cached = self.cached_market(token_id, read_after=read_after)
        if cached is not None:
            return cached
        market = await self._fetch(token_id)
        # The request that was joined may have begun too early; the next one begins after this call.
        return await self._fetch(token_id) if _is_before(market, read_after) else market

    def invalidate(self, token_id: str) -> None:
        """Drop the entry because the market changed. A reply that is under way may show the old
        rules, so it is not cached either.
        """
        self._invalidations += 1
        self._cached.drop(token_id)

    async def _fetch_from_venue(self, token_id: str) -> KnownMarket | Missing:
        invalidations, requested_at = self._invalidations, self._now()
        rules = await fetch_twice(
            lambda: self._clob.fetch_market(token_id),
            what=f"the market of token {token_id}",
            timeout_s=self._fetch_timeout_s,
        )
        if isinstance(rules, Missing):
            return rules
        market = KnownMarket(rules=rules, fetched_at=requested_at)
        if invalidations == self._invalidations:
            self._cached.put(token_id, market)
        return market


def _is_before(market: KnownMarket | Missing, moment: datetime | None) -> bool:
    return isinstance(market, KnownMarket) and moment is not None and market.fetched_at < moment
