"""Client of Gamma, the venue's catalogue of markets: what it says of a token's market beside the
trading rules.

Shapes: docs/venue-protocol.md, Gamma.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from shared.chain.addresses import is_v3_position
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.money import floor_micros
from shared.messages.base import MAX_MICROS
from shared.messages.filters import MarketDetails
from shared.polymarket.clob import NoMarket
from shared.polymarket.condition_ids import parse_condition_id
from shared.polymarket.replies import parse_retry_after
from shared.polymarket.request_budget import RequestBudget
from shared.polymarket.request_families import Family
from shared.polymarket.token_ids import parse_token_id

MAX_CONNECTIONS = 8
"""Per process: what is read is cached for minutes."""


class Gamma:
    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        now: Callable[[], datetime],
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

    async def fetch_details(self, token_id: str) -> MarketDetails:
        """Return the details of the token's market.

        Raises: NoMarket where no open market lists it; Transient; InvalidMessage, also where it is
        no token id.
        """
        token_id = parse_token_id(token_id, name="token")
        name = "position_ids" if is_v3_position(int(token_id)) else "clob_token_ids"
        read_at = self._now()
        page = await self._get("/markets/keyset", **{name: token_id, "include_tag": "true"})
        rows = page.get("markets") if isinstance(page, dict) else None
        if not isinstance(rows, list):
            raise InvalidMessage("Gamma's reply has no markets")
        for row in rows:
            if isinstance(row, dict) and token_id in _list_tokens(row):
                return parse_details(row, read_at=read_at)
        raise NoMarket(f"Gamma lists no open market of token {token_id}")

    async def _get(self, path: str, **query: str) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            )
        await self._budget.wait_for_room(Family.GAMMA)
        try:
            async with self._session.get(self._url + path, params=query) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            raise Transient(f"no reply from Gamma: {type(error).__name__}") from error
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            retry_after_s = parse_retry_after(reply.headers.get("Retry-After"), now=self._now())
            self._budget.slow_down(Family.GAMMA, retry_after_s=retry_after_s)
        if reply.status != HTTPStatus.OK:
            raise Transient(f"Gamma replied with status {reply.status}")
        return _parse_json(text, what="Gamma's reply")


def parse_details(row: Mapping[str, Any], *, read_at: datetime) -> MarketDetails:
    """Parse a row of ``/markets`` that was requested with its tags. Raises: InvalidMessage."""
    try:
        condition_id = parse_condition_id(str(row.get("conditionId")))
    except ValueError as error:
        raise InvalidMessage(f"conditionId: {error}") from None
    return MarketDetails(
        condition_id=condition_id,
        tags=_parse_tags(row.get("tags")),
        liquidity_usdc=_parse_liquidity(row),
        ends_at=_parse_time(row.get("endDate")),
        read_at=read_at,
    )


def _list_tokens(row: Mapping[str, Any]) -> list[str]:
    """The market's tokens: of version v1 a JSON list in a string, of v2 a list. A parameter that
    Gamma does not know is ignored by it, so that a row need not be the one that was asked for.
    """
    listed = row.get("positionIds") if row.get("version") == "v2" else row.get("clobTokenIds")
    tokens = _parse_json(listed, what="clobTokenIds") if isinstance(listed, str) else listed
    return [str(token) for token in tokens] if isinstance(tokens, list) else []


def _parse_json(text: str, *, what: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidMessage(f"{what} is not JSON: {error}") from None


def _parse_tags(tags: Any) -> tuple[str, ...] | None:
    """None where the row has none, not even an empty list."""
    if not isinstance(tags, list):
        return None
    slugs = [tag.get("slug") if isinstance(tag, dict) else None for tag in tags]
    if not all(isinstance(slug, str) for slug in slugs):
        raise InvalidMessage("tags: each must have a slug")
    return tuple(sorted({str(slug).lower() for slug in slugs}))


def _parse_liquidity(row: Mapping[str, Any]) -> int | None:
    """Micro-USDC. A closed market has none."""
    given = row.get("liquidityNum", row.get("liquidity"))
    if given in (None, ""):
        return None
    try:
        liquidity = Decimal(str(given))
    except InvalidOperation:
        liquidity = Decimal("NaN")
    if not liquidity.is_finite() or not 0 <= liquidity <= MAX_MICROS:
        raise InvalidMessage(f"liquidity: {str(given)[:40]!r} is not an amount")
    return floor_micros(liquidity)


def _parse_time(text: Any) -> datetime | None:
    if text in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise InvalidMessage(f"endDate: {str(text)[:40]!r} is not a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
