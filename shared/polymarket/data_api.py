"""Which trades does the Data API tell of a wallet, and what does a row of it say?

Canonical and slow: its rows come from the chain, some seconds behind it (protocol notes, 3.3). A
row has neither a log index nor an order: two equal rows of a transaction can be two real fills, or
one that was told twice, and nothing in them says which.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from shared.domain.errors import InvalidMessage, Transient
from shared.domain.ids import derived_id
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.polymarket import rtds

REQUEST_INTERVAL_S = 0.06
"""Of the 200 requests in ten seconds that one address may make, this leaves a few to others."""
ROWS_PER_PAGE = 500
MAX_PAGES = 20
"""Of one walk: whoever trades more within the time that is looked back over is told by the other
feeds."""

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
"""The activity socket's names of what the Data API calls otherwise."""

Row = dict[str, Any]


class DataApi:
    """Reads one page after another, and never faster than the venue allows."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        interval_s: float = REQUEST_INTERVAL_S,
    ) -> None:
        self._url, self._timeout_s, self._sleep, self._every_s = (
            url.rstrip("/"),
            timeout_s,
            sleep,
            interval_s,
        )
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

    async def fetch_trades(self, wallet: str, since: datetime) -> list[Row]:
        """The wallet's fills since then, as taker and as maker, newest first. Raises: Transient,
        InvalidMessage.
        """
        asked = {
            "user": wallet,
            "taker_only": "false",
            "start": str(int(since.timestamp())),
            "limit": str(ROWS_PER_PAGE),
        }
        found: list[Row] = []
        for _ in range(MAX_PAGES):
            rows, cursor = parse_page(await self._read("/v2/trades", asked))
            found += rows
            if cursor is None:
                break
            asked["cursor"] = cursor
        return found

    async def _read(self, path: str, asked: dict[str, str]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s)
            )
        await self._sleep(self._every_s)
        try:
            async with self._session.get(self._url + path, params=asked) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
            raise Transient(f"the Data API could not be asked: {type(error).__name__}") from error
        if reply.status != HTTPStatus.OK:
            raise Transient(f"the Data API answers {reply.status}")
        try:
            return json.loads(text, parse_float=Decimal)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise InvalidMessage(f"the Data API's answer is not JSON: {error}") from None


def parse_page(payload: Any) -> tuple[list[Row], str | None]:
    """The rows of an answer, and the cursor of the page behind it. Raises: InvalidMessage."""
    rows = payload.get("data") if isinstance(payload, dict) else None
    pagination = payload.get("pagination") if isinstance(payload, dict) else None
    if (
        not isinstance(rows, list)
        or not isinstance(pagination, dict)
        or not all(isinstance(row, dict) for row in rows)
    ):
        raise InvalidMessage("the Data API's answer has no data and pagination")
    cursor = pagination.get("next_cursor")
    return rows, None if cursor is None else str(cursor)


def parse_fill(row: Row, *, seen_at: datetime) -> LeaderFillSeen:
    """The row as a fill of its wallet. Equal rows of a transaction are one: a lower bound of what
    was traded, never too much.

    Raises: InvalidMessage, naming the field that is wrong as the activity socket does.
    """
    fill = rtds.parse_fill(
        {theirs: row.get(own) for theirs, own in DATA_API_FIELD_BY_RTDS_FIELD.items()},
        seen_at=seen_at,
    )
    row_id = derived_id("data", fill.side, fill.shares, fill.price.normalize())
    message_id = derived_id("fill", fill.transaction_hash, fill.leader, fill.token_id, row_id)
    return fill.model_copy(
        update={"source": FillSource.DATA, "row_id": row_id, "message_id": message_id}
    )
