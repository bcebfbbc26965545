"""The CLOB client against a real HTTP server with given replies."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eth_account import Account

from shared.domain.errors import InvalidMessage, Transient
from shared.polymarket.clob import MAX_PAGES, Clob, EndlessPages, NoMarket, Unauthorized
from shared.polymarket.replies import Accepted, Reason, Rejected, ReplyLost, RetryLater
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet
from tests.builders import NOON, PROXY, TOKEN
from tests.fakes import Clock

KEY = "0x" + "17" * 32
WALLET = Wallet(proxy=Account.from_key(KEY).address, private_key=KEY)
CREDENTIALS = Credentials(address=WALLET.signer, key="k", secret="dGhlLXNlY3JldA==", passphrase="p")
API_KEY = {"apiKey": "k", "secret": "dGhlLXNlY3JldA==", "passphrase": "p"}


class Venue:
    """Replies by path; None aborts the connection."""

    def __init__(self) -> None:
        self.replies: dict[str, tuple[int, Any] | None] = {}
        self.pages: list[Any] = []
        """Replies to ``/data/trades``, in turn; empty: as to every path."""
        self.headers: dict[str, str] = {}
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.clock_offset_s: int | None = None
        """How far its clock is ahead of ours; None: it does not check the signed time."""

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.paths.append(request.path)
        self.queries.append(dict(request.query))
        if (
            self.clock_offset_s is not None
            and "POLY_TIMESTAMP" in request.headers
            and self._has_wrong_time(int(request.headers["POLY_TIMESTAMP"]))
        ):
            return web.json_response({"error": "Unauthorized/Invalid api key"}, status=401)
        if self.pages and request.path == "/data/trades":
            return web.json_response(self.pages.pop(0))
        canned = self.replies[request.path]
        if canned is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, body = canned
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=self.headers)

    def _has_wrong_time(self, signed_at: int) -> bool:
        assert self.clock_offset_s is not None
        return abs(int(NOON.timestamp()) + self.clock_offset_s - signed_at) > 2


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
    venue.replies["/order"] = (
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


@pytest.mark.parametrize("canned", [None, (200, "<html>"), (400, "<html>"), (502, "bad gateway")])
async def test_an_order_without_a_readable_reply_has_a_lost_reply(
    venue: Venue, clob: Clob, canned: tuple[int, Any] | None
) -> None:
    venue.replies["/order"] = canned

    assert isinstance(await clob.post_order("{}", CREDENTIALS), ReplyLost)


async def test_an_order_without_a_connection_was_not_sent_and_may_be_retried() -> None:
    settings = VenueSettings.model_validate({"clob_url": "http://127.0.0.1:1"})
    async with Clob(settings, now=Clock(NOON)) as clob:
        assert isinstance(await clob.post_order("{}", CREDENTIALS), RetryLater)


async def test_a_missing_book_is_distinguished_from_a_failing_venue(
    venue: Venue, clob: Clob
) -> None:
    venue.replies["/book"] = (404, {"error": "No orderbook exists for the requested token id"})
    with pytest.raises(NoMarket):
        await clob.fetch_book(TOKEN)

    for canned in (None, (500, "oops"), (429, {"error": "Too Many Requests"})):
        venue.replies["/book"] = canned
        with pytest.raises(Transient):
            await clob.fetch_book(TOKEN)


@pytest.mark.parametrize("body", ["<html>", [], 7, {"asset_id": TOKEN, "bids": 7}])
async def test_an_unreadable_book_is_an_invalid_message(
    venue: Venue, clob: Clob, body: Any
) -> None:
    venue.replies["/book"] = (200, body)

    with pytest.raises(InvalidMessage):
        await clob.fetch_book(TOKEN)


async def test_midpoint_and_last_trade_price_are_read(venue: Venue, clob: Clob) -> None:
    venue.replies["/midpoint"] = (200, {"mid": "0.505"})
    venue.replies["/last-trade-price"] = (200, {"price": "0.51", "side": "BUY"})

    assert await clob.fetch_midpoint("1") == Decimal("0.505")
    assert await clob.fetch_last_trade_price("1") == Decimal("0.51")


async def test_the_price_of_a_token_that_has_never_traded_is_no_price(
    venue: Venue, clob: Clob
) -> None:
    venue.replies["/last-trade-price"] = (200, {"price": "0.5", "side": ""})

    with pytest.raises(InvalidMessage, match="never traded"):
        await clob.fetch_last_trade_price("1")


async def test_an_api_key_that_exists_already_is_derived(venue: Venue, clob: Clob) -> None:
    venue.replies |= {
        "/auth/api-key": (400, {"error": "Could not create api key"}),
        "/auth/derive-api-key": (200, API_KEY),
    }

    assert await clob.fetch_credentials(WALLET) == CREDENTIALS


@pytest.mark.parametrize("status", [425, 429, 500, 503])
async def test_a_temporary_refusal_of_an_api_key_is_transient(
    venue: Venue, clob: Clob, status: int
) -> None:
    venue.replies |= {"/auth/api-key": (status, ""), "/auth/derive-api-key": (status, "")}

    with pytest.raises(Transient):
        await clob.fetch_credentials(WALLET)


PAGE = "<html><body>403 Forbidden</body></html>"


@pytest.mark.parametrize("page", [(403, PAGE), (403, ""), (200, PAGE), (502, PAGE), (405, "")])
async def test_a_gateways_page_instead_of_an_api_key_is_transient(
    venue: Venue, clob: Clob, page: tuple[int, Any]
) -> None:
    not_created = (400, {"error": "Could not derive api key!"})
    venue.replies |= {"/auth/api-key": page, "/auth/derive-api-key": not_created}
    with pytest.raises(Transient):
        await clob.fetch_credentials(WALLET)

    venue.replies |= {"/auth/api-key": not_created, "/auth/derive-api-key": page}
    with pytest.raises(Transient):
        await clob.fetch_credentials(WALLET)

    venue.replies |= {"/auth/api-key": page, "/auth/derive-api-key": (200, API_KEY)}
    if page[0] != 200:
        assert await clob.fetch_credentials(WALLET) == CREDENTIALS


async def test_a_page_in_front_of_the_venue_is_no_geoblock(venue: Venue, clob: Clob) -> None:
    venue.replies["/order"] = (403, PAGE)
    assert await clob.post_order("{}", CREDENTIALS) == RetryLater("status 403")

    venue.replies["/order"] = (403, {"error": "Trading restricted in your region"})
    reply = await clob.post_order("{}", CREDENTIALS)
    assert reply == Rejected(Reason.REGION_BLOCKED, "Trading restricted in your region")


async def test_a_page_with_status_404_is_neither_a_missing_book_nor_a_closed_order(
    venue: Venue, clob: Clob
) -> None:
    venue.replies |= {"/book": (404, PAGE), "/data/order/0x1": (404, PAGE)}

    with pytest.raises(Transient):
        await clob.fetch_book(TOKEN)
    with pytest.raises(Transient):
        await clob.is_order_open(CREDENTIALS, "0x1")


@pytest.mark.parametrize(
    ("header", "retry_after_s"), [("0.5", 1), ("Thu, 01 Jan 2026 12:00:07 GMT", 7)]
)
async def test_a_rate_limited_order_waits_as_the_header_says(
    venue: Venue, clob: Clob, header: str, retry_after_s: int
) -> None:
    venue.replies["/order"] = (429, {"error": "Too Many Requests"})
    venue.headers["Retry-After"] = header

    assert await clob.post_order("{}", CREDENTIALS) == RetryLater(
        "Too Many Requests", retry_after_s
    )


V3_TOKEN = "651150819117105875331414918119047680898421632356043490229292782433651916800"


@pytest.mark.parametrize(
    ("token_id", "asset_type"),
    [(None, "COLLATERAL"), (TOKEN, "CONDITIONAL"), (V3_TOKEN, "CONDITIONAL-V2")],
)
async def test_a_balance_is_refreshed_for_its_asset_and_kind_of_wallet(
    venue: Venue, clob: Clob, token_id: str | None, asset_type: str
) -> None:
    venue.replies["/balance-allowance/update"] = (200, '""')

    await clob.refresh_balance(CREDENTIALS, token_id=token_id, signature_type=2)

    assert venue.queries == [
        {"asset_type": asset_type, "token_id": token_id or "", "signature_type": "2"}
    ]
    venue.replies["/balance-allowance/update"] = (429, {"error": "Too Many Requests"})
    with pytest.raises(Transient):
        await clob.refresh_balance(CREDENTIALS, token_id=token_id, signature_type=2)


async def test_a_refused_api_key_of_a_read_is_distinguished(venue: Venue, clob: Clob) -> None:
    refused = (401, {"error": "Unauthorized/Invalid api key"})
    venue.replies |= {
        "/data/trades": refused,
        "/data/order/0x1": refused,
        "/time": (200, int(NOON.timestamp())),
    }

    with pytest.raises(Unauthorized):
        await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)
    with pytest.raises(Unauthorized):
        await clob.is_order_open(CREDENTIALS, "0x1")


@pytest.mark.parametrize("cursors", [["MA=="], ["Mg==", "Mg=="], ["Mg==", "Mw==", "Mg=="]])
async def test_a_cursor_that_comes_again_ends_the_pages_and_says_so(
    venue: Venue, clob: Clob, cursors: list[str]
) -> None:
    venue.pages = [
        {"data": [{"id": str(number)}], "next_cursor": cursor}
        for number, cursor in enumerate(cursors)
    ]

    with pytest.raises(EndlessPages) as endless:
        await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)

    assert [row["id"] for row in endless.value.rows] == [str(n) for n in range(len(cursors))]
    assert len(venue.paths) == len(cursors)


async def test_pages_that_always_have_another_cursor_end_too(venue: Venue, clob: Clob) -> None:
    venue.pages = [{"data": [], "next_cursor": str(number)} for number in range(MAX_PAGES + 1)]

    with pytest.raises(EndlessPages):
        await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)

    assert len(venue.paths) == MAX_PAGES


@pytest.mark.parametrize(
    "canned",
    [
        (401, {"error": "Invalid L1 Request headers"}),
        (200, {"apiKey": "k"}),
        (200, []),
        (200, API_KEY | {"apiKey": None}),
        (200, API_KEY | {"secret": "no base64: x"}),
        (200, API_KEY | {"secret": ""}),
        (200, API_KEY | {"passphrase": "two\nlines"}),
    ],
)
async def test_a_final_refusal_of_an_api_key_names_the_signer(
    venue: Venue, clob: Clob, canned: tuple[int, Any]
) -> None:
    venue.replies |= {"/auth/api-key": canned, "/auth/derive-api-key": canned}

    with pytest.raises(InvalidMessage, match=WALLET.signer):
        await clob.fetch_credentials(WALLET)


async def test_trades_are_read_to_the_last_page(venue: Venue, clob: Clob) -> None:
    venue.replies["/data/trades"] = (200, {"data": [{"id": "1"}], "next_cursor": "LTE="})

    assert await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON) == [{"id": "1"}]


@pytest.mark.parametrize(
    "canned",
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
async def test_unreadable_trades_are_an_error_and_not_an_empty_list(
    venue: Venue, clob: Clob, canned: tuple[int, Any] | None
) -> None:
    venue.replies["/data/trades"] = canned

    with pytest.raises(Transient):
        await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)


@pytest.mark.parametrize(
    ("canned", "is_open"),
    [
        ((200, None), False),
        ((404, {"error": "order not found"}), False),
        ((200, {"id": "0x1", "status": "ORDER_STATUS_DELAYED"}), True),
    ],
)
async def test_an_order_is_open_if_the_venue_returns_it(
    venue: Venue, clob: Clob, canned: tuple[int, Any], *, is_open: bool
) -> None:
    venue.replies["/data/order/0x1"] = canned

    assert await clob.is_order_open(CREDENTIALS, "0x1") is is_open


@pytest.mark.parametrize(
    "canned",
    [None, (500, "oops"), (200, []), (429, {"error": "Too Many Requests"}), (401, {"error": "no"})],
)
async def test_a_failed_order_lookup_is_an_error_and_not_a_closed_order(
    venue: Venue, clob: Clob, canned: tuple[int, Any] | None
) -> None:
    venue.replies |= {"/data/order/0x1": canned, "/time": (200, int(NOON.timestamp()))}

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


@pytest.mark.parametrize("clock_offset_s", [300, -300])
async def test_a_venue_with_another_clock_is_asked_for_its_time_once_and_the_order_is_sent_again(
    venue: Venue, clob: Clob, clock_offset_s: int
) -> None:
    venue.clock_offset_s = clock_offset_s
    venue.replies |= {
        "/order": MATCHED,
        "/time": (200, int(NOON.timestamp()) + clock_offset_s),
        "/data/order/0x1": (200, None),
    }

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Accepted)
    assert isinstance(await clob.post_order("{}", CREDENTIALS), Accepted)
    assert not await clob.is_order_open(CREDENTIALS, "0x1")

    assert venue.paths == ["/order", "/time", "/order", "/order", "/data/order/0x1"]


async def test_an_api_key_is_requested_again_with_the_venues_time(venue: Venue, clob: Clob) -> None:
    venue.clock_offset_s = 300
    venue.replies |= {"/auth/api-key": (200, API_KEY), "/time": (200, int(NOON.timestamp()) + 300)}

    assert await clob.fetch_credentials(WALLET) == CREDENTIALS


async def test_trades_of_a_venue_whose_clock_is_behind_are_fetched_by_its_time(
    venue: Venue, clob: Clob
) -> None:
    venue.clock_offset_s = -300
    venue.replies |= {
        "/data/trades": (200, {"data": [], "next_cursor": "LTE="}),
        "/time": (200, int(NOON.timestamp()) - 300),
    }

    await clob.fetch_trades(CREDENTIALS, maker_address=PROXY, since=NOON)

    assert venue.queries[-1]["after"] == str(int(NOON.timestamp()) - 300)


@pytest.mark.parametrize(
    "time_reply",
    [
        (200, int(NOON.timestamp())),
        (200, int(NOON.timestamp()) * 1000),
        (200, 10**18),
        (200, -1),
        (200, True),
        (200, "<html>"),
        (200, {}),
        (500, ""),
        None,
    ],
)
async def test_an_unauthorized_order_is_not_sent_again_when_the_clocks_agree(
    venue: Venue, clob: Clob, time_reply: tuple[int, Any] | None
) -> None:
    venue.replies |= {
        "/order": (401, {"error": "Unauthorized/Invalid api key"}),
        "/time": time_reply,
    }

    reply = await clob.post_order("{}", CREDENTIALS)

    assert reply == Rejected(Reason.UNAUTHORIZED, "Unauthorized/Invalid api key")
    assert venue.paths.count("/order") == 1
