"""web3's HTTP provider, up to the bytes of an answer."""

import aiohttp
from eth_typing import URI
from web3 import AsyncHTTPProvider

MAX_CONNECTIONS = 16
HEADERS = {"Content-Type": "application/json"}


class RawProvider(AsyncHTTPProvider):
    """Carries requests and returns answers unread: web3 itself reads only what JSON-RPC allows, and
    drops the body of an HTTP error, in which nodes name their limits.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = URI(url)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        # No retries here: only the caller knows whether a late answer is still of use.
        super().__init__(
            url,
            request_kwargs={"timeout": timeout, "headers": HEADERS},
            exception_retry_configuration=None,
        )
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the reply. Raises: what aiohttp raises."""
        if self._session is None:
            # web3's own session closes its connection after each request.
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector)
            await self.cache_async_session(self._session)
        response = await self._request_session_manager.async_get_response_from_post_request(
            self._url, data=body, **self.get_request_kwargs()
        )
        async with response:
            return response.status, await response.read()

    async def close(self) -> None:
        """Not by ``disconnect``, which logs the address with the key in it."""
        if self._session is not None:
            await self._session.close()
