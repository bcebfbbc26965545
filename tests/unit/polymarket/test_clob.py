"""What the CLOB's refusals mean to us: tried on a real HTTP server that answers as it is told."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eth_account import Account

from shared.domain.errors import InvalidMessage, Transient
from shared.polymarket.clob import Clob, NoMarket
from shared.polymarket.replies import Accepted, Reason, Rejected, ReplyLost, RetryLater
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet
from tests.builders import NOON, PROXY, TOKEN
from tests.fakes import Clock

KEY = "0x" + "17" * 32
WALLET = Wallet(proxy=Account.from_key(KEY).address, private_key=KEY)
CREDENTIALS = Credentials(address=WALLET.signer, key="k", secret="dGhlLXNlY3JldA==", passphrase="p")
GIVEN = {"apiKey": "k", "secret": "dGhlLXNlY3JldA==", "passphrase": "p"}


class Venue:
    """Answers by path; a status alone has no readable body, None cuts the connection off."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any] | None] = {}
        self.bodies: list[bytes] = []
        self.asked: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.ahead_s: int | None = None
        """How far its clock is ahead, where it looks at the time that a request was signed at."""

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.asked.append(request.path)
        self.queries.append(dict(request.query))
        if (
            self.ahead_s is not None
            and "POLY_TIMESTAMP" in request.headers
            and self._is_off(int(request.headers["POLY_TIMESTAMP"]))
        ):
            return web.json_response({"error": "Unauthorized/Invalid api key"}, status=401)
        answer = self.answers[request.path]
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, body = answer
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    def _is_off(self, signed_at: int) -> bool:
        assert self.ahead_s is not None
        return abs(int(NOON.timestamp()) + self.ahead_s - signed_at) > 2


@pytest.fixture
async def venue() -> Venue:
    return Venue()


@pytest.fixture
async def clob(venue: Venue) -> AsyncIterator[Clob]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.handle)
    async with TestServer(application) as server:
        settings = VenueSettings.model_validate(
            {"clob_url": str(server.make_url("/")), "venue_timeout_s": 5}
        )
        async with Clob(settings, now=Clock(NOON)) as clob:
            yield clob


async def test_an_order_is_posted_byte_for_byte(venue: Venue, clob: Clob) -> None:
    venue.answers["/order"] = (
        200,
        {
            "success": True,
            "orderID": "0x1",
            "status": "matched",
            "makingAmount": "1",
            "takingAmount": "2",
        },
    )

    reply = await clob.post_order('{"a": 1,  "b":2}', CREDENTIALS)

    assert isinstance(reply, Accepted)
    assert venue.bodies == [b'{"a": 1,  "b":2}']


@pytest.mark.parametrize("answer", [None, (200, "<html>"), (400, "<html>"), (502, "bad gateway")])
async def test_an_order_without_an_answer_that_tells_is_lost(
    venue: Venue, clob: Clob, answer: tuple[int, Any] | None
) -> None:
    venue.answers["/order"] = answer

    assert isinstance(await clob.post_order("{}", CREDENTIALS), ReplyLost)


async def test_an_order_that_found_no_connection_cannot_have_left() -> None:
    settings = VenueSettings.model_validate({"clob_url": "http://127.0.0.1:1"})
    async with Clob(settings, now=Clock(NOON)) as clob:
        assert isinstance(await clob.post_order("{}", CREDENTIALS), RetryLater)


async def test_a_token_without_a_book_is_not_a_venue_that_is_away(venue: Venue, clob: Clob) -> None:
    venue.answers["/book"] = (404, {"error": "No orderbook exists for the requested token id"})
    with pytest.raises(NoMarket):
        await clob.fetch_book(TOKEN)

    for answer in (None, (500, "oops"), (429, {"error": "Too Many Requests"})):
        venue.answers["/book"] = answer
        with pytest.raises(Transient):
            await clob.fetch_book(TOKEN)


@pytest.mark.parametrize("body", ["<html>", [], 7, {"asset_id": TOKEN, "bids": 7}])
async def test_a_book_that_cannot_be_read_is_refused(venue: Venue, clob: Clob, body: Any) -> None:
    venue.answers["/book"] = (200, body)

    with pytest.raises(InvalidMessage):
        await clob.fetch_book(TOKEN)


async def test_an_api_key_that_exists_already_is_derived(venue: Venue, clob: Clob) -> None:
    venue.answers |= {
        "/auth/api-key": (400, {"error": "Could not create api key"}),
        "/auth/derive-api-key": (200, GIVEN),
    }

    assert await clob.fetch_credentials(WALLET) == CREDENTIALS


@pytest.mark.parametrize("status", [425, 429, 500, 503])
async def test_a_venue_that_gives_no_key_now_may_give_one_later(
    venue: Venue, clob: Clob, status: int
) -> None:
    venue.answers |= {"/auth/api-key": (status, ""), "/auth/derive-api-key": (status, "")}

    with pytest.raises(Transient):
        await clob.fetch_credentials(WALLET)


@pytest.mark.parametrize(
    "answer", [(401, {"error": "Invalid L1 Request headers"}), (200, {"apiKey": "k"}), (200, [])]
)
async def test_a_venue_that_gives_no_key_at_all_is_told_by_the_signer(
    venue: Venue, clob: Clob, answer: tuple[int, Any]
) -> None:
    venue.answers |= {"/auth/api-key": answer, "/auth/derive-api-key": answer}

    with pytest.raises(InvalidMessage, match=WALLET.signer):
        await clob.fetch_credentials(WALLET)


async def test_trades_are_read_to_the_last_page(venue: Venue, clob: Clob) -> None:
    venue.answers["/data/trades"] = (200, {"data": [{"id": "1"}], "next_cursor": "LTE="})

    assert await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON) == [{"id": "1"}]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (500, "oops"),
        (200, "<html>"),
        (200, []),
        (200, {}),
        (200, {"data": 7}),
        (200, {"data": [7]}),
    ],
)
async def test_trades_that_cannot_be_read_are_not_no_trades(
    venue: Venue, clob: Clob, answer: tuple[int, Any] | None
) -> None:
    venue.answers["/data/trades"] = answer

    with pytest.raises(Transient):
        await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)


@pytest.mark.parametrize(
    ("answer", "is_open"),
    [
        ((200, None), False),
        ((404, {"error": "order not found"}), False),
        ((200, {"id": "0x1", "status": "ORDER_STATUS_DELAYED"}), True),
    ],
)
async def test_an_order_is_open_if_the_venue_shows_it(
    venue: Venue, clob: Clob, answer: tuple[int, Any], *, is_open: bool
) -> None:
    venue.answers["/data/order/0x1"] = answer

    assert await clob.is_order_open(CREDENTIALS, "0x1") is is_open


@pytest.mark.parametrize(
    "answer",
    [None, (500, "oops"), (200, []), (429, {"error": "Too Many Requests"}), (401, {"error": "no"})],
)
async def test_an_order_that_cannot_be_asked_for_is_not_closed(
    venue: Venue, clob: Clob, answer: tuple[int, Any] | None
) -> None:
    venue.answers |= {"/data/order/0x1": answer, "/time": (200, int(NOON.timestamp()))}

    with pytest.raises(Transient):
        await clob.is_order_open(CREDENTIALS, "0x1")


MATCHED = (
    200,
    {
        "success": True,
        "orderID": "0x1",
        "status": "matched",
        "makingAmount": "1",
        "takingAmount": "2",
    },
)


@pytest.mark.parametrize("ahead_s", [300, -300])
async def test_a_venue_with_another_clock_is_asked_for_it_once_and_gets_the_same_bytes(
    venue: Venue, clob: Clob, ahead_s: int
) -> None:
    venue.ahead_s = ahead_s
    venue.answers |= {
        "/order": MATCHED,
        "/time": (200, int(NOON.timestamp()) + ahead_s),
        "/data/order/0x1": (200, None),
    }

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Accepted)
    assert isinstance(await clob.post_order("{}", CREDENTIALS), Accepted)
    assert not await clob.is_order_open(CREDENTIALS, "0x1")

    assert venue.asked == ["/order", "/time", "/order", "/order", "/data/order/0x1"]


async def test_an_api_key_is_asked_for_again_by_the_venues_clock(venue: Venue, clob: Clob) -> None:
    venue.ahead_s = 300
    venue.answers |= {"/auth/api-key": (200, GIVEN), "/time": (200, int(NOON.timestamp()) + 300)}

    assert await clob.fetch_credentials(WALLET) == CREDENTIALS


async def test_trades_of_a_venue_that_is_behind_are_asked_for_by_its_clock(
    venue: Venue, clob: Clob
) -> None:
    venue.ahead_s = -300
    venue.answers |= {
        "/data/trades": (200, {"data": [], "next_cursor": "LTE="}),
        "/time": (200, int(NOON.timestamp()) - 300),
    }

    await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)

    assert venue.queries[-1]["after"] == str(int(NOON.timestamp()) - 300)


@pytest.mark.parametrize(
    "time_told", [(200, int(NOON.timestamp())), (200, "<html>"), (200, {}), (500, ""), None]
)
async def test_who_is_refused_for_another_reason_than_the_time_is_refused(
    venue: Venue, clob: Clob, time_told: tuple[int, Any] | None
) -> None:
    venue.answers |= {
        "/order": (401, {"error": "Unauthorized/Invalid api key"}),
        "/time": time_told,
    }

    reply = await clob.post_order("{}", CREDENTIALS)

    assert reply == Rejected(Reason.UNAUTHORIZED, "Unauthorized/Invalid api key")
    assert venue.asked.count("/order") == 1
