"""400 leaders are read from a Data API that is slow and fails at times, with PostgreSQL: no trade
is missed, although a round over all of them takes longer than the look-back.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eth_utils.address import to_checksum_address
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters import DataFeed, PostgresLeaderCursors
from shared.clock import utc_now
from shared.db.engine import open_engine
from shared.messages.base import Message
from shared.messages.leader_fills import LeaderFillSeen
from shared.polymarket.data_api import DataApi
from shared.polymarket.request_budget import RequestBudget
from shared.testing.waiting import eventually
from tests.builders import TOKEN
from tests.feeds import Instance
from tests.patience import patient_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

LEADERS = [to_checksum_address(f"0x{number + 1:040x}") for number in range(400)]
LOOKBACK = timedelta(seconds=1)
TRADES = 2_000
ANSWER_S = 0.1
"""With 16 requests at once, a round over all leaders takes 2.5 s at least."""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


class SlowDataApi:
    """The trades of each leader, newest first, in pages of 2. One request in ten fails, and those
    of some leaders always. With each request another leader trades, up to ``TRADES``.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {leader: [] for leader in LEADERS}
        self.transactions: set[str] = set()
        self.failing = set(LEADERS[::20])
        self._random, self._numbers = Random(0), count(1)

    def trade(self, leader: str) -> None:
        transaction = f"0x{next(self._numbers):064x}"
        self.transactions.add(transaction)
        self.rows[leader].insert(
            0,
            {
                "proxy_wallet": leader,
                "transaction_hash": transaction,
                "token_id": TOKEN,
                "side": "BUY",
                "size": 10,
                "price": 0.5,
                "timestamp": int(utc_now().timestamp()),
            },
        )

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(ANSWER_S, answered.set_result, None)
        try:
            await answered
        finally:
            timer.cancel()

    async def serve_trades(self, request: web.Request) -> web.Response:
        if len(self.transactions) < TRADES:
            self.trade(LEADERS[len(self.transactions) * 7 % len(LEADERS)])
        await self._wait()
        wallet = request.query["user"]
        if wallet in self.failing or self._random.random() < 0.1:
            return web.json_response({}, status=503)
        start, end = int(request.query["start"]), int(request.query["end"])
        rows = [row for row in self.rows[wallet] if start <= row["timestamp"] <= end]
        first = int(request.query.get("cursor", 0))
        following = str(first + 2) if len(rows) > first + 2 else None
        page = {"data": rows[first : first + 2], "pagination": {"next_cursor": following}}
        return web.json_response(page)


async def test_a_round_that_takes_longer_than_the_look_back_leaves_no_gap(
    engine: AsyncEngine,
) -> None:
    venue = SlowDataApi()
    application = web.Application()
    application.add_routes([web.get("/v2/trades", venue.serve_trades)])
    published: list[str] = []

    async def publish(message: Message) -> None:
        assert isinstance(message, LeaderFillSeen)
        published.append(message.transaction_hash)

    async with (
        TestServer(application) as server,
        DataApi(
            str(server.make_url("/")), timeout_s=10, budget=RequestBudget(share=Decimal(1000))
        ) as data,
    ):
        feed = build_feed(data, engine)
        task = asyncio.create_task(feed(publish))
        await eventually(lambda: len(venue.transactions) == TRADES, within=300)
        await end(task)
        venue.failing.clear()
        task = asyncio.create_task(build_feed(data, engine)(publish))

        await eventually(lambda: venue.transactions <= set(published), within=300)
        await end(task)

    assert set(published) == venue.transactions


def build_feed(data: DataApi, engine: AsyncEngine) -> DataFeed:
    leaders = frozenset(LEADERS)
    return DataFeed(
        data.fetch_trades,
        PostgresLeaderCursors(engine),
        leaders=Instance(lambda: leaders).shared,
        now=utc_now,
        poll_interval=timedelta(milliseconds=100),
        lookback=LOOKBACK,
        max_lookback=timedelta(hours=1),
    )


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
