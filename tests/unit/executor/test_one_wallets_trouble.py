"""120 wallets at a venue that answers for one of them wrongly, or not at all: 119 go on. The real
client, keyring, startup check and feed, against a real HTTP server.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eth_account import Account

from services.executor.adapters import startup_check
from services.executor.adapters.gates import VenueGates
from services.executor.adapters.keyring import Keyring
from services.executor.adapters.startup_check import StartupCheck, StartupCheckPending
from services.executor.adapters.venue import ClobVenue
from services.executor.adapters.venue_feed import VenueFeed
from services.executor.decisions import Order
from shared.db.leases import Lease
from shared.messages.base import Message
from shared.messages.orders import OrderOverdue, OrderState
from shared.polymarket.clob import Clob
from shared.polymarket.request_budget import RequestBudget
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet
from shared.testing.waiting import eventually
from tests.builders import NOON, seconds
from tests.fakes import Clock, VirtualTime
from tests.orders import numbered_order

HANGS, BREAKS_OFF = "hangs", "breaks off"
TROUBLES: dict[str, tuple[int, str] | None] = {
    "401": (401, '{"error": "Unauthorized/Invalid api key"}'),
    "403": (403, "<html>Attention Required!</html>"),
    "403 with a text": (403, '{"error": "forbidden"}'),
    "500": (500, '{"error": "internal error"}'),
    "502": (502, "<html>bad gateway</html>"),
    "503": (503, ""),
    "no JSON": (200, "<html>"),
    "no page": (200, '{"data": 7, "next_cursor": "LTE="}'),
    "no rows": (200, '{"data": [7], "next_cursor": "LTE="}'),
    HANGS: None,
    BREAKS_OFF: None,
}
EMPTY_PAGE = {"data": [], "next_cursor": "LTE="}
API_KEY = {"apiKey": "k", "secret": "dGhlLXNlY3JldA==", "passphrase": "p"}


def a_wallet(number: int) -> Wallet:
    key = f"0x{number:064x}"
    return Wallet(proxy=Account.from_key(key).address, private_key=key)


WALLETS = {wallet.proxy: wallet for wallet in map(a_wallet, range(1, 121))}
TROUBLED = list(WALLETS)[17]
OTHERS = [proxy for proxy in WALLETS if proxy != TROUBLED]


@dataclass
class Venue:
    """Answers for the trades of the troubled wallet in its own way until it is mended."""

    trouble: str
    clock: Clock
    requests: Counter[str] = field(default_factory=Counter)
    """For trades, by wallet."""
    keys_issued: int = 0
    mended: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/time":
            return web.json_response(int(self.clock().timestamp()))
        if request.path == "/auth/api-key":
            self.keys_issued += 1
            return web.json_response(API_KEY)
        proxy = request.query["maker_address"]
        self.requests[proxy] += 1
        if proxy != TROUBLED or self.mended.is_set():
            return web.json_response(EMPTY_PAGE)
        return await self._answer_wrongly(request)

    async def _answer_wrongly(self, request: web.Request) -> web.StreamResponse:
        if (reply := TROUBLES[self.trouble]) is not None:
            return web.Response(status=reply[0], text=reply[1])
        if self.trouble == HANGS:
            await self.mended.wait()
            return web.json_response(EMPTY_PAGE)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


class AllPartitions:
    """Holds the lease of the one partition that all wallets are in."""

    held = (Lease(partition=0, token=1, valid_until=float("inf")),)

    def lease_for(self, proxy: str) -> Lease:
        return self.held[0]


@dataclass
class FixedOrders:
    """One open order of each wallet."""

    state: OrderState

    async def load_leases(self, lease_ids: object) -> None: ...

    def list_open(self) -> list[Order]:
        return [
            numbered_order(number, proxy=proxy, state=self.state)
            for number, proxy in enumerate(WALLETS, start=1)
        ]


@dataclass
class Executor:
    venue: Venue
    at_venue: ClobVenue
    clock: Clock
    published: list[Message] = field(default_factory=list)

    async def publish(self, message: Message) -> None:
        self.published.append(message)

    def build_check(self) -> StartupCheck:
        orders: Any = FixedOrders(OrderState.UNKNOWN)
        leases: Any = AllPartitions()
        return StartupCheck(orders, self.at_venue, leases, now=self.clock, batch_size=len(WALLETS))

    def build_feed(self) -> VenueFeed:
        orders: Any = FixedOrders(OrderState.MATCHED)
        return VenueFeed(
            orders,
            self.at_venue,
            owns=lambda _: True,
            now=self.clock,
            poll_interval=timedelta(0),
            fills_within=timedelta(0),
            overdue_after=timedelta(hours=1),
            verify_for=seconds(4),
            max_wallets_per_poll=len(WALLETS),
        )


@asynccontextmanager
async def an_executor(trouble: str) -> AsyncIterator[Executor]:
    clock, virtual = Clock(NOON), VirtualTime()
    venue = Venue(trouble, clock)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.handle)
    leases: Any = AllPartitions()
    async with TestServer(application) as server:
        settings = VenueSettings.model_validate(
            {"clob_url": str(server.make_url("/")), "venue_timeout_s": 60}
        )
        budget = RequestBudget(clock=virtual, sleep=virtual.sleep)
        async with Clob(settings, now=clock, budget=budget) as clob:
            keyring = Keyring(WALLETS, clob, now=clock)
            gates = VenueGates(now=clock, probe_interval=seconds(1))
            at_venue = ClobVenue(clob, keyring, leases, gates, now=clock)
            try:
                yield Executor(venue, at_venue, clock)
            finally:
                venue.mended.set()


def is_ready(check: StartupCheck, proxy: str) -> bool:
    try:
        check.require_ready(proxy)
    except StartupCheckPending:
        return False
    return True


def count_requests(trouble: str) -> int:
    """Of one attempt at most: aiohttp repeats a read once whose reused connection breaks off."""
    return 2 if trouble == BREAKS_OFF else 1


def is_asked_more(venue: Venue, before: int) -> bool:
    return venue.requests[TROUBLED] > before


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_after_a_start_119_wallets_go_on_and_one_is_asked_for_ever_less(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup_check, "BATCH_INTERVAL_S", 0.01)
    # On a slow machine the others take a while too; only silence has to be cut off.
    monkeypatch.setattr(startup_check, "ANSWER_WITHIN_S", 3 if trouble == HANGS else 300)
    async with an_executor(trouble) as executor:
        venue, clock, check = executor.venue, executor.clock, executor.build_check()
        running = asyncio.create_task(check(executor.publish))
        await eventually(lambda: check.is_ready, what="the partition is permitted")
        assert not is_ready(check, TROUBLED)
        for pause_s in (1,) if trouble == HANGS else (1, 2, 4, 8):
            asked = venue.requests[TROUBLED]
            clock.now += seconds(pause_s)
            await eventually(partial(is_asked_more, venue, asked))
            if trouble != HANGS:
                await eventually(lambda: not check._rechecks, what="the attempt has failed")
        await eventually(lambda: all(is_ready(check, proxy) for proxy in OTHERS))
        assert not is_ready(check, TROUBLED)
        # Five attempts; after a 401 once more with the new API key.
        assert venue.requests[TROUBLED] <= 6 * count_requests(trouble)
        assert {venue.requests[proxy] for proxy in OTHERS} <= ({1, 2} if trouble == HANGS else {1})
        assert venue.keys_issued <= len(WALLETS) + 1

        venue.mended.set()
        clock.now += seconds(16)
        await eventually(lambda: is_ready(check, TROUBLED), what="the wallet is released")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    reported = [each.proxy for each in executor.published if isinstance(each, OrderOverdue)]
    assert sorted(reported) == sorted(WALLETS)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_polls_of_119_wallets_go_on_and_one_is_polled_ever_less(trouble: str) -> None:
    async with an_executor(trouble) as executor:
        venue, feed = executor.venue, executor.build_feed()
        for _ in range(8):
            await feed._poll(executor.publish)
            await eventually(lambda: all(feed._fetches[each].done() for each in answered(feed)))
            executor.clock.now += seconds(1)

        assert {venue.requests[proxy] for proxy in OTHERS} == {8}
        # After 0, 1, 3 and 7 s; after a 401 once more with the new API key.
        assert 1 <= venue.requests[TROUBLED] <= 5 * count_requests(trouble)
        venue.mended.set()
        await asyncio.gather(*feed._fetches.values())


def answered(feed: VenueFeed) -> list[str]:
    """The wallets whose requests the venue answers sooner or later."""
    return [proxy for proxy in feed._fetches if proxy != TROUBLED]
