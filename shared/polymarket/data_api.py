"""Client of the Data API: the trades of a wallet, its positions and what they are worth; their rows
as values.

Its rows come from the chain, some seconds late (docs/venue-protocol.md, Data API). A row names
neither a log index nor an order: two equal rows of a transaction can be two real fills, or one that
was reported twice, and nothing in them says which.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from shared.clock import utc_now
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.ids import derived_id
from shared.domain.money import floor_micros
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.polymarket import rtds
from shared.polymarket.replies import parse_retry_after
from shared.polymarket.request_budget import Priority, RequestBudget
from shared.polymarket.request_families import find_family

logger = logging.getLogger(__name__)

ROWS_PER_PAGE = 500
MAX_TOKEN_ID_DIGITS = len(str(2**256))
MAX_PAGES = 20
MAX_PAGES_OF_TRADES = 4
"""Of one ``fetch_trades``: who has traded more is read on later, so that nobody waits for him."""

DATA_API_FIELD_BY_RTDS_FIELD = {
    "proxyWallet": "proxy_wallet",
    "transactionHash": "transaction_hash",
    "asset": "token_id",
    "side": "side",
    "size": "size",
    "price": "price",
    "timestamp": "timestamp",
    "title": "title",
    "outcome": "outcome",
}
"""Field names of the Data API by those of the activity feed, whose parser is used for both."""

MAX_USDC = 10**12
"""No wallet is worth as much."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trades:
    """Fills of a wallet."""

    rows: list[Row]
    """Newest first."""
    is_complete: bool
    """False: older fills of the requested time were not read."""


class DataApi:
    """Reads one page after another, and never faster than the venue allows."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        now: Callable[[], datetime] = utc_now,
        budget: RequestBudget | None = None,
    ) -> None:
        """``budget``: shared with the process's other clients of the venue; None: it has none."""
        self._url, self._timeout_s, self._now = url.rstrip("/"), timeout_s, now
        self._budget = budget or RequestBudget()
        self._session: aiohttp.ClientSession | None = None

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

    async def fetch_trades(self, wallet: str, since: datetime, until: datetime) -> Trades:
        """Return the wallet's fills of that time, as taker and as maker, both ends included: the
        newest, as many as a few pages have.

        Answers are cached by their URL: ask with another ``until`` each time.

        Raises: Transient, InvalidMessage.
        """
        query = {
            "user": wallet,
            "taker_only": "false",
            "start": str(int(since.timestamp())),
            "end": str(int(until.timestamp())),
            "limit": str(ROWS_PER_PAGE),
        }
        rows, cursor = await self._fetch_pages("/v2/trades", query, MAX_PAGES_OF_TRADES)
        return Trades(rows=rows, is_complete=cursor is None)

    async def fetch_positions(self, wallet: str) -> list[Row]:
        """Return what the wallet holds in markets that are not resolved, some seconds late. Where
        the pages do not end, return the rows of those that were read.

        Raises: Transient, InvalidMessage.
        """
        query = {"user": wallet, "status": "OPEN", "limit": str(ROWS_PER_PAGE)}
        rows, cursor = await self._fetch_pages("/v2/positions", query, MAX_PAGES)
        if cursor is not None:
            logger.warning(
                "the Data API's pages of wallet %s do not end, %d rows were read up to cursor %r",
                wallet,
                len(rows),
                cursor,
            )
        return rows

    async def _fetch_pages(
        self, path: str, query: dict[str, str], max_pages: int
    ) -> tuple[list[Row], str | None]:
        """The rows, and the cursor of the page that was not read: None where all were read."""
        rows: list[Row] = []
        cursors = set[str]()
        cursor: str | None = None
        while len(cursors) < max_pages:
            page, cursor = parse_page(await self._get(path, query))
            rows += page
            if cursor is None or cursor in cursors:
                break
            cursors.add(cursor)
            query["cursor"] = cursor
        return rows, cursor

    async def fetch_value(self, wallet: str) -> int:
        """Return what the wallet's positions are worth, in micro-USDC, rounded down.

        Raises: Transient, InvalidMessage.
        """
        return parse_value(await self._get("/v2/value", {"user": wallet}), wallet=wallet)

    async def _get(self, path: str, query: dict[str, str]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s)
            )
        family = find_family(path)
        await self._budget.wait_for_room(family, priority=Priority.POLL)
        try:
            async with self._session.get(self._url + path, params=query) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
            raise Transient(f"no reply from the Data API: {type(error).__name__}") from error
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            retry_after_s = parse_retry_after(reply.headers.get("Retry-After"), now=self._now())
            self._budget.slow_down(family, retry_after_s=retry_after_s)
        if reply.status != HTTPStatus.OK:
            raise Transient(f"the Data API replied with status {reply.status}")
        try:
            return json.loads(text, parse_float=Decimal)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise InvalidMessage(f"the Data API's reply is not JSON: {error}") from None


def parse_page(payload: Any) -> tuple[list[Row], str | None]:
    """Return the rows of a reply, and the cursor of the next page; None where there is none.

    Raises: InvalidMessage.
    """
    rows = payload.get("data") if isinstance(payload, dict) else None
    pagination = payload.get("pagination") if isinstance(payload, dict) else None
    if (
        not isinstance(rows, list)
        or not isinstance(pagination, dict)
        or not all(isinstance(row, dict) for row in rows)
    ):
        raise InvalidMessage("the Data API's reply has no data and pagination")
    cursor = pagination.get("next_cursor")
    return rows, None if cursor is None else str(cursor)


def parse_value(payload: Any, *, wallet: str) -> int:
    """Return the value that a reply says of the wallet's positions, in micro-USDC.

    Raises: InvalidMessage where it says none, or of another wallet.
    """
    row = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(row, dict) or str(row.get("proxy_wallet")).lower() != wallet.lower():
        raise InvalidMessage("the Data API's reply has no value of the wallet's positions")
    value = row.get("value")
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value < MAX_USDC:
        raise InvalidMessage(f"the value of a wallet's positions cannot be {value!r}")
    return floor_micros(Decimal(value))


def parse_position(row: Row) -> tuple[str, Decimal]:
    """Return the token of a row of positions and its price, which is 0 or 1 where nothing is left
    to trade. Raises: InvalidMessage.
    """
    token_id, price = row.get("token_id"), row.get("current_price")
    if not isinstance(token_id, str) or not _is_token_id(token_id):
        raise InvalidMessage("a position's token_id is no number of 256 bits")
    if isinstance(price, bool) or not isinstance(price, int | Decimal) or not 0 <= price <= 1:
        raise InvalidMessage("a position's current_price is not between 0 and 1")
    return token_id, Decimal(price)


def _is_token_id(value: str) -> bool:
    is_number = value.isascii() and value.isdecimal() and len(value) <= MAX_TOKEN_ID_DIGITS
    return is_number and int(value) < 2**256


def parse_fill(row: Row, *, seen_at: datetime) -> LeaderFillSeen:
    """Parse a row as a fill of its wallet.

    Equal rows of a transaction get the same id and count once: a lower bound of what was traded.
    Raises: InvalidMessage, naming the wrong field as the activity feed calls it.
    """
    rtds_row = {name: row.get(field) for name, field in DATA_API_FIELD_BY_RTDS_FIELD.items()}
    fill = rtds.parse_fill(rtds_row, seen_at=seen_at)
    row_id = derived_id("data", fill.side, fill.shares, fill.price.normalize())
    message_id = derived_id("fill", fill.transaction_hash, fill.leader, fill.token_id, row_id)
    return fill.model_copy(
        update={"source": FillSource.DATA, "row_id": row_id, "message_id": message_id}
    )
