"""How the CLOB client keeps to the venue's limits, against a real HTTP server; time is virtual."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eth_account import Account

from shared.domain.errors import Transient
from shared.polymarket import clob as clob_module
from shared.polymarket.clob import Clob
from shared.polymarket.replies import Duplicated, Reason, Rejected, RetryLater
from shared.polymarket.request_budget import RequestBudget
from shared.polymarket.request_families import LIMITS, Family, find_family
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet
from tests.builders import NOON, PROXY
from tests.fakes import VirtualTime

CREDENTIALS = Credentials(address="0xa", key="k", secret="dGhlLXNlY3JldA==", passphrase="p")
OTHERS_CREDENTIALS = Credentials(address="0xb", key="k", secret="dGhlLXNlY3JldA==", passphrase="p")
KEY = "0x" + "17" * 32
DUPLICATED = {"success": False, "errorMsg": "order 0x1 is invalid. Duplicated."}
NO_TRADES = {"data": [], "next_cursor": "LTE="}
SIGNERS = {"Retry-After": "5", "Poly-RateLimit-Remaining": "-1"}


class Venue:
    """Answers, but for the paths that are limited: with 429 and these headers."""

    def __init__(self) -> None:
        self.limited: dict[str, Mapping[str, str]] = {}
        self.requests: list[tuple[str, int]] = []
        """Path and signed time of each."""
        self.refuses_keys = False

    async def handle(self, request: web.Request) -> web.Response:
        signed_at = int(request.headers.get("POLY_TIMESTAMP", "0"))
        self.requests.append((request.path, signed_at))
        if request.path in self.limited:
            return web.json_response(
                {"error": "Too Many Requests"}, status=429, headers=self.limited[request.path]
            )
        if self.refuses_keys:
            return web.json_response({"error": "Unauthorized/Invalid api key"}, status=401)
        return web.json_response(DUPLICATED if request.path == "/order" else NO_TRADES)


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
def virtual() -> VirtualTime:
    return VirtualTime()


@asynccontextmanager
async def client(
    venue: Venue, virtual: VirtualTime, budget: RequestBudget, *, timeout_s: float
) -> AsyncIterator[Clob]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.handle)
    async with TestServer(application) as server:
        settings = VenueSettings.model_validate(
            {"clob_url": str(server.make_url("/")), "venue_timeout_s": timeout_s}
        )
        async with Clob(
            settings, now=lambda: NOON + timedelta(seconds=virtual.now_s), budget=budget
        ) as clob:
            yield clob


@pytest.fixture
async def clob(venue: Venue, virtual: VirtualTime) -> AsyncIterator[Clob]:
    budget = RequestBudget(clock=virtual, sleep=virtual.sleep)
    async with client(venue, virtual, budget, timeout_s=60) as clob:
        yield clob


async def test_a_request_that_waited_is_signed_with_the_time_at_which_it_is_sent(
    venue: Venue, clob: Clob, virtual: VirtualTime
) -> None:
    for _ in range(LIMITS[Family.TRADES][0].requests):
        await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)

    assert virtual.now_s == pytest.approx(10)
    assert venue.requests[-1] == ("/data/trades", int(NOON.timestamp()) + 10)


async def test_a_limit_of_reads_does_not_keep_orders_from_being_posted(
    venue: Venue, clob: Clob, virtual: VirtualTime
) -> None:
    venue.limited["/data/trades"] = {"Retry-After": "30"}
    with pytest.raises(Transient):
        await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)
    assert virtual.now_s == 0

    del venue.limited["/data/trades"]
    assert await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON) == []
    assert virtual.now_s == 30


async def test_no_order_is_posted_while_the_address_has_to_wait(
    venue: Venue, clob: Clob, virtual: VirtualTime
) -> None:
    venue.limited["/order"] = {"Retry-After": "5"}
    assert await clob.post_order("{}", CREDENTIALS) == RetryLater("Too Many Requests", 5)
    del venue.limited["/order"]

    assert isinstance(await clob.post_order("{}", OTHERS_CREDENTIALS), RetryLater)
    assert len(venue.requests) == 1

    virtual.now_s += 5
    assert isinstance(await clob.post_order("{}", OTHERS_CREDENTIALS), Duplicated)


async def test_a_signers_limit_is_no_other_signers(
    venue: Venue, clob: Clob, virtual: VirtualTime
) -> None:
    venue.limited["/order"] = SIGNERS
    assert await clob.post_order("{}", CREDENTIALS) == RetryLater("Too Many Requests", 5)
    del venue.limited["/order"]

    assert isinstance(await clob.post_order("{}", OTHERS_CREDENTIALS), Duplicated)
    assert virtual.now_s == 0


@pytest.mark.parametrize("path", ["/data/trades", "/data/order/0x1", "/balance-allowance/update"])
async def test_a_request_without_room_fails_and_one_for_a_key_keeps_its_place(
    venue: Venue, virtual: VirtualTime, path: str
) -> None:
    budget = RequestBudget()
    async with client(venue, virtual, budget, timeout_s=0.1) as clob:
        reads: dict[str, Callable[[], Awaitable[object]]] = {
            "/data/trades": lambda: clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON),
            "/data/order/0x1": lambda: clob.is_order_open(CREDENTIALS, "0x1"),
            "/balance-allowance/update": lambda: clob.refresh_balance(
                CREDENTIALS, token_id=None, signature_type=2
            ),
        }
        for family in {find_family(path), find_family("/auth/api-key")}:
            budget.slow_down(family, retry_after_s=60)
        wallet = Wallet(proxy=Account.from_key(KEY).address, private_key=KEY)
        key = asyncio.create_task(clob.fetch_credentials(wallet))
        await asyncio.sleep(0)

        async with asyncio.timeout(30):
            with pytest.raises(Transient, match="no room"):
                await reads[path]()

        assert not key.done()
        key.cancel()
    assert venue.requests == []


async def test_an_order_is_not_posted_again_once_the_venues_time_came_too_late(
    venue: Venue, virtual: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clob_module, "CLOCK_WITHIN_S", 0.01)
    budget, venue.refuses_keys = RequestBudget(), True
    budget.slow_down(find_family("/time"), retry_after_s=60)

    async with client(venue, virtual, budget, timeout_s=60) as clob, asyncio.timeout(30):
        reply = await clob.post_order("{}", CREDENTIALS)

    assert isinstance(reply, Rejected)
    assert (reply.reason, reply.is_repeat) == (Reason.UNAUTHORIZED, False)
    assert [path for path, _ in venue.requests] == ["/order"]
