"""The chain's feed reads on from its cursor, whatever the gap and the node's limits are."""

import asyncio
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from services.ingest.adapters import ChainFeed
from shared.chain.addresses import EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.messages.base import Message
from shared.messages.leader_fills import LeaderFillSeen
from shared.testing.waiting import eventually
from tests.builders import LEADER, NOON
from tests.nodes import (
    ChainModel,
    LimitedNode,
    Respond,
    a_fill_log,
    error,
    serve_node,
)

LOOKBACK_BLOCKS = 4


class MemoryCursor:
    """A feed's position, and all that it was saved at."""

    def __init__(self, block: int | None = None) -> None:
        self.block = block
        self.saved: list[int] = []

    async def load(self) -> int | None:
        return self.block

    async def save(self, block: int) -> None:
        self.saved.append(block)
        self.block = max(block, self.block or 0)


class Published:
    """The fills that the feed published."""

    def __init__(self) -> None:
        self.fills: list[LeaderFillSeen] = []

    async def publish(self, message: Message) -> None:
        assert isinstance(message, LeaderFillSeen)
        self.fills.append(message)

    @property
    def hashes(self) -> list[str]:
        return [fill.transaction_hash for fill in self.fills]


async def read_until(
    condition: Callable[[], object],
    respond: Respond,
    cursor: MemoryCursor,
    published: Published,
    *,
    leaders: Callable[[], AbstractSet[str]] = lambda: {LEADER},
) -> None:
    """Let the feed read until the condition holds."""
    async with serve_node(respond, timeout_s=10) as rpc:
        feed = ChainFeed(
            ChainClient(rpc),
            cursor,  # type: ignore[arg-type]
            leaders=leaders,
            now=lambda: NOON,
            poll_interval=timedelta(milliseconds=1),
            lookback_blocks=LOOKBACK_BLOCKS,
            first_lookback_blocks=10,
        )
        task = asyncio.create_task(feed(published.publish))
        await eventually(lambda: condition() or task.done())
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)


def a_chain(*, head: int, fills_in: Collection[int], leader: str = LEADER) -> ChainModel:
    logs = [
        a_fill_log(number, maker=leader, block=block, exchange=EXCHANGE_V2)
        for number, block in enumerate(fills_in)
    ]
    return ChainModel(head=head, logs=logs)


def hashes(chain: ChainModel) -> list[str]:
    return [log["transactionHash"] for log in chain.logs]


@pytest.mark.parametrize("max_batch", [2, 100])
async def test_200_blocks_with_fills_at_a_node_that_takes_100_requests_at_once(
    max_batch: int,
) -> None:
    chain = a_chain(head=300, fills_in=range(101, 301))
    cursor, published = MemoryCursor(100), Published()

    await read_until(
        lambda: cursor.block == 300,
        LimitedNode(answer=chain, max_batch=max_batch),
        cursor,
        published,
    )

    assert published.hashes == hashes(chain)
    assert {fill.filled_at for fill in published.fills} != {NOON}


async def test_fills_of_1200_leaders_at_a_node_that_takes_1000_topics() -> None:
    leaders = {f"0x{number + 1:040x}" for number in range(1_200)}
    chain = ChainModel(
        head=300,
        logs=[
            a_fill_log(number, maker=leader, block=101 + number % 200, exchange=EXCHANGE_V2)
            for number, leader in enumerate(sorted(leaders))
        ],
    )
    cursor, published = MemoryCursor(100), Published()

    await read_until(
        lambda: cursor.block == 300,
        LimitedNode(answer=chain, max_makers=1_000),
        cursor,
        published,
        leaders=lambda: leaders,
    )

    assert {fill.leader.lower() for fill in published.fills} == leaders
    assert sorted(published.hashes) == sorted(hashes(chain))


@pytest.mark.parametrize("max_blocks", [None, 100])
async def test_a_gap_of_more_than_2000_blocks_is_read_in_spans(max_blocks: int | None) -> None:
    chain = a_chain(head=7_000, fills_in=range(101, 7_001, 100))
    cursor, published = MemoryCursor(100), Published()

    await read_until(
        lambda: cursor.block == 7_000,
        LimitedNode(answer=chain, max_blocks=max_blocks),
        cursor,
        published,
    )

    assert published.hashes == hashes(chain)
    assert len(cursor.saved) > 3
    assert cursor.saved == sorted(cursor.saved)


async def test_what_was_read_stays_read_where_a_later_span_fails() -> None:
    chain = a_chain(head=7_000, fills_in=range(101, 7_001, 100))
    broken = True
    starts: list[int] = []

    def answer(call: Any) -> Any:
        if call["method"] == "eth_getLogs":
            starts.append(int(call["params"][0]["fromBlock"], 16))
            if broken and starts[-1] > 4_000:
                return error(-32005, "daily request count exceeded, request rate limited")
        return chain(call)

    cursor, published = MemoryCursor(100), Published()
    await read_until(
        lambda: sum(start > 4_000 for start in starts) >= 3,
        LimitedNode(answer=answer),
        cursor,
        published,
    )
    assert cursor.block is not None
    assert 4_000 < cursor.block < 7_000
    assert published.hashes == hashes(chain)[: len(published.fills)]

    broken = False
    starts.clear()
    await read_until(lambda: cursor.block == 7_000, LimitedNode(answer=answer), cursor, published)

    assert starts[0] > 4_000 - LOOKBACK_BLOCKS
    assert set(published.hashes) == set(hashes(chain))


async def test_a_fill_that_is_read_again_is_published_once() -> None:
    chain = a_chain(head=20, fills_in=[11, 18, 20])
    cursor, published = MemoryCursor(), Published()

    def is_read() -> bool:
        chain.head += 1
        return len(cursor.saved) > 20

    await read_until(is_read, LimitedNode(answer=chain), cursor, published)

    assert published.hashes == hashes(chain)


async def test_a_leader_who_is_followed_while_a_gap_is_read_misses_nothing_from_then_on() -> None:
    other = "0x" + "22" * 20
    chain = a_chain(head=7_000, fills_in=[1_000])
    chain.logs += a_chain(head=7_000, fills_in=[3_000], leader=other).logs
    cursor, published = MemoryCursor(100), Published()

    await read_until(
        lambda: cursor.block == 7_000,
        LimitedNode(answer=chain),
        cursor,
        published,
        leaders=lambda: {LEADER, other} if cursor.saved else {LEADER},
    )

    assert [fill.leader.lower() for fill in published.fills] == [LEADER.lower(), other]


@pytest.mark.parametrize("body", ["Too many requests", {"error": "rate limited"}, [], None, 7])
async def test_a_node_that_answers_nonsense_ends_no_process(body: Any) -> None:
    requests: list[Any] = []

    def respond(request: Any) -> web.Response:
        requests.append(request)
        return web.json_response(body)

    cursor, published = MemoryCursor(100), Published()

    await read_until(lambda: len(requests) >= 3, respond, cursor, published)

    assert (cursor.saved, published.fills) == ([], [])


async def test_a_block_other_than_the_one_of_the_fill_is_no_time_of_it() -> None:
    chain = a_chain(head=300, fills_in=[200])
    asked: list[str] = []

    def answer(call: Any) -> Any:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] != "latest":
            asked.append(call["params"][0])
            return chain({**call, "params": [hex(201), False]})
        return chain(call)

    cursor, published = MemoryCursor(100), Published()

    await read_until(lambda: len(asked) >= 2, LimitedNode(answer=answer), cursor, published)

    assert (cursor.saved, published.fills) == ([], [])
