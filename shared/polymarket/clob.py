"""Client of the CLOB's REST interface: books, markets, API keys, orders and our trades."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from shared.chain.addresses import is_v3_position
from shared.domain.errors import InvalidMessage, Transient
from shared.polymarket.connections import Connections, Use
from shared.polymarket.market_data import (
    BookSnapshot,
    Market,
    parse_book,
    parse_market,
    parse_price,
)
from shared.polymarket.replies import (
    RETRY_LATER_STATUSES,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
    parse_reply,
    parse_retry_after,
)
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet, parse_credentials

logger = logging.getLogger(__name__)

JSON = {"Content-Type": "application/json"}
ACCOUNT_PATHS = ("/auth/", "/time", "/balance-allowance/")
FIRST_CURSOR = "MA=="
LAST_CURSOR = "LTE="
MAX_PAGES = 100
"""Of one read: more means that the pages do not end."""
MIN_TIME_S, MAX_TIME_S = 10**9, 10**11
"""Between them is every time in seconds; one in milliseconds is above."""
MAX_CLOCK_SKEW_S = 1
"""Clocks that differ by no more count as equal: the venue reports whole seconds, and its reply took
time to arrive."""


class NoMarket(Exception):
    """The venue has no order book for the token: closed, resolved, or not open yet."""


class Unauthorized(Transient):
    """The venue does not accept the API key that signed a read."""


class EndlessPages(Transient):
    """The pages of a read do not end: a cursor came twice, or there are too many. ``rows`` are
    those that were read; whether they are all is not known.
    """

    def __init__(self, text: str, rows: list[Mapping[str, Any]]) -> None:
        super().__init__(text)
        self.rows = rows


class Page:
    """The body of a reply that is not JSON: what a gateway in front of the venue answers."""


class Clob:
    """The CLOB over HTTP.

    Reads raise ``Transient`` where the venue did not answer. Posting an order always returns a
    ``Reply``: see ``post_order``.
    """

    def __init__(self, settings: VenueSettings, *, now: Callable[[], datetime]) -> None:
        self._settings, self._now = settings, now
        self._connections = Connections(timeout_s=settings.venue_timeout_s)
        self._clock_offset_s = 0
        """How far the venue's clock is ahead of ours; measured once it refuses a signed time."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connections.close()

    async def fetch_book(self, token_id: str) -> BookSnapshot:
        """Raises: NoMarket, Transient, InvalidMessage."""
        return parse_book(_require_object(await self._get("/book", token_id=token_id)))

    async def fetch_market(self, token_id: str) -> Market:
        """Return the trading rules of the token's market.

        Raises: NoMarket, Transient, InvalidMessage.
        """
        listing = _require_object(await self._get(f"/markets-by-token/{token_id}"))
        condition_id = str(listing.get("condition_id", ""))
        return parse_market(
            token_id,
            _require_object(await self._get(f"/clob-markets/{condition_id}")),
            condition_id=condition_id,
        )

    async def fetch_midpoint(self, token_id: str) -> Decimal:
        """Return the middle between the token's best bid and ask, as the venue computes it.

        Raises: NoMarket, Transient, InvalidMessage.
        """
        reply = _require_object(await self._get("/midpoint", token_id=token_id))
        return parse_price(reply, "mid")

    async def fetch_last_trade_price(self, token_id: str) -> Decimal:
        """Return the price of the token's last trade; the venue does not say when it was.

        Raises: NoMarket, Transient, InvalidMessage, also where it has never traded.
        """
        reply = _require_object(await self._get("/last-trade-price", token_id=token_id))
        if not reply.get("side"):
            raise InvalidMessage("last-trade-price: the token has never traded")
        return parse_price(reply, "price")

    async def fetch_credentials(self, wallet: Wallet) -> Credentials:
        """Create the wallet's API key, or derive it where it exists.

        Raises: Transient; InvalidMessage where the venue refuses.
        """
        offset_s = self._clock_offset_s
        replies = await self._request_api_key(wallet)
        if replies[-1][0] == HTTPStatus.UNAUTHORIZED and await self._is_clock_wrong(offset_s):
            replies = await self._request_api_key(wallet)
        status, body = replies[-1]
        credentials = (
            parse_credentials(body, address=wallet.signer) if status == HTTPStatus.OK else None
        )
        if credentials is not None:
            return credentials
        # A key that was not created for a passing reason cannot be derived either: that refusal
        # says nothing about the next attempt.
        if any(_is_passing(*reply) for reply in replies):
            raise Transient(f"the venue issues no API key at the moment: {_statuses(replies)}")
        raise InvalidMessage(
            f"the venue refuses an API key to signer {wallet.signer}: {_statuses(replies)}"
        )

    async def _request_api_key(self, wallet: Wallet) -> list[tuple[int, Any]]:
        """The replies to creating the key and, where it was not created, to deriving it."""
        headers = wallet.build_l1_headers(timestamp=self._venue_time_s())
        created = await self._request("POST", "/auth/api-key", headers=headers)
        if created[0] == HTTPStatus.OK:
            return [created]
        return [created, await self._request("GET", "/auth/derive-api-key", headers=headers)]

    async def refresh_balance(
        self, credentials: Credentials, *, token_id: str | None, signature_type: int
    ) -> None:
        """Have the venue read a wallet's balance from the chain again: of the collateral
        (``token_id`` None) or of a token. The wallet is the signer's of this signature type.

        Raises: Transient.
        """
        path = "/balance-allowance/update"
        query = {
            "asset_type": _asset_type(token_id),
            "token_id": token_id or "",
            "signature_type": str(signature_type),
        }
        status, _ = await self._signed_read(path, credentials, **query)
        if status != HTTPStatus.OK:
            raise Transient(f"GET {path}: status {status}")

    async def post_order(self, body: str, credentials: Credentials) -> Reply:
        """Post an order's body, byte for byte.

        Never raises for the network. Where the bytes may have left and no answer came, the reply is
        ``ReplyLost``; where there was no connection, or none was free in time, they cannot have
        left, and it is ``RetryLater``; likewise where a gateway in front of the venue answers. A
        post that is refused because of its signed time is sent once more.
        """
        offset_s = self._clock_offset_s
        reply = await self._post(body, credentials)
        if (
            isinstance(reply, Rejected)
            and reply.reason is Reason.UNAUTHORIZED
            and await self._is_clock_wrong(offset_s)
        ):
            reply = as_repeat(await self._post(body, credentials))
        return reply

    async def _post(self, body: str, credentials: Credentials) -> Reply:
        headers = JSON | credentials.build_headers(
            method="POST", path="/order", body=body, timestamp=self._venue_time_s()
        )
        try:
            async with self._connections.session(Use.ORDERS).post(
                self._settings.clob("/order"), data=body.encode(), headers=headers
            ) as response:
                raw = await response.read()
                return parse_reply(
                    response.status,
                    _parse_json(raw),
                    retry_after_s=parse_retry_after(
                        response.headers.get("Retry-After"),
                        now=datetime.fromtimestamp(self._venue_time_s(), UTC),
                    ),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return RetryLater(f"no connection to the venue: {type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return ReplyLost(type(error).__name__)

    async def fetch_trades(
        self, credentials: Credentials, *, maker_address: str, since: datetime
    ) -> list[Mapping[str, Any]]:
        """Return the wallet's trades since a moment of our clock.

        Raises: Transient; of these, Unauthorized and EndlessPages.
        """
        while True:
            offset_s = self._clock_offset_s
            after = int(since.timestamp()) + min(offset_s, 0)
            trades = await self._fetch_pages(
                "/data/trades", credentials, maker_address=maker_address, after=str(after)
            )
            # A changed offset means that ``after`` was computed with a wrong clock.
            if self._clock_offset_s == offset_s:
                return trades

    async def is_order_open(self, credentials: Credentials, order_hash: str) -> bool:
        """Whether the venue still holds the order: it rests in the book, or waits to be matched.

        Raises: Transient; of these, Unauthorized.
        """
        path = f"/data/order/{order_hash}"
        status, body = await self._signed_read(path, credentials)
        if status == HTTPStatus.NOT_FOUND and not isinstance(body, Page):
            return False
        if status != HTTPStatus.OK or not isinstance(body, dict | None):
            raise Transient(f"GET {path}: status {status}, not an order")
        return bool(body)

    async def _fetch_pages(
        self, path: str, credentials: Credentials, **query: str
    ) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        cursor, read = FIRST_CURSOR, set[str]()
        while cursor != LAST_CURSOR:
            if cursor in read or len(read) == MAX_PAGES:
                text = f"GET {path}: the pages do not end, {len(read)} were read up to {cursor!r}"
                logger.warning("%s", text)
                raise EndlessPages(text, rows)
            read.add(cursor)
            status, body = await self._signed_read(path, credentials, next_cursor=cursor, **query)
            page = body.get("data") if status == HTTPStatus.OK and isinstance(body, dict) else None
            if not isinstance(page, list) or not all(isinstance(row, dict) for row in page):
                raise Transient(f"GET {path}: status {status}, no readable page")
            rows += page
            cursor = str(body.get("next_cursor") or LAST_CURSOR)
        return rows

    async def _signed_read(
        self, path: str, credentials: Credentials, **query: str
    ) -> tuple[int, Any]:
        """Raises: Transient; Unauthorized where the clocks agree."""
        offset_s = self._clock_offset_s
        status, body = await self._request(
            "GET", path, headers=self._build_l2_headers(path, credentials), query=query
        )
        if status == HTTPStatus.UNAUTHORIZED and await self._is_clock_wrong(offset_s):
            status, body = await self._request(
                "GET", path, headers=self._build_l2_headers(path, credentials), query=query
            )
        if status == HTTPStatus.UNAUTHORIZED:
            raise Unauthorized(f"GET {path}: status {status}")
        return status, body

    def _build_l2_headers(self, path: str, credentials: Credentials) -> dict[str, str]:
        return credentials.build_headers(
            method="GET", path=path, body=None, timestamp=self._venue_time_s()
        )

    async def _is_clock_wrong(self, offset_s: int) -> bool:
        """Measure the offset of the venue's clock again, after a request that was signed with
        ``offset_s`` was refused. Return whether it differs, so that signing again can help.
        """
        if self._clock_offset_s == offset_s:  # else another request has measured it meanwhile
            try:
                venue_time_s = _parse_time(await self._get("/time"))
            except (Transient, NoMarket, ValueError):
                return False
            self._clock_offset_s = venue_time_s - int(self._now().timestamp())
        return abs(self._clock_offset_s - offset_s) > MAX_CLOCK_SKEW_S

    async def _get(self, path: str, **query: str) -> Any:
        status, body = await self._request("GET", path, query=query)
        if status == HTTPStatus.NOT_FOUND and not isinstance(body, Page):
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
            async with self._connections.session(_use(path)).request(
                method, self._settings.clob(path), headers=headers, params=query
            ) as response:
                return response.status, _parse_json(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"{method} {path}: {type(error).__name__}") from None

    def _venue_time_s(self) -> int:
        return int(self._now().timestamp()) + self._clock_offset_s


def as_repeat(reply: Reply) -> Reply:
    """The reply to bytes that were sent, and refused for a passing reason, right before."""
    return replace(reply, is_repeat=True) if isinstance(reply, Rejected) else reply


def _use(path: str) -> Use:
    return Use.ACCOUNTS if path.startswith(ACCOUNT_PATHS) else Use.READS


def _asset_type(token_id: str | None) -> str:
    """The venue's word for the asset; None is the collateral."""
    if token_id is None:
        return "COLLATERAL"
    return "CONDITIONAL-V2" if is_v3_position(int(token_id)) else "CONDITIONAL"


def _parse_time(body: Any) -> int:
    """Unix seconds. Raises: ValueError where the reply is no time."""
    if isinstance(body, bool) or not isinstance(body, int | str):
        raise ValueError("no number")
    time_s = int(body)
    if not MIN_TIME_S < time_s < MAX_TIME_S:
        raise ValueError("not a time in seconds")
    return time_s


def _is_passing(status: int, body: Any) -> bool:
    """Whether an API key was not issued for a reason that passes, or by a gateway in front of the
    venue.
    """
    return (
        status in RETRY_LATER_STATUSES
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or isinstance(body, Page)
        or (status == HTTPStatus.FORBIDDEN and not body)
    )


def _statuses(replies: list[tuple[int, Any]]) -> str:
    return "status " + ", then ".join(str(status) for status, _ in replies)


def _parse_json(raw: bytes) -> Any:
    """``Page`` where the bytes are not JSON; None where there are none."""
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Page()


def _require_object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise InvalidMessage(f"the venue's reply must be an object, got {type(body).__name__}")
    return body
