"""The Data API serves what the index holds: filters, pages, positions, and its faults."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from polymarket.models.data.activity import Trade, parse_activities
from polymarket.models.data.portfolio import Position

from services.paper_venue.data_api.activity_index import ActivityIndex
from services.paper_venue.data_api.api import DataApi
from services.paper_venue.data_api.chain_events import decode_transactions
from services.paper_venue.data_api.cursors import Page, take_page
from services.paper_venue.exchange.matching_engine import MatchingEngine
from services.paper_venue.exchange.orders import Side
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.responses import refusal_middleware
from tests.unit.paper_venue import chain_logs as chain
from tests.unit.paper_venue.builders import MARKET, NO, SHARE, USDC, YES, an_engine, an_order

LEADER, MAKER = chain.LEADER, chain.MAKER

Get = Callable[..., Awaitable[Any]]


class ReadyIndexer:
    async def wait_until_ready(self) -> None: ...


class NoApprovals:
    async def fetch(self, wallet: str) -> list[Json]:
        return []


class World:
    """An index of some transactions, a Data API over it, and a clock."""

    def __init__(
        self,
        *transactions: list[chain.Log],
        engine: MatchingEngine | None = None,
        cache_s: float = 0,
    ) -> None:
        self.engine = engine or an_engine(
            an_order(Side.BUY, price=4_900, maker="0xB"),
            an_order(Side.SELL, price=5_100, maker="0xC"),
        )
        self.index, self.faults, self.now_ms = (
            ActivityIndex(self.engine.market_by_token),
            Faults(),
            0,
        )
        self.cache_s = cache_s
        self._mined = 0
        self.mine(*transactions)

    def mine(self, *transactions: list[chain.Log]) -> None:
        for transaction in decode_transactions(
            chain.mined(*transactions, first_block=self._mined + 1)
        ):
            transaction.indexed_at_ms = self.now_ms
            self.index.apply(transaction)
        self._mined += len(transactions)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Get]:
        api = DataApi(
            self.engine,
            self.index,
            indexer=ReadyIndexer(),
            approvals=NoApprovals(),
            faults=self.faults,
            now_ms=lambda: self.now_ms,
            cache_s=self.cache_s,
        )
        http = web.Application(middlewares=[refusal_middleware])
        http.add_routes(api.routes())
        async with TestClient(TestServer(http)) as client:

            async def get(path: str, *, expected_status: int = 200, **query: str) -> Any:
                async with client.get(f"/v2/{path}", params={"user": LEADER} | query) as reply:
                    assert reply.status == expected_status, await reply.text()
                    return orjson.loads(await reply.read())

            yield get


A_TRADE = chain.bought(LEADER, shares=30 * SHARE, usdc=10 * USDC, fee=123_450)


async def test_a_trades_price_is_usdc_per_share_and_its_activity_includes_the_fee() -> None:
    async with World(A_TRADE).served() as get:
        (trade,) = (await get("trades"))["data"]
        (row,) = (await get("activity"))["data"]

    assert (trade["price"], trade["size"], trade["side"], trade["timestamp"]) == (
        0.3333333333,
        30,
        "BUY",
        chain.BLOCK_TIME + 1,
    )
    assert (row["type"], row["usdc_size"], row["outcome_index"]) == ("TRADE", 10.12345, 0)
    Trade.parse_response(trade)
    assert len(parse_activities([row])) == 1


async def test_makers_rows_are_served_on_request() -> None:
    async with World(A_TRADE).served() as get:
        assert (await get("trades", user=MAKER))["data"] == []
        assert len((await get("trades", user=MAKER, taker_only="false"))["data"]) == 1
        assert len((await get("trades", user=MAKER, takerOnly="false"))["data"]) == 1


async def test_activity_is_filtered_by_type_time_side_and_market() -> None:
    world = World(
        A_TRADE,
        chain.split(LEADER, SHARE),
        chain.merged(LEADER, SHARE),
        [chain.paid(MAKER, LEADER, USDC)],
    )
    async with world.served() as get:

        async def types(**query: str) -> list[str]:
            return [row["type"] for row in (await get("activity", **query))["data"]]

        assert await types() == ["MERGE", "SPLIT", "TRADE"]
        assert await types(exclude_deposits_withdrawals="false", sort_direction="ASC") == [
            "TRADE",
            "SPLIT",
            "MERGE",
            "DEPOSIT",
        ]
        assert await types(type="SPLIT,MERGE") == ["MERGE", "SPLIT"]
        assert await types(start=str(chain.BLOCK_TIME + 2), end=str(chain.BLOCK_TIME + 2)) == [
            "SPLIT"
        ]
        assert await types(side="BUY") == ["TRADE"]
        assert await types(condition="0x" + "77" * 32) == []
        assert await types(condition_id=MARKET.condition_id, type="TRADE") == ["TRADE"]


async def test_a_position_is_valued_at_the_middle_of_the_book() -> None:
    async with World(A_TRADE, chain.sold(LEADER, shares=10 * SHARE, usdc=4 * USDC)).served() as get:
        (row,) = (await get("positions"))["data"]
        value = (await get("value"))["data"]

    Position.parse_response(row)
    assert (row["current_size"], row["total_size"], row["current_price"], row["current_value"]) == (
        20,
        30,
        0.5,
        10,
    )
    assert (
        row["avg_price"],
        row["entry_cost_usdc"],
        row["entry_fees_usdc"],
        row["total_cost_usdc"],
    ) == (0.3333, 6.6667, 0.0823, 6.749)
    assert (row["realized_pnl"], row["unrealized_pnl"], row["total_pnl"]) == (
        0.5432,
        3.3333,
        3.8766,
    )
    assert value == {"proxy_wallet": LEADER, "value": 10}


async def test_positions_are_filtered_by_status() -> None:
    world = World(chain.split(LEADER, 5 * SHARE))
    async with world.served() as get:

        async def sizes(status: str) -> list[tuple[str, float]]:
            return [
                (row["status"], row["current_size"])
                for row in (await get("positions", status=status))["data"]
            ]

        assert await sizes("OPEN") == await sizes("MERGEABLE") == [("OPEN", 5), ("OPEN", 5)]
        assert await sizes("REDEEMABLE") == await sizes("CLOSED") == []

        world.mine([chain.resolved(1, 0)])
        assert await sizes("OPEN") == await sizes("MERGEABLE") == []
        assert await sizes("REDEEMABLE") == [("REDEEMABLE", 5), ("REDEEMABLE", 5)]
        assert len(await sizes("REDEEMABLE_LOST")) == 1

        world.mine(chain.redeemed(LEADER, yes=5 * SHARE, no=5 * SHARE, payout=5 * USDC))
        assert await sizes("REDEEMABLE") == []
        assert await sizes("CLOSED") == [("CLOSED", 0), ("CLOSED", 0)]


async def test_less_than_a_tenth_of_a_share_is_hidden_unless_requested() -> None:
    async with World(chain.bought(LEADER, shares=SHARE // 11, usdc=USDC // 20)).served() as get:
        assert (await get("positions"))["data"] == []
        assert len((await get("positions", filter_amount="0"))["data"]) == 1
        assert (await get("positions", filter_amount="1", filter_type="CASH"))["data"] == []


async def test_later_pages_of_positions_keep_the_order_of_the_first() -> None:
    async with World(chain.split(LEADER, SHARE)).served() as get:
        first = await get("positions", limit="1", sort_by="TOKENS", sort_direction="ASC")
        cursor = first["pagination"]["next_cursor"]
        second = await get("positions", cursor=cursor)
        await get("positions", cursor=cursor, sort_by="TOKENS", sort_direction="ASC")
        await get("positions", cursor=cursor, sort_by="PRICE", expected_status=400)

    assert [row["token_id"] for page in (first, second) for row in page["data"]] == [YES, NO]
    assert second["pagination"] == {"limit": 1, "offset": 0, "has_more": False, "next_cursor": None}


async def test_the_faults_double_and_hide_rows() -> None:
    world = World(A_TRADE)
    async with world.served() as get:
        world.faults.set({Fault.ROWS_DOUBLED: FaultOptions(only=LEADER)})
        assert len((await get("trades"))["data"]) == 2
        world.faults.set({Fault.STALE_READS: FaultOptions(seconds=Decimal(3))})
        world.now_ms = 2_999
        assert (await get("trades"))["data"] == []
        world.now_ms = 3_000
        assert len((await get("trades"))["data"]) == 1


async def test_rows_of_the_venues_own_leaders_are_doubled_too() -> None:
    world = World(A_TRADE)
    world.faults.exempt([LEADER])
    async with world.served() as get:
        world.faults.set({Fault.ROWS_DOUBLED: FaultOptions()})
        assert len((await get("trades"))["data"]) == 2


async def test_an_answer_is_cached_by_its_url_for_the_configured_time() -> None:
    world = World(A_TRADE, cache_s=15)
    async with world.served() as get:
        await get("trades")
        world.mine(A_TRADE)
        assert len((await get("trades"))["data"]) == 1
        assert len((await get("trades", end="2000000000"))["data"]) == 2
        world.now_ms = 15_000
        assert len((await get("trades"))["data"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "1001"},
        {"offset": "1"},
        {"cursor": "abc"},
        {"side": "HOLD"},
        {"taker_only": "perhaps"},
        {"condition": "0x12"},
        {"start": "yesterday"},
        {"filter_amount": "NaN"},
        {"user": "me"},
    ],
)
async def test_a_malformed_parameter_is_refused(query: dict[str, str]) -> None:
    async with World(A_TRADE).served() as get:
        assert "error" in await get("trades", expected_status=400, **query)


@given(st.integers(0, 9), st.integers(1, 4), st.lists(st.integers(0, 3), min_size=10, max_size=10))
def test_paging_returns_each_row_that_existed_at_its_start_once_and_no_other(
    before: int, limit: int, arrivals: list[int]
) -> None:
    """Newest first: rows that are added meanwhile are neither returned nor hide others."""
    rows = list(range(before))
    walked: list[int] = []
    page: Page | None = Page(limit=limit, after=None, pins={})
    for arrived in arrivals:
        if page is not None:
            remaining = [row for row in reversed(rows) if page.after is None or row < page.after[0]]
            rows_of_page, pagination = take_page(
                iter(remaining), page, endpoint="trades", key=lambda row: [row]
            )
            walked += rows_of_page
            page = (
                Page(limit=limit, after=[rows_of_page[-1]], pins={})
                if pagination["has_more"]
                else None
            )
        rows += range(len(rows), len(rows) + arrived)

    assert page is None
    assert walked == list(reversed(range(before)))
