"""Client of the CLOB's REST interface: books, markets, API keys, orders and our trades."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from shared.chain.addresses import is_v3_position
from shared.domain.errors import InvalidMessage, Transient
from shared.polymarket.clob_requests import ClobRequests, Page
from shared.polymarket.market_data import (
    BookSnapshot,
    Market,
    parse_book,
    parse_market,
    parse_price,
)
from shared.polymarket.replies import RETRY_LATER_STATUSES, Reason, Rejected, Reply
from shared.polymarket.request_budget import Priority, RequestBudget
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet, parse_credentials

logger = logging.getLogger(__name__)

FIRST_CURSOR = "MA=="
LAST_CURSOR = "LTE="
CLOCK_WITHIN_S = 1.0
"""An order that was refused is not posted again later: its lease was checked before the first
post."""
MAX_PAGES = 100
"""Of one read: more means that the pages do not end."""


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


class Clob:
    """The CLOB over HTTP.

    Reads raise ``Transient`` where the venue did not answer. Posting an order always returns a
    ``Reply``: see ``post_order``.
    """

    def __init__(
        self,
        settings: VenueSettings,
        *,
        now: Callable[[], datetime],
        budget: RequestBudget | None = None,
    ) -> None:
        """``budget``: shared with the process's other clients of the venue; None: it has none."""
        self._requests = ClobRequests(settings, now=now, budget=budget)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._requests.close()

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

    async def fetch_credentials(
        self, wallet: Wallet, *, priority: Priority = Priority.LOOKUP
    ) -> Credentials:
        """Create the wallet's API key, or derive it where it exists.

        Raises: Transient; InvalidMessage where the venue refuses.
        """
        offset_s = self._requests.clock_offset_s
        replies = await self._request_api_key(wallet, priority)
        if replies[-1][0] == HTTPStatus.UNAUTHORIZED and await self._requests.is_clock_wrong(
            offset_s
        ):
            replies = await self._request_api_key(wallet, priority)
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

    async def _request_api_key(self, wallet: Wallet, priority: Priority) -> list[tuple[int, Any]]:
        """The replies to creating the key and, where it was not created, to deriving it."""
        replies: list[tuple[int, Any]] = []
        for method, path in (("POST", "/auth/api-key"), ("GET", "/auth/derive-api-key")):
            reply = await self._requests.request(
                method,
                path,
                sign=lambda: wallet.build_l1_headers(timestamp=self._requests.venue_time_s()),
                priority=priority,
                wallet=wallet.signer,
            )
            replies.append(reply)
            if reply[0] == HTTPStatus.OK:
                break
        return replies

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
        status, _ = await self._signed_read(path, credentials, query=query)
        if status != HTTPStatus.OK:
            raise Transient(f"GET {path}: status {status}")

    async def post_order(self, body: str, credentials: Credentials) -> Reply:
        """Post an order's body, byte for byte.

        Never raises for the network. Where the bytes may have left and no answer came, the reply is
        ``ReplyLost``; where there was no connection, or none was free in time, they cannot have
        left, and it is ``RetryLater``; likewise where a gateway in front of the venue answers. A
        post that is refused because of its signed time is sent once more, if the venue tells its
        time soon.
        """
        offset_s = self._requests.clock_offset_s
        reply = await self._requests.post_order(body, credentials)
        if (
            isinstance(reply, Rejected)
            and reply.reason is Reason.UNAUTHORIZED
            and await self._requests.is_clock_wrong(offset_s, within_s=CLOCK_WITHIN_S)
        ):
            reply = as_repeat(await self._requests.post_order(body, credentials))
        return reply

    async def fetch_trades(
        self,
        credentials: Credentials,
        *,
        maker_address: str,
        since: datetime,
        priority: Priority = Priority.LOOKUP,
    ) -> list[Mapping[str, Any]]:
        """Return the wallet's trades since a moment of our clock.

        Raises: Transient; of these, Unauthorized and EndlessPages.
        """
        while True:
            offset_s = self._requests.clock_offset_s
            after = int(since.timestamp()) + min(offset_s, 0)
            trades = await self._fetch_pages(
                credentials, priority, maker_address=maker_address, after=str(after)
            )
            # A changed offset means that ``after`` was computed with a wrong clock.
            if self._requests.clock_offset_s == offset_s:
                return trades

    async def fetch_trade(
        self,
        credentials: Credentials,
        trade_id: str,
        *,
        maker_address: str,
        priority: Priority = Priority.LOOKUP,
    ) -> list[Mapping[str, Any]]:
        """Return the row of one trade of the wallet; none where the venue does not show it.

        Raises: Transient; of these, Unauthorized and EndlessPages.
        """
        return await self._fetch_pages(
            credentials, priority, maker_address=maker_address, id=trade_id
        )

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
        self, credentials: Credentials, priority: Priority, **query: str
    ) -> list[Mapping[str, Any]]:
        path, rows = "/data/trades", list[Mapping[str, Any]]()
        cursor, read = FIRST_CURSOR, set[str]()
        while cursor != LAST_CURSOR:
            if cursor in read or len(read) == MAX_PAGES:
                text = f"GET {path}: the pages do not end, {len(read)} were read up to {cursor!r}"
                logger.warning("%s", text)
                raise EndlessPages(text, rows)
            read.add(cursor)
            status, body = await self._signed_read(
                path, credentials, priority=priority, query={"next_cursor": cursor, **query}
            )
            page = body.get("data") if status == HTTPStatus.OK and isinstance(body, dict) else None
            if not isinstance(page, list) or not all(isinstance(row, dict) for row in page):
                raise Transient(f"GET {path}: status {status}, no readable page")
            rows += page
            cursor = str(body.get("next_cursor") or LAST_CURSOR)
        return rows

    async def _signed_read(
        self,
        path: str,
        credentials: Credentials,
        *,
        priority: Priority = Priority.LOOKUP,
        query: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Raises: Transient; Unauthorized where the clocks agree."""

        def sign() -> dict[str, str]:
            return credentials.build_headers(
                method="GET", path=path, body=None, timestamp=self._requests.venue_time_s()
            )

        read = partial(
            self._requests.request,
            "GET",
            path,
            sign=sign,
            query=query,
            priority=priority,
            wallet=credentials.address,
        )
        offset_s = self._requests.clock_offset_s
        status, body = await read()
        if status == HTTPStatus.UNAUTHORIZED and await self._requests.is_clock_wrong(offset_s):
            status, body = await read()
        if status == HTTPStatus.UNAUTHORIZED:
            raise Unauthorized(f"GET {path}: status {status}")
        return status, body

    async def _get(self, path: str, **query: str) -> Any:
        status, body = await self._requests.request("GET", path, query=query)
        if status == HTTPStatus.NOT_FOUND and not isinstance(body, Page):
            raise NoMarket(path)
        if status != HTTPStatus.OK:
            raise Transient(f"GET {path}: status {status}")
        return body


def as_repeat(reply: Reply) -> Reply:
    """The reply to bytes that were sent, and refused for a passing reason, right before."""
    return replace(reply, is_repeat=True) if isinstance(reply, Rejected) else reply


def _asset_type(token_id: str | None) -> str:
    """The venue's word for the asset; None is the collateral."""
    if token_id is None:
        return "COLLATERAL"
    return "CONDITIONAL-V2" if is_v3_position(int(token_id)) else "CONDITIONAL"


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


def _require_object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise InvalidMessage(f"the venue's reply must be an object, got {type(body).__name__}")
    return body
