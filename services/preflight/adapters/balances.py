"""Balances from the chain, cached and shared with the other instances."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError

from services.preflight.adapters.balance_sharing import BalanceSharing, SharedCache
from services.preflight.decisions import Balance
from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight
from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2, is_v3_position
from shared.chain.client import ChainClient
from shared.chain.wallet_balances import WalletBalances
from shared.db.group_commit import GroupCommit
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.caches import BalancesFetched
from shared.messages.intents import Intent
from shared.observe import metrics

logger = logging.getLogger(__name__)

UNLIMITED = (1 << 63) - 1
"""Allowances are 256 bits wide; a larger one counts as unlimited, and is cut to this so that it
fits messages and the database."""

BalanceQuery = tuple[str, str | None]
"""A proxy, and the token whose shares are read too; None: the collateral alone."""

MAX_CONCURRENT_REQUESTS, MAX_PROXIES_PER_REQUEST = 4, 100
"""Of requests to the node. A request that hangs blocks only a quarter of them, and what is
requested meanwhile goes out together, in half a megabyte at most."""

REFRESH_DELAY_S = 2.0
"""From a copy that uses an aging balance to the request for a newer one: the copies of a trade with
a thousand followers come at once, and go first."""
MAX_REFRESH_DELAY = 1 / 4
"""Of the age that is allowed: a refresh is due at half of it, and must come before its end."""


class ChainBalances:
    """Balances from the chain, cached here and shared with the other instances.

    Requests of the same moment go out as one. A balance that is used once half of its ``max_age``
    has passed is refreshed in the background a little later, so that the copies of a busy proxy do
    not wait for the chain.
    """

    def __init__(
        self,
        chain: ChainClient,
        shared: SharedCache,
        *,
        now: Callable[[], datetime],
        max_age: timedelta,
        max_accounts: int,
        refresh_delay_s: float | None = None,
    ) -> None:
        """``refresh_delay_s``: None: as ``choose_refresh_delay`` says."""
        self._chain, self._shared, self._now, self._max_age = chain, shared, now, max_age
        self._refresh_delay_s = (
            choose_refresh_delay(max_age) if refresh_delay_s is None else refresh_delay_s
        )
        self._sharing = BalanceSharing(shared, now=now, max_age=max_age)
        self._cached: LruCache[str, BalancesFetched] = LruCache(max_accounts)
        self._parsed: LruCache[str, tuple[bytes, BalancesFetched]] = LruCache(max_accounts)
        """Entries of the shared cache, with what they were parsed from."""
        self._fetch_group: GroupCommit[BalanceQuery, BalancesFetched | Transient] = GroupCommit(
            self._fetch_from_chain,
            max_concurrent=MAX_CONCURRENT_REQUESTS,
            max_group_size=MAX_PROXIES_PER_REQUEST,
        )
        self._fetch = SingleFlight(self._fetch_or_raise)
        self._refreshing: dict[BalanceQuery, asyncio.Task[None]] = {}
        """Refreshes that wait for their time, or run; no copy waits for them."""

    def cached_balance(self, intent: Intent, *, neg_risk: bool) -> Balance | None:
        query = _build_query(intent)
        cached = self._newest_usable(*query)
        if cached is None:
            return None
        if self._is_refresh_due(cached) and query not in self._refreshing:
            task = asyncio.create_task(self._refresh(query))
            self._refreshing[query] = task
            task.add_done_callback(lambda _: self._refreshing.pop(query, None))
        return _build_balance(cached, intent, neg_risk=neg_risk, cached=True)

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        cached = None if fresh else self.cached_balance(intent, neg_risk=neg_risk)
        if cached is not None:
            metrics.cache_requested(metrics.Cache.BALANCES, metrics.CacheResult.HIT)
            return cached
        metrics.cache_requested(metrics.Cache.BALANCES, metrics.CacheResult.MISS)
        fetched = await self._fetch(_build_query(intent))
        return _build_balance(fetched, intent, neg_risk=neg_risk, cached=False)

    def _newest_usable(self, proxy: str, token_id: str | None) -> BalancesFetched | None:
        usable = [
            entry
            for entry in (self._cached.get(proxy), self._load_shared(proxy))
            if entry is not None
            and self._is_fresh(entry)
            and (token_id is None or token_id in entry.shares_by_token)
        ]
        return max(usable, key=lambda entry: entry.fetched_at, default=None)

    def _is_fresh(self, entry: BalancesFetched) -> bool:
        """A time in the future comes from a wrong clock and does not make an entry fresh."""
        return abs(self._now() - entry.fetched_at) <= self._max_age

    def _is_refresh_due(self, entry: BalancesFetched) -> bool:
        return self._now() - entry.fetched_at > self._max_age / 2

    def _load_shared(self, proxy: str) -> BalancesFetched | None:
        entry = self._shared.get(proxy)
        if entry is None:
            return None
        parsed = self._parsed.get(proxy)
        if parsed is not None and parsed[0] == entry:
            return parsed[1]
        try:
            fetched = BalancesFetched.model_validate_json(entry, extra="ignore")
        except ValidationError:
            metrics.cache_requested(metrics.Cache.BALANCES, metrics.CacheResult.UNREADABLE)
            return None
        self._parsed.put(proxy, (entry, fetched))
        return fetched

    async def _fetch_or_raise(self, query: BalanceQuery) -> BalancesFetched:
        fetched = await self._fetch_group(query)
        if isinstance(fetched, Transient):
            raise fetched
        return fetched

    async def _fetch_from_chain(
        self, queries: Sequence[BalanceQuery]
    ) -> list[BalancesFetched | Transient]:
        """Return the balances, or the failure, of each query. Raises: Transient where the node
        answered none.
        """
        requested_at = self._now()
        wallets = [
            (proxy, (int(token_id),) if token_id is not None else ()) for proxy, token_id in queries
        ]
        results = [
            wallet if isinstance(wallet, Transient) else _build_fetched(wallet, requested_at)
            for wallet in await self._chain.fetch_balances_or_failures(wallets)
        ]
        for fetched in results:
            if isinstance(fetched, BalancesFetched):
                self._cached.put(fetched.proxy, fetched)
                self._sharing.share(fetched)
        return results

    async def _refresh(self, query: BalanceQuery) -> None:
        await asyncio.sleep(self._refresh_delay_s)
        cached = self._newest_usable(*query)
        if cached is not None and not self._is_refresh_due(cached):
            return  # a copy needed a new one meanwhile
        try:
            await self._fetch(query)
        except Exception as error:  # noqa: BLE001 - who needs the balance asks again and gets it
            logger.warning(
                "a balance could not be refreshed in the background: %s", type(error).__name__
            )


def choose_refresh_delay(max_age: timedelta) -> float:
    """Seconds from a copy that uses an aging balance to the request for a newer one."""
    return min(REFRESH_DELAY_S, max_age.total_seconds() * MAX_REFRESH_DELAY)


def _build_query(intent: Intent) -> BalanceQuery:
    return intent.proxy, intent.token_id if intent.side is Side.SELL else None


def _build_balance(
    fetched: BalancesFetched, intent: Intent, *, neg_risk: bool, cached: bool
) -> Balance:
    spender = _exchange_for(intent.token_id, neg_risk=neg_risk)
    sells = intent.side is Side.SELL
    return Balance(
        usdc=fetched.usdc,
        allowance=fetched.allowance_by_spender.get(spender, 0),
        shares=fetched.shares_by_token.get(intent.token_id, 0) if sells else 0,
        shares_approved=fetched.shares_approved_by_spender.get(spender, False),
        fetched_at=fetched.fetched_at,
        cached=cached,
    )


def _build_fetched(wallet: WalletBalances, requested_at: datetime) -> BalancesFetched:
    return BalancesFetched(
        message_id=f"{wallet.wallet}:{wallet.block_number}:{requested_at.timestamp()}",
        occurred_at=requested_at,
        proxy=wallet.wallet,
        usdc=wallet.collateral,
        allowance_by_spender={
            spender: min(amount, UNLIMITED)
            for spender, amount in wallet.allowance_by_spender.items()
        },
        shares_by_token={str(token): shares for token, shares in wallet.shares_by_token.items()},
        shares_approved_by_spender={
            spender: spender
            in (
                wallet.position_manager_approved
                if spender == EXCHANGE_V3
                else wallet.conditional_tokens_approved
            )
            for spender in wallet.allowance_by_spender
        },
        block_number=wallet.block_number,
        fetched_at=requested_at,
    )


def _exchange_for(token_id: str, *, neg_risk: bool) -> str:
    """The exchange that settles the token, which must be allowed to move what it takes."""
    if is_v3_position(int(token_id)):
        return EXCHANGE_V3
    return NEG_RISK_EXCHANGE_V2 if neg_risk else EXCHANGE_V2
