"""Has every wallet's API key before an order needs it, and stores what the venue has issued."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from services.executor.adapters.keyring import Keyring
from services.executor.adapters.wallet_retries import WalletRetries
from shared.domain.errors import InvalidMessage, Transient
from shared.observe import metrics
from shared.polymarket.request_budget import Priority
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

INTERVAL_S = 0.5
REQUESTS_AT_ONCE = 8
READY_AFTER = timedelta(seconds=20)
"""The service is ready then with API keys missing too: the venue issues about five in a second, and
what is missing after that is requested with the first order of its wallet, before all others."""


class KeyFeed:
    """A feed of the service and one of its readiness checks. It requests the missing API keys of
    this instance's wallets in the background: orders and lookups that wait for theirs go first.
    """

    name = "api-keys"

    def __init__(
        self, keyring: Keyring, *, owns: Callable[[str], bool], now: Callable[[], datetime]
    ) -> None:
        self._keyring, self._owns, self._now = keyring, owns, now
        self._retries = WalletRetries(now=now)
        self._missing_since: datetime | None = None
        """None: no API key is missing."""
        self._requests: dict[str, asyncio.Task[None]] = {}

    @property
    def is_ready(self) -> bool:
        if not self._list_missing():
            return True
        since = self._missing_since
        return since is not None and self._now() - since >= READY_AFTER

    async def __call__(self, publish: Publish) -> None:
        try:
            while True:
                self._request_missing()
                await self._save()
                await asyncio.sleep(INTERVAL_S)
        finally:
            for request in self._requests.values():
                request.cancel()
            await asyncio.gather(*self._requests.values(), return_exceptions=True)

    def _list_missing(self) -> list[str]:
        return [
            proxy
            for proxy in self._keyring.proxies
            if not self._keyring.has_credentials(proxy) and self._owns(proxy)
        ]

    def _request_missing(self) -> None:
        """Raises: what a request raised unexpectedly."""
        for proxy, request in list(self._requests.items()):
            if request.done():
                del self._requests[proxy]
                request.result()
        missing = self._list_missing()
        metrics.api_keys_missing(len(missing))
        if not missing:
            self._missing_since = None
            return
        self._missing_since = self._missing_since or self._now()
        due = (
            each for each in missing if each not in self._requests and self._retries.is_due(each)
        )
        for proxy in due:
            if len(self._requests) >= REQUESTS_AT_ONCE:
                break
            self._requests[proxy] = asyncio.create_task(self._request(proxy))

    async def _request(self, proxy: str) -> None:
        try:
            await self._keyring.fetch_credentials(proxy, priority=Priority.BACKGROUND)
        except (Transient, InvalidMessage) as error:
            pause = self._retries.fail(proxy)
            logger.warning(
                "the API key of proxy %s could not be had, and is requested again in %s: %s",
                proxy,
                pause,
                error,
            )
        else:
            self._retries.succeed(proxy)

    async def _save(self) -> None:
        try:
            await self._keyring.save_new()
        except Transient as error:
            logger.warning("API keys could not be stored, and are again later: %s", error)
