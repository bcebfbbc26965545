"""How we talk to the CLOB's REST interface."""

from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from shared.domain.errors import InvalidMessage, Transient
from shared.polymarket.market_data import BookSnapshot, Market, parse_book, parse_market
from shared.polymarket.replies import (
    RETRY_LATER_STATUSES,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
    parse_reply,
)
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet

JSON = {"Content-Type": "application/json"}
MAX_CONNECTIONS = 32
"""At a time, per process: the venue answers an order in some milliseconds, and takes no more than a
few dozen a second per signer."""
LAST_CURSOR = "LTE="
MAX_CLOCK_SKEW_S = 1
"""Two clocks that differ by no more are the same: the venue tells whole seconds, and the answer
took its time."""


class NoMarket(Exception):
    """The venue has no order book for the token: closed, resolved, or not open yet."""


class Clob:
    """Reads raise ``Transient`` where the venue did not answer. An order's answer is always a
    ``Reply``: see ``send``.
    """

    def __init__(self, settings: VenueSettings, *, now: Callable[[], datetime]) -> None:
        self._settings, self._now = settings, now
        self._session: aiohttp.ClientSession | None = None
        self._ahead_s = 0
        """How far the venue's clock is ahead of ours, as far as it ever mattered."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch_book(self, token_id: str) -> BookSnapshot:
        """Raises: NoMarket, Transient, InvalidMessage."""
        return parse_book(_object(await self._read("/book", token_id=token_id)))

    async def fetch_market(self, token_id: str) -> Market:
        """What orders of the token must obey. Raises: NoMarket, Transient, InvalidMessage."""
        listed = _object(await self._read(f"/markets-by-token/{token_id}"))
        condition_id = str(listed.get("condition_id", ""))
        return parse_market(
            token_id,
            _object(await self._read(f"/clob-markets/{condition_id}")),
            condition_id=condition_id,
        )

    async def fetch_credentials(self, wallet: Wallet) -> Credentials:
        """The wallet's API key: made, or derived where it exists. Raises: Transient, InvalidMessage
        where the venue refuses.
        """
        used = self._ahead_s
        status, body = await self._api_key(wallet)
        if status == HTTPStatus.UNAUTHORIZED and await self._learns_the_clock(used):
            status, body = await self._api_key(wallet)
        if status in RETRY_LATER_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Transient(f"the venue gives no API key now: status {status}")
        if (
            status != HTTPStatus.OK
            or not isinstance(body, dict)
            or not {"apiKey", "secret", "passphrase"} <= body.keys()
        ):
            raise InvalidMessage(f"the venue gives no API key to {wallet.signer}: status {status}")
        return Credentials(
            address=wallet.signer,
            key=str(body["apiKey"]),
            secret=str(body["secret"]),
            passphrase=str(body["passphrase"]),
        )

    async def _api_key(self, wallet: Wallet) -> tuple[int, Any]:
        headers = wallet.build_l1_headers(timestamp=self._seconds())
        status, body = await self._request("POST", "/auth/api-key", headers=headers)
        if status != HTTPStatus.OK:  # it exists already
            status, body = await self._request("GET", "/auth/derive-api-key", headers=headers)
        return status, body

    async def post_order(self, body: str, credentials: Credentials) -> Reply:
        """Post an order, byte for byte.

        Never raises for the network: where the bytes may have left and no answer came, the reply is
        ``Lost``; where no connection was had, they cannot have left, and it is ``NotNow``. Refused
        for the time that they were signed at, they are sent once more.
        """
        used = self._ahead_s
        reply = await self._post(body, credentials)
        if (
            isinstance(reply, Rejected)
            and reply.reason is Reason.UNAUTHORIZED
            and await self._learns_the_clock(used)
        ):
            reply = await self._post(body, credentials)
        return reply

    async def _post(self, body: str, credentials: Credentials) -> Reply:
        headers = JSON | credentials.build_headers(
            method="POST", path="/order", body=body, timestamp=self._seconds()
        )
        try:
            async with self._open().post(
                self._settings.clob("/order"), data=body.encode(), headers=headers
            ) as response:
                raw = await response.read()
                return parse_reply(
                    response.status, _json(raw), retry_after=response.headers.get("Retry-After")
                )
        except aiohttp.ClientConnectorError as error:
            return RetryLater(f"no connection to the venue: {type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return ReplyLost(type(error).__name__)

    async def fetch_trades(
        self, credentials: Credentials, *, maker_address: str, since: datetime
    ) -> list[Mapping[str, Any]]:
        """The wallet's trades since a moment of our clock. Raises: Transient."""
        while True:
            used = self._ahead_s
            after = int(since.timestamp()) + min(used, 0)
            found = await self._pages(
                "/data/trades", credentials, maker_address=maker_address, after=str(after)
            )
            if self._ahead_s == used:  # else it was asked for by a clock that is not the venue's
                return found

    async def is_order_open(self, credentials: Credentials, order_hash: str) -> bool:
        """Whether the venue still holds the order: it rests, or waits to be matched. Raises:
        Transient.
        """
        path = f"/data/order/{order_hash}"
        status, body = await self._signed_read(path, credentials)
        if status == HTTPStatus.NOT_FOUND:
            return False
        if status != HTTPStatus.OK or not isinstance(body, dict | None):
            raise Transient(f"GET {path}: status {status}, not an order")
        return bool(body)

    async def _pages(
        self, path: str, credentials: Credentials, **query: str
    ) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        cursor = "MA=="
        while cursor != LAST_CURSOR:
            status, body = await self._signed_read(path, credentials, next_cursor=cursor, **query)
            page = body.get("data") if status == HTTPStatus.OK and isinstance(body, dict) else None
            if not isinstance(page, list) or not all(isinstance(row, dict) for row in page):
                raise Transient(f"GET {path}: status {status}, no readable page")
            found += page
            cursor = str(body.get("next_cursor") or LAST_CURSOR)
        return found

    async def _signed_read(
        self, path: str, credentials: Credentials, **query: str
    ) -> tuple[int, Any]:
        used = self._ahead_s
        status, body = await self._request(
            "GET", path, headers=self._l2_headers(path, credentials), query=query
        )
        if status == HTTPStatus.UNAUTHORIZED and await self._learns_the_clock(used):
            status, body = await self._request(
                "GET", path, headers=self._l2_headers(path, credentials), query=query
            )
        return status, body

    def _l2_headers(self, path: str, credentials: Credentials) -> dict[str, str]:
        return credentials.build_headers(
            method="GET", path=path, body=None, timestamp=self._seconds()
        )

    async def _learns_the_clock(self, used: int) -> bool:
        """Whether the venue's clock is another than what a refused request was signed by, ``used``
        seconds ahead of ours.
        """
        if self._ahead_s == used:  # else somebody has asked meanwhile
            try:
                told = int(await self._read("/time"))
            except (Transient, NoMarket, TypeError, ValueError):
                return False
            self._ahead_s = told - int(self._now().timestamp())
        return abs(self._ahead_s - used) > MAX_CLOCK_SKEW_S

    async def _read(self, path: str, **query: str) -> Any:
        status, body = await self._request("GET", path, query=query)
        if status == HTTPStatus.NOT_FOUND:
            raise NoMarket(path)
        if status != HTTPStatus.OK:
            raise Transient(f"GET {path}: status {status}")
        return body

    async def _request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        try:
            async with self._open().request(
                method, self._settings.clob(path), headers=headers, params=query
            ) as response:
                return response.status, _json(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"{method} {path}: {type(error).__name__}") from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=self._settings.venue_timeout_s),
            )
        return self._session

    def _seconds(self) -> int:
        return int(self._now().timestamp()) + self._ahead_s


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise InvalidMessage(
            f"the venue answered with {type(body).__name__} where an object was expected"
        )
    return body
