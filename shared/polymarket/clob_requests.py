"""Requests to the CLOB: signed with the venue's clock, and sent when its limits have room."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson

from shared.domain.errors import Transient
from shared.polymarket.connections import Connections, Use
from shared.polymarket.http_connection import HttpReply, NoReply, NotConnected
from shared.polymarket.replies import (
    Reply,
    ReplyLost,
    RetryLater,
    parse_reply,
    parse_retry_after,
)
from shared.polymarket.request_budget import BudgetExhausted, Priority, RequestBudget
from shared.polymarket.request_families import Family, find_family
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials

JSON = {"Content-Type": "application/json"}
SIGNER_LIMIT_HEADERS = "poly-ratelimit-"
"""Begin the names of the headers of a reply about a signer's limit."""
KEY_PATHS = "/auth/"
ACCOUNT_PATHS = (KEY_PATHS, "/time", "/balance-allowance/")
MIN_TIME_S, MAX_TIME_S = 10**9, 10**11
"""Between them is every time in seconds; one in milliseconds is above."""
ROOM_WITHIN_S = 0.5
"""An order that finds no room in the venue's limits by then is not sent: its lease and terms were
checked right before."""
MAX_CLOCK_SKEW_S = 1
"""Clocks that differ by no more count as equal: the venue reports whole seconds, and its reply took
time to arrive."""


class Page:
    """The body of a reply that is not JSON: what a gateway in front of the venue answers."""


class ClobRequests:
    """Sends single requests. Reads raise ``Transient`` where no answer came."""

    def __init__(
        self,
        settings: VenueSettings,
        *,
        now: Callable[[], datetime],
        budget: RequestBudget | None,
    ) -> None:
        self._settings, self._now = settings, now
        self._budget = budget or RequestBudget(share=settings.venue_rate_share)
        self._connections = Connections(settings.clob(""), timeout_s=settings.venue_timeout_s)
        self.clock_offset_s = 0
        """How far the venue's clock is ahead of ours; measured once it refuses a signed time."""

    async def close(self) -> None:
        await self._connections.close()

    async def post_order(self, body: str, credentials: Credentials) -> Reply:
        """Post the bytes once, with a signed time. Never raises for the network."""
        try:
            await self._budget.wait_for_order(credentials.address, within_s=ROOM_WITHIN_S)
        except BudgetExhausted as error:
            return RetryLater(str(error))
        headers = JSON | credentials.build_headers(
            method="POST", path="/order", body=body, timestamp=self.venue_time_s()
        )
        try:
            response = await self._connections.client(Use.ORDERS).request(
                "POST", "/order", headers=headers, body=body.encode()
            )
        except NotConnected as error:
            return RetryLater(f"no connection to the venue: {error}")
        except NoReply as error:
            return ReplyLost(str(error))
        self._learn_limit(response, Family.ORDERS)
        return parse_reply(
            response.status,
            _parse_json(response.body),
            retry_after_s=self._retry_after_s(response),
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        sign: Callable[[], Mapping[str, str]] | None = None,
        query: Mapping[str, str] | None = None,
        priority: Priority = Priority.LOOKUP,
        wallet: str = "",
    ) -> tuple[int, Any]:
        """Return the status and the body of the reply: ``Page`` where it is not JSON, None where it
        is empty. ``sign`` is called right before the request is sent, for headers have the time.

        Raises: Transient, also where there is no room for it within ``venue_timeout_s``. A request
        for an API key keeps its place: whoever needs the key waits as long as he can.
        """
        family = find_family(path)
        within_s = None if path.startswith(KEY_PATHS) else self._settings.venue_timeout_s
        try:
            async with asyncio.timeout(within_s):
                await self._budget.wait_for_room(family, priority=priority, wallet=wallet)
        except TimeoutError:
            raise BudgetExhausted(f"{method} {path}: no room in the venue's limit") from None
        headers = sign() if sign is not None else None
        try:
            response = await self._connections.client(_use(path)).request(
                method, path, headers=headers, query=query
            )
        except (NotConnected, NoReply) as error:
            raise Transient(f"{method} {path}: {error}") from None
        self._learn_limit(response, family)
        return response.status, _parse_json(response.body)

    def _learn_limit(self, response: HttpReply, family: Family) -> None:
        """Slow the family down after a 429 about our address; that of a signer is his alone."""
        if response.status == HTTPStatus.TOO_MANY_REQUESTS and not any(
            name.lower().startswith(SIGNER_LIMIT_HEADERS) for name in response.headers
        ):
            self._budget.slow_down(family, retry_after_s=self._retry_after_s(response))

    def _retry_after_s(self, response: HttpReply) -> int | None:
        return parse_retry_after(
            response.headers.get("Retry-After"),
            now=datetime.fromtimestamp(self.venue_time_s(), UTC),
        )

    def venue_time_s(self) -> int:
        """The time by the venue's clock, in seconds since the epoch."""
        return int(self._now().timestamp()) + self.clock_offset_s

    async def is_clock_wrong(self, offset_s: int, *, within_s: float | None = None) -> bool:
        """Measure the offset of the venue's clock again, after a request that was signed with
        ``offset_s`` was refused. Return whether it differs, so that signing again can help; False
        where that is not known ``within_s``.
        """
        if self.clock_offset_s == offset_s:  # else another request has measured it meanwhile
            try:
                async with asyncio.timeout(within_s):
                    status, body = await self.request("GET", "/time")
                venue_time_s = _parse_time(body)
            except (Transient, TimeoutError, ValueError):
                return False
            if status != HTTPStatus.OK:
                return False
            self.clock_offset_s = venue_time_s - int(self._now().timestamp())
        return abs(self.clock_offset_s - offset_s) > MAX_CLOCK_SKEW_S


def _use(path: str) -> Use:
    return Use.ACCOUNTS if path.startswith(ACCOUNT_PATHS) else Use.READS


def _parse_time(body: Any) -> int:
    """Unix seconds. Raises: ValueError where the reply is no time."""
    if isinstance(body, bool) or not isinstance(body, int | str):
        raise ValueError("no number")
    time_s = int(body)
    if not MIN_TIME_S < time_s < MAX_TIME_S:
        raise ValueError("not a time in seconds")
    return time_s


def _parse_json(raw: bytes) -> Any:
    """``Page`` where the bytes are not JSON; None where there are none."""
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Page()
