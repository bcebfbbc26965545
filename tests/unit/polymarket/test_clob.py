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
from shared.polymarket.replies import Accepted, Lost, NotNow
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

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        answer = self.answers[request.path]
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, body = answer
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))


@pytest.fixture
async def venue() -> Venue:
    return Venue()


@pytest.fixture
async def clob(venue: Venue) -> AsyncIterator[Clob]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.handle)
    async with TestServer(application) as server:
        settings = VenueSettings.model_validate({"clob_url": str(server.make_url("/")), "venue_timeout_s": 5})
        async with Clob(settings, now=Clock(NOON)) as clob:
            yield clob


async def test_an_order_is_posted_byte_for_byte(venue: Venue, clob: Clob) -> None:
    venue.answers["/order"] = (200, {"success": True, "orderID": "0x1", "status": "matched", "makingAmount": "1", "takingAmount": "2"})

    reply = await clob.send('{"a": 1,  "b":2}', CREDENTIALS)

    assert isinstance(reply, Accepted)
    assert venue.bodies == [b'{"a": 1,  "b":2}']


@pytest.mark.parametrize("answer", [None, (200, "<html>"), (400, "<html>"), (502, "bad gateway")])
async def test_an_order_without_an_answer_that_tells_is_lost(venue: Venue, clob: Clob, answer: tuple[int, Any] | None) -> None:
    venue.answers["/order"] = answer

    assert isinstance(await clob.send("{}", CREDENTIALS), Lost)


async def test_an_order_that_found_no_connection_cannot_have_left() -> None:
    settings = VenueSettings.model_validate({"clob_url": "http://127.0.0.1:1"})
    async with Clob(settings, now=Clock(NOON)) as clob:
        assert isinstance(await clob.send("{}", CREDENTIALS), NotNow)


async def test_a_token_without_a_book_is_not_a_venue_that_is_away(venue: Venue, clob: Clob) -> None:
    venue.answers["/book"] = (404, {"error": "No orderbook exists for the requested token id"})
    with pytest.raises(NoMarket):
        await clob.book(TOKEN)

    for answer in (None, (500, "oops"), (429, {"error": "Too Many Requests"})):
        venue.answers["/book"] = answer
        with pytest.raises(Transient):
            await clob.book(TOKEN)


@pytest.mark.parametrize("body", ["<html>", [], 7, {"asset_id": TOKEN, "bids": 7}])
async def test_a_book_that_cannot_be_read_is_refused(venue: Venue, clob: Clob, body: Any) -> None:
    venue.answers["/book"] = (200, body)

    with pytest.raises(InvalidMessage):
        await clob.book(TOKEN)


async def test_an_api_key_that_exists_already_is_derived(venue: Venue, clob: Clob) -> None:
    venue.answers |= {"/auth/api-key": (400, {"error": "Could not create api key"}), "/auth/derive-api-key": (200, GIVEN)}

    assert await clob.credentials(WALLET) == CREDENTIALS


@pytest.mark.parametrize("status", [425, 429, 500, 503])
async def test_a_venue_that_gives_no_key_now_may_give_one_later(venue: Venue, clob: Clob, status: int) -> None:
    venue.answers |= {"/auth/api-key": (status, ""), "/auth/derive-api-key": (status, "")}

    with pytest.raises(Transient):
        await clob.credentials(WALLET)


@pytest.mark.parametrize("answer", [(401, {"error": "Invalid L1 Request headers"}), (200, {"apiKey": "k"}), (200, [])])
async def test_a_venue_that_gives_no_key_at_all_is_told_by_the_signer(venue: Venue, clob: Clob, answer: tuple[int, Any]) -> None:
    venue.answers |= {"/auth/api-key": answer, "/auth/derive-api-key": answer}

    with pytest.raises(InvalidMessage, match=WALLET.signer):
        await clob.credentials(WALLET)


async def test_trades_are_read_to_the_last_page(venue: Venue, clob: Clob) -> None:
    venue.answers["/data/trades"] = (200, {"data": [{"id": "1"}], "next_cursor": "LTE="})

    assert await clob.trades(CREDENTIALS, maker_address=PROXY, after=1) == [{"id": "1"}]


@pytest.mark.parametrize("answer", [None, (500, "oops"), (200, "<html>"), (200, []), (200, {}), (200, {"data": 7}), (200, {"data": [7]})])
async def test_trades_that_cannot_be_read_are_not_no_trades(venue: Venue, clob: Clob, answer: tuple[int, Any] | None) -> None:
    venue.answers["/data/trades"] = answer

    with pytest.raises(Transient):
        await clob.trades(CREDENTIALS, maker_address=PROXY, after=1)
