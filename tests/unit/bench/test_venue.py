"""The benchmark's venue and its node, over HTTP: what is posted is settled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from shared.chain.addresses import EXCHANGE_V2, LIVE_EXCHANGES
from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.chain.orders import order_hash
from shared.chain.rpc import Rpc
from tests.unit.bench.test_node import MAKER, SECOND, Clock, build_order
from tools.bench.chain_blocks import FINAL_AFTER_BLOCKS, parse_order, settlement_transaction
from tools.bench.node import HOST, LARGE_AMOUNT, BenchNode, build_app
from tools.bench.venue import SHOWN_TRADES, BenchVenue
from tools.stack.ports import Ports


@asynccontextmanager
async def running(clock: Clock) -> AsyncIterator[tuple[BenchVenue, ChainClient]]:
    ports = Ports()
    node_port = ports.reserve_free()
    runner = web.AppRunner(build_app(BenchNode(clock)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, node_port).start()
    node_url = f"http://{HOST}:{node_port}"
    try:
        async with (
            BenchVenue(ports.reserve_free(), node_url=node_url) as venue,
            ChainClient(Rpc(f"{node_url}/rpc"), spenders=LIVE_EXCHANGES) as chain,
        ):
            yield venue, chain
    finally:
        await runner.cleanup()


async def post(venue: BenchVenue, order: dict[str, Any]) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{venue.url}/order", json={"order": order}) as reply,
    ):
        assert (await reply.json())["status"] == "matched"


async def fetch_trades(venue: BenchVenue) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{venue.url}/data/trades", params={"maker_address": MAKER}) as reply,
    ):
        trades: list[dict[str, Any]] = (await reply.json())["data"]
        return trades


async def test_a_posted_order_is_in_a_block_that_becomes_final() -> None:
    clock, order = Clock(SECOND), build_order()
    async with running(clock) as (venue, chain), asyncio.timeout(60):
        await post(venue, order)
        fills: list[OrderFilledLog] = []
        while not fills:
            clock.pass_blocks(1)
            newest = (await chain.fetch_latest_block()).number
            fills = await chain.fetch_order_fills(newest, newest, [MAKER])

        assert [salt for salt, _ in venue.arrivals] == [7]
        assert (await chain.fetch_finalized_block()).number < fills[0].block_number
        clock.pass_blocks(FINAL_AFTER_BLOCKS)
        assert (await chain.fetch_finalized_block()).number == fills[0].block_number
    assert [fill.order_hash for fill in fills] == [order_hash(parse_order(order), EXCHANGE_V2, "2")]


async def test_its_trade_is_shown_again_and_again_with_the_same_transaction() -> None:
    async with running(Clock(SECOND)) as (venue, _), asyncio.timeout(60):
        for salt in range(SHOWN_TRADES + 1):
            await post(venue, build_order(salt=salt))
        trades = await fetch_trades(venue)

        assert trades == await fetch_trades(venue)
    assert [trade["transaction_hash"] for trade in trades] == [
        settlement_transaction(salt) for salt in range(1, SHOWN_TRADES + 1)
    ]


async def test_wallets_are_rich_but_for_the_broke_ones() -> None:
    async with running(Clock(SECOND)) as (venue, chain), asyncio.timeout(60):
        assert (await chain.fetch_balances(MAKER)).collateral == LARGE_AMOUNT
        await venue.set_broke([MAKER])
        assert (await chain.fetch_balances(MAKER)).collateral == 0
        assert await chain.fetch_shares_at([(MAKER, 10**76)], block_number=1) == [LARGE_AMOUNT]
