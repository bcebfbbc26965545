"""Whatever the venue answers over HTTP, its clients return something valid or refuse it: no error
of a parser leaves them, and no later request fails because of an earlier answer.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from aiohttp import web
from eth_account import Account
from hypothesis import note
from pydantic import HttpUrl

from shared.domain.errors import InvalidMessage, Transient
from shared.messages.filters import MarketDetails
from shared.polymarket.clob import Clob, NoMarket
from shared.polymarket.data_api import DataApi, parse_position
from shared.polymarket.gamma import Gamma
from shared.polymarket.replies import Accepted, Killed, Rejected, Reply
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet
from tests.builders import LEADER, NOON, ORDER_HASH, TOKEN
from tests.unit.fuzz.fuzzing import TRIED_INPUTS, fuzzed
from tests.unit.fuzz.mutations import load_recorded, mutate

pytestmark = pytest.mark.timeout(3600)

MAX_BIGINT = 2**63 - 1
MAX_REQUESTS = 50
"""Of one read: from then on the venue does not answer, so that endless pages end."""
CONDITION = "0x" + "c0" * 32
KEY = "0x" + "42" * 32
WALLET = Wallet(proxy=Account.from_key(KEY).address, private_key=KEY)
API_KEY = {"apiKey": "7b1c", "secret": "c2VjcmV0LXNlY3JldA==", "passphrase": "words"}
CREDENTIALS = Credentials(address=WALLET.signer, key="7b1c", secret="c2VjcmV0", passphrase="words")
TRADE = load_recorded("http_trades_page.json")["data"][0]
ANSWERS: dict[str, Any] = {
    "/book": load_recorded("clob_book_response.json"),
    "/markets-by-token": {"condition_id": CONDITION},
    "/clob-markets": {
        "t": [{"t": TOKEN}, {"t": "7"}],
        "mts": "0.01",
        "mos": 5,
        "fd": {"r": "0.04"},
    },
    "/midpoint": {"mid": "0.45"},
    "/last-trade-price": {"price": "0.45", "side": "BUY"},
    "/data/trades": {"data": [TRADE, TRADE], "next_cursor": "LTE="},
    "/data/order": {"id": ORDER_HASH},
    "/balance-allowance/update": {},
    "/auth/api-key": API_KEY,
    "/auth/derive-api-key": API_KEY,
    "/time": int(NOON.timestamp()),
    "/order": load_recorded("http_order_response_ok.json"),
    "/markets/keyset": {
        "markets": [
            {
                "version": "v1",
                "conditionId": CONDITION,
                "clobTokenIds": f'["{TOKEN}", "7"]',
                "tags": [{"slug": "politics"}],
                "liquidityNum": 1000.5,
                "endDate": "2026-11-03T12:00:00Z",
            }
        ]
    },
    "/v2/trades": {"data": [{"token_id": TOKEN}], "pagination": {"next_cursor": None}},
    "/v2/positions": {
        "data": [{"token_id": TOKEN, "current_price": 0.5}],
        "pagination": {"next_cursor": None},
    },
    "/v2/value": {"data": {"proxy_wallet": LEADER, "value": 12.5}},
}
STATUSES = (200, 200, 200, 200, 200, 400, 401, 401, 403, 404, 429, 500)
ENCODINGS = (None, None, None, None, None, None, "gzip", "br", "x-unknown")
TYPES = ("application/json", "application/json", "text/html; charset=utf-8", "x; charset=x-none")


@asynccontextmanager
async def mutating_venue(rng: Random) -> AsyncIterator[HttpUrl]:
    """A venue whose answers are mutated; its address."""
    requests = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        if requests > MAX_REQUESTS:
            return web.Response(status=503)
        valid: Any = next(
            (answer for path, answer in ANSWERS.items() if request.path.startswith(path)), {}
        )
        text, status = mutate(rng, [valid]), rng.choice(STATUSES)
        note(f"{request.path} {status} {text}")
        headers = {"Content-Type": rng.choice(TYPES)}
        if encoding := rng.choice(ENCODINGS):
            headers["Content-Encoding"] = encoding
        return web.Response(body=text.encode(errors="replace"), status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield HttpUrl(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def read_or_refuse(read: Callable[[], Awaitable[Any]]) -> Any:
    """What was read; None where it was refused with a reason that can be stored."""
    reason = ""
    try:
        return await read()
    except NoMarket:
        return None
    except (Transient, InvalidMessage) as error:
        reason = str(error)
    assert reason.encode()
    assert "\x00" not in reason
    return None


@fuzzed
async def test_mutated_answers_of_the_clob_are_read_or_refused(rng: Random) -> None:
    async with (
        mutating_venue(rng) as url,
        Clob(VenueSettings(clob_url=url, venue_timeout_s=5), now=lambda: NOON) as clob,
    ):
        since = NOON - timedelta(hours=1)
        reads: list[Callable[[], Awaitable[Any]]] = [
            partial(clob.fetch_book, TOKEN),
            partial(clob.fetch_market, TOKEN),
            partial(clob.fetch_midpoint, TOKEN),
            partial(clob.fetch_last_trade_price, TOKEN),
            partial(clob.fetch_credentials, WALLET),
            partial(clob.refresh_balance, CREDENTIALS, token_id=TOKEN, signature_type=1),
            partial(clob.fetch_trades, CREDENTIALS, maker_address=LEADER, since=since),
            partial(clob.is_order_open, CREDENTIALS, ORDER_HASH),
        ]
        for read in rng.sample(reads, 3):
            result = await read_or_refuse(read)
            if isinstance(result, Credentials):
                assert isinstance(await clob.post_order("{}", result), Reply)
        reply = await clob.post_order("{}", CREDENTIALS)

    TRIED_INPUTS["answers of the CLOB"] += 4
    match reply:
        case Accepted():
            assert 0 <= max(reply.making, reply.taking) <= MAX_BIGINT
        case Rejected() | Killed():
            assert reply.text.encode()


@fuzzed
async def test_mutated_answers_of_gamma_and_the_data_api_are_read_or_refused(rng: Random) -> None:
    async with mutating_venue(rng) as url:
        async with Gamma(str(url), timeout_s=5, now=lambda: NOON) as gamma:
            details = await read_or_refuse(partial(gamma.fetch_details, TOKEN))
        async with DataApi(str(url), timeout_s=5) as data_api:
            value = await read_or_refuse(partial(data_api.fetch_value, LEADER))
            rows = await read_or_refuse(partial(data_api.fetch_positions, LEADER))
            await read_or_refuse(partial(data_api.fetch_trades, LEADER, NOON, NOON))

    TRIED_INPUTS["answers of Gamma and the Data API"] += 4
    if details is not None:
        assert MarketDetails.model_validate_json(details.model_dump_json()) == details
    assert value is None or 0 <= value <= MAX_BIGINT
    for row in rows or ():
        position = parse_or_refuse(partial(parse_position, row))
        assert position is None or 0 <= position[1] <= 1


def parse_or_refuse(parse: Callable[[], Any]) -> Any:
    """What was parsed; None where it was refused."""
    try:
        return parse()
    except InvalidMessage:
        return None
