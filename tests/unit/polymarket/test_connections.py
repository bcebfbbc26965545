"""Requests of one use that the venue does not answer take no connection of another use."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eth_account import Account

from shared.polymarket import connections
from shared.polymarket.clob import Clob
from shared.polymarket.connections import Use
from shared.polymarket.replies import Duplicated, RetryLater
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet
from shared.testing.waiting import eventually
from tests.builders import NOON, PROXY
from tests.fakes import Clock

KEY = "0x" + "17" * 32
WALLET = Wallet(proxy=Account.from_key(KEY).address, private_key=KEY)
CREDENTIALS = Credentials(address=WALLET.signer, key="k", secret="dGhlLXNlY3JldA==", passphrase="p")
REPLIES = {
    "/order": {"success": False, "errorMsg": "order 0x1 is invalid. Duplicated."},
    "/auth/api-key": {"apiKey": "k", "secret": "dGhlLXNlY3JldA==", "passphrase": "p"},
    "/data/trades": {"data": [], "next_cursor": "LTE="},
}


class SilentVenue:
    """Does not answer to these paths."""

    def __init__(self, *silent: str) -> None:
        self.silent = set(silent)
        self.requests: Counter[str] = Counter()
        self._ended = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.requests[request.path] += 1
        if request.path in self.silent:
            await self._ended.wait()
        return web.json_response(REPLIES[request.path])

    def end(self) -> None:
        self._ended.set()


@pytest.fixture
async def venue() -> SilentVenue:
    return SilentVenue()


@pytest.fixture
async def clob(venue: SilentVenue, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clob]:
    monkeypatch.setattr(connections, "LIMITS", {use: 2 for use in Use})
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.handle)
    async with TestServer(application) as server:
        settings = VenueSettings.model_validate(
            {"clob_url": str(server.make_url("/")), "venue_timeout_s": 60}
        )
        async with Clob(settings, now=Clock(NOON)) as clob:
            yield clob
            venue.end()


def read(clob: Clob) -> Coroutine[Any, Any, Any]:
    return clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)


async def test_reads_without_an_answer_hold_up_neither_orders_nor_api_keys(
    venue: SilentVenue, clob: Clob
) -> None:
    venue.silent = {"/data/trades"}
    reads = [asyncio.create_task(read(clob)) for _ in range(5)]
    await eventually(lambda: venue.requests["/data/trades"] == 2)

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)
    assert await clob.fetch_credentials(WALLET) == CREDENTIALS

    venue.end()
    assert await asyncio.gather(*reads) == [[]] * 5


async def test_an_order_that_gets_no_connection_has_not_left_and_may_be_retried(
    venue: SilentVenue, clob: Clob
) -> None:
    venue.silent = {"/order"}
    posts = [asyncio.create_task(clob.post_order("{}", CREDENTIALS)) for _ in range(2)]
    await eventually(lambda: venue.requests["/order"] == 2)

    assert isinstance(await clob.post_order("{}", CREDENTIALS), RetryLater)

    assert venue.requests["/order"] == 2
    assert await read(clob) == []
    venue.end()
    assert [type(reply) for reply in await asyncio.gather(*posts)] == [Duplicated] * 2


async def test_api_keys_without_an_answer_hold_up_no_order(venue: SilentVenue, clob: Clob) -> None:
    venue.silent = {"/auth/api-key"}
    keys = [asyncio.create_task(clob.fetch_credentials(WALLET)) for _ in range(3)]
    await eventually(lambda: venue.requests["/auth/api-key"] == 2)

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)

    venue.end()
    assert await asyncio.gather(*keys) == [CREDENTIALS] * 3
