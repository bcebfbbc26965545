"""The followers' wallets, and their API keys at the venue."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta

from services.executor.adapters.api_keys import PostgresApiKeys
from shared.caching.single_flight import SingleFlight
from shared.clock import utc_now
from shared.domain.errors import InvalidMessage, Transient
from shared.observe import logs
from shared.polymarket.clob import Clob
from shared.polymarket.request_budget import Priority
from shared.polymarket.signing import Credentials, Wallet

logger = logging.getLogger(__name__)

RENEWAL_INTERVAL = timedelta(minutes=1)
"""Between two renewals of a wallet's API key: a key that was replaced is known after one, and a
wallet that the venue does not let in is not asked for again with each request."""
WAIT_S = 10.0
"""How long an order or a lookup waits for its wallet's API key before it is attempted again later.
The request for the key keeps its place meanwhile."""


class Keyring:
    """An API key is read from the database, else created or derived at the venue once, and again
    where the venue does not accept it any more.
    """

    def __init__(
        self,
        wallets: Mapping[str, Wallet],
        clob: Clob,
        *,
        stored: PostgresApiKeys | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``stored``: where API keys outlive this process; None: nowhere."""
        self._wallets, self._clob, self._stored, self._now = wallets, clob, stored, now
        self._credentials: dict[str, Credentials] = {}
        self._unsaved: dict[str, Credentials] = {}
        """By proxy: what the venue issued and is not stored yet."""
        self._renewed_at: dict[str, datetime] = {}
        """By proxy: when its key was last asked for again."""
        self._fetch_once = SingleFlight(self._fetch_from_venue)
        self._requests: dict[str, set[asyncio.Task[Credentials]]] = {}
        """By proxy: its requests to the venue, one of each priority."""

    def wallet(self, proxy: str) -> Wallet:
        """Raises: InvalidMessage where no key was given for the proxy."""
        try:
            return self._wallets[proxy]
        except KeyError:
            raise InvalidMessage(
                f"there is no key for proxy {proxy}: add it to EXECUTOR_KEYS_FILE"
            ) from None

    @property
    def proxies(self) -> Collection[str]:
        """Those whose private keys were given."""
        return self._wallets.keys()

    def has_credentials(self, proxy: str) -> bool:
        """Whether the wallet's API key is known."""
        return proxy in self._credentials

    def find_credentials(self, proxy: str) -> Credentials | None:
        """The wallet's API key; None: it is not known yet."""
        return self._credentials.get(proxy)

    async def restore(self) -> None:
        """Read the stored API keys of all wallets. Raises: Transient."""
        if self._stored is None:
            return
        loaded = await self._stored.load(self._wallets)
        _hide(loaded.values())
        self._credentials |= loaded
        logger.info(
            "the API keys of %d of %d wallets were read from the database",
            len(self._credentials),
            len(self._wallets),
        )

    async def save_new(self) -> None:
        """Store the API keys that the venue has issued since the last time. Raises: Transient."""
        if self._stored is None or not self._unsaved:
            return
        saved = dict(self._unsaved)
        await self._stored.save(saved, self._wallets)
        for proxy, credentials in saved.items():
            if self._unsaved.get(proxy) is credentials:
                del self._unsaved[proxy]

    async def fetch_credentials(
        self, proxy: str, *, priority: Priority = Priority.ENTRY_KEY
    ) -> Credentials:
        """The wallet's API key, for which its order waits. Raises: InvalidMessage, Transient."""
        known = self._credentials.get(proxy)
        if known is not None:
            return known
        return await self._wait_for_key((proxy, priority))

    async def renew_credentials(self, proxy: str, *, refused: Credentials) -> Credentials | None:
        """The wallet's API key after the venue refused this one: keys end, or are replaced. None:
        there is no other, or it was asked for within ``RENEWAL_INTERVAL``.
        """
        known = self._credentials.get(proxy)
        if known is not None and known != refused:  # another request has renewed it meanwhile
            return known
        request = (proxy, Priority.ENTRY_KEY)
        if not self._fetch_once.is_running(request):
            renewed_at = self._renewed_at.get(proxy)
            if renewed_at is not None and self._now() - renewed_at < RENEWAL_INTERVAL:
                return None
            self._renewed_at[proxy] = self._now()
            logger.warning("the venue refuses the API key of proxy %s, it is derived anew", proxy)
        try:
            return await self._wait_for_key(request)
        except (Transient, InvalidMessage) as error:
            logger.error("the API key of proxy %s could not be derived anew: %s", proxy, error)
            return None

    async def _wait_for_key(self, request: tuple[str, Priority]) -> Credentials:
        """Raises: InvalidMessage, Transient."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._fetch_once(request)
        except TimeoutError:
            raise Transient(f"the venue has issued no API key of proxy {request[0]} yet") from None

    async def _fetch_from_venue(self, request: tuple[str, Priority]) -> Credentials:
        """Where another request for the wallet is answered first, this one is withdrawn: it may
        still wait for the venue's limit.
        """
        proxy, priority = request
        requests = self._requests.setdefault(proxy, set())
        asked = asyncio.create_task(
            self._clob.fetch_credentials(self.wallet(proxy), priority=priority)
        )
        requests.add(asked)
        try:
            await asyncio.wait({asked})
        finally:
            requests.discard(asked)
            asked.cancel()
        if asked.cancelled():
            return self._credentials[proxy]
        credentials = asked.result()
        _hide([credentials])
        self._credentials[proxy] = self._unsaved[proxy] = credentials
        for other in requests:
            other.cancel()
        return credentials


def _hide(keys: Iterable[Credentials]) -> None:
    """Keep the secrets out of every log line."""
    for credentials in keys:
        logs.register_secret(credentials.secret)
        logs.register_secret(credentials.passphrase)
