"""Authenticates a request to the CLOB by its headers and the venue's clock."""

from collections.abc import Callable

from aiohttp import web

from services.paper_venue.http.auth import ApiKeyStore, Credentials


class Authenticator:
    """The CLOB's two ways of authentication: wallet signature (L1) and API key (L2)."""

    def __init__(self, keys: ApiKeyStore, now_ms: Callable[[], int]) -> None:
        self._keys = keys
        self._now_ms = now_ms

    def authenticate_wallet(self, request: web.Request) -> tuple[str, int]:
        """L1: the address that signed, and its nonce. Raises: Denied."""
        return self._keys.verify_l1(request.headers, now_s=self._now_ms() // 1000)

    async def authenticate_key(self, request: web.Request) -> Credentials:
        """L2: the API key whose secret signed the request's exact bytes. Raises: Denied."""
        body = await request.read()
        return self._keys.verify_l2(
            request.headers,
            method=request.method,
            path=request.path,
            body=body,
            now_s=self._now_ms() // 1000,
        )
