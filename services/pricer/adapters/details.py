"""The cache of what the venue's market catalogue says."""

from collections.abc import Callable
from datetime import datetime, timedelta

from shared.caching.bounded_wait import BoundedWait
from shared.caching.lru_cache import LruCache
from shared.messages.filters import MarketDetails
from shared.messages.intents import Missing
from shared.observe import metrics
from shared.polymarket.attempts import fetch_twice
from shared.polymarket.gamma import Gamma

RETRY_AFTER = timedelta(seconds=5)
"""How long the catalogue is not asked again about a token whose details could not be had."""
PAUSE = timedelta(seconds=30)
"""How long no quote waits for a catalogue that did not answer in time, unless it does by then."""


class DetailsCache:
    """The details of each token's market, fetched once and then cached for ``valid_for``.

    They are waited for at most ``max_wait``. Those that come later, within ``fetch_timeout``, are
    there for the next quote.
    """

    def __init__(
        self,
        gamma: Gamma,
        *,
        now: Callable[[], datetime],
        valid_for: timedelta,
        fetch_timeout: timedelta,
        max_wait: timedelta,
        max_tokens: int,
    ) -> None:
        self._gamma, self._now, self._valid_for = gamma, now, valid_for
        self._fetch_timeout_s = fetch_timeout.total_seconds()
        self._cached: LruCache[str, MarketDetails] = LruCache(
            max_tokens,
            on_evicted=lambda *_: metrics.cache_evicted(
                metrics.Cache.MARKET_DETAILS, metrics.Eviction.SIZE
            ),
        )
        self._failed_at: LruCache[str, datetime] = LruCache(max_tokens)
        self._fetch = BoundedWait(self._fetch_from_venue, max_wait=max_wait, pause=PAUSE, now=now)

    def cached_details(self, token_id: str) -> MarketDetails | None:
        cached = self._cached.get(token_id)
        if cached is not None and self._now() - cached.read_at <= self._valid_for:
            return cached
        if cached is not None:
            metrics.cache_evicted(metrics.Cache.MARKET_DETAILS, metrics.Eviction.AGE)
            self._cached.drop(token_id)
        return None

    async def fetch_details(self, token_id: str) -> MarketDetails | None:
        cached = self.cached_details(token_id)
        if cached is not None:
            _count(metrics.CacheResult.HIT)
            return cached
        if self._has_just_failed(token_id):
            return None
        is_shared = self._fetch.is_running(token_id)
        _count(metrics.CacheResult.SHARED if is_shared else metrics.CacheResult.MISS)
        return await self._fetch(token_id)

    def _has_just_failed(self, token_id: str) -> bool:
        failed_at = self._failed_at.get(token_id)
        return failed_at is not None and self._now() - failed_at < RETRY_AFTER

    async def _fetch_from_venue(self, token_id: str) -> MarketDetails | None:
        details = await fetch_twice(
            lambda: self._gamma.fetch_details(token_id),
            what=f"the details of token {token_id}",
            timeout_s=self._fetch_timeout_s,
        )
        if isinstance(details, Missing):
            self._failed_at.put(token_id, self._now())
            return None
        self._cached.put(token_id, details)
        return details


def _count(result: metrics.CacheResult) -> None:
    metrics.cache_requested(metrics.Cache.MARKET_DETAILS, result)
