"""The fills of followers are published from final blocks, by processes that are stopped, killed and
paused, with a real chain, Kafka and PostgreSQL.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.paper_venue.chain.settlement import Settler
from shared.chain.blocks import Receipt
from shared.db.controls import save_follows
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.builders import LEADER
from tests.integration.chain.market import PaperMarket
from tests.integration.tx_monitor.monitors import (
    TRADERS,
    WITHIN_S,
    Settled,
    fetch_cursors,
    fetch_lease_counts,
    make_final,
    reading_settled,
    running_monitor,
    trade,
)
from tests.system.deployment import a_follow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

FOLLOWERS = TRADERS - 1
"""The last trader follows nobody: his fills are not published."""
NOBODY = FOLLOWERS

Run = Callable[[int], AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture
def run(rpc_url: str, settings: KafkaSettings, migrated_database_url: str, tmp_path: Path) -> Run:
    """Runs the instance with this number."""
    return partial(
        running_monitor,
        rpc_url=rpc_url,
        settings=settings,
        database_url=migrated_database_url,
        folder=tmp_path,
    )


@pytest.fixture
async def settled(settings: KafkaSettings) -> AsyncIterator[Settled]:
    async with reading_settled(settings) as settled:
        yield settled


@pytest.fixture
async def proxies(market: PaperMarket, engine: AsyncEngine) -> list[str]:
    """The traders who follow; one of them does not any more."""
    proxies = [trader.address for trader in market.traders[:FOLLOWERS]]
    follows = [a_follow(LEADER, proxy) for proxy in proxies]
    await save_follows(engine, follows, by="test", change="they follow")
    await save_follows(engine, [replace(follows[0], active=False)], by="test", change="one ends")
    return proxies


async def wait_until_read(engine: AsyncEngine, settings: KafkaSettings, block: int) -> None:
    """Wait until all partitions were read up to the block."""

    async def are_read() -> bool:
        cursors = await fetch_cursors(engine)
        return len(cursors) == settings.partitions and min(cursors.values()) >= block

    await eventually(are_read, within=WITHIN_S)


async def test_two_instances_publish_every_final_fill_also_after_a_kill_and_a_restart(
    run: Run,
    settled: Settled,
    proxies: list[str],
    market: PaperMarket,
    engine: AsyncEngine,
    settings: KafkaSettings,
) -> None:
    salts = count(1)

    async def trade_in_turn(times: int) -> list[Receipt]:
        return [
            await trade(market, number % TRADERS, (number + 1) % TRADERS, salt=next(salts))
            for number in range(times)
        ]

    before = await trade_in_turn(4)
    await make_final(market)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(run(number)) for number in range(2)]

        async def are_shared() -> bool:
            return sorted((await fetch_lease_counts(engine)).values()) == [4, 4]

        await eventually(are_shared, within=WITHIN_S)
        await settled.wait_for(before, proxies)

        steady = await trade_in_turn(8)
        await make_final(market)
        await settled.wait_for(steady, proxies)

        processes[0].kill()
        during = await trade_in_turn(8)
        await make_final(market)
        await settled.wait_for(during, proxies)
        await wait_until_read(engine, settings, during[-1].block_number)
    published = settled.count_by_id

    missed = await trade_in_turn(4)
    await make_final(market)
    async with run(1):
        await settled.wait_for(missed, proxies)

    assert {each: settled.count_by_id[each] for each in published} == published
    settled.require_repetitions_equal()
    assert market.traders[NOBODY].address not in {each.proxy for each in settled.messages}
    assert len(settled.count_by_id) == len(
        {(each.proxy, each.block_number) for each in settled.messages}
    )


async def test_only_the_final_chains_fills_are_published(
    run: Run,
    settled: Settled,
    proxies: list[str],
    market: PaperMarket,
    engine: AsyncEngine,
    settings: KafkaSettings,
) -> None:
    async with run(0):
        kept = await trade(market, 0, 1, salt=1)
        final = await make_final(market)
        await wait_until_read(engine, settings, final)
        undone = await trade(market, 2, 3, salt=2)
        # Not final: it stays unread, and a reorg takes it away.
        await market.deployment.rpc.call("anvil_reorg", 1, [])
        market = replace(market, settler=await Settler.start(market.deployment))
        other = await trade(market, 4, 5, salt=3)
        final = await make_final(market)
        await wait_until_read(engine, settings, final)
        await settled.wait_for([kept, other], proxies)

    assert undone.tx_hash not in {transaction for _, transaction, *_ in settled.fills}


async def test_an_instance_that_was_paused_moves_no_cursor_beyond_a_follower_it_did_not_know(
    run: Run,
    settled: Settled,
    proxies: list[str],
    market: PaperMarket,
    engine: AsyncEngine,
    settings: KafkaSettings,
) -> None:
    async with AsyncExitStack() as stack:
        paused = await stack.enter_async_context(run(0))
        first = await trade(market, 1, 2, salt=1)
        await wait_until_read(engine, settings, await make_final(market))
        await settled.wait_for([first], proxies)

        paused.send_signal(signal.SIGSTOP)
        try:
            newcomer = market.traders[NOBODY].address
            await save_follows(engine, [a_follow(LEADER, newcomer)], by="test", change="one more")
            meanwhile = await trade(market, NOBODY, 1, salt=2)
            final = await make_final(market)
            await stack.enter_async_context(run(1))
            await settled.wait_for([meanwhile], [*proxies, newcomer])
            await wait_until_read(engine, settings, final)
            cursors = await fetch_cursors(engine)
        finally:
            paused.send_signal(signal.SIGCONT)
        last = await trade(market, NOBODY, 1, salt=3)
        await make_final(market)
        await settled.wait_for([last], [*proxies, newcomer])

        assert all(at >= cursors[each] for each, at in (await fetch_cursors(engine)).items())
    settled.require_repetitions_equal()
