"""The chain's feed reads on from its cursor, whatever the gap and the node's limits are."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from services.ingest.adapters import ChainFeed
from shared.chain.addresses import EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.db.leased_wallets import LeaseId
from shared.messages.base import Message
from shared.messages.leader_fills import LeaderFillSeen
from shared.testing.waiting import eventually
from tests.builders import LEADER, NOON
from tests.feeds import PARTITIONS, FakePartitionCursors, Instance, partition_number
from tests.nodes import (
    ChainModel,
    LimitedNode,
    Respond,
    a_fill_log,
    error,
    serve_node,
)

LOOKBACK_BLOCKS = 4


class Cursors(FakePartitionCursors):
    """Positions that are all at this block, and all that they were saved at."""

    def __init__(self, block: int | None = None) -> None:
        super().__init__(dict.fromkeys(range(PARTITIONS), 1), single=block)
        self.saved: list[int] = []

    async def save(self, leases: Sequence[LeaseId], block: int) -> None:
        await super().save(leases, block)
        self.saved.append(block)

    @property
    def block(self) -> int | None:
        """Up to where all leaders were read."""
        return min(self.stored.values(), default=None)


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
    cursors: Cursors,
    published: Published,
    *,
    leaders: Callable[[], AbstractSet[str]] = lambda: {LEADER},
    instance: Instance | None = None,
) -> None:
    """Let the feed read until the condition holds."""
    async with serve_node(respond) as rpc:
        feed = ChainFeed(
            ChainClient(rpc),
            cursors,
            leaders=(instance or Instance(leaders)).shared,
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
    cursors, published = Cursors(100), Published()

    await read_until(
        lambda: cursors.block == 300,
        LimitedNode(answer=chain, max_batch=max_batch),
        cursors,
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
    cursors, published = Cursors(100), Published()

    await read_until(
        lambda: cursors.block == 300,
        LimitedNode(answer=chain, max_makers=1_000),
        cursors,
        published,
        leaders=lambda: leaders,
    )

    assert {fill.leader.lower() for fill in published.fills} == leaders
    assert sorted(published.hashes) == sorted(hashes(chain))


@pytest.mark.parametrize("max_blocks", [None, 100])
async def test_a_gap_of_more_than_2000_blocks_is_read_in_spans(max_blocks: int | None) -> None:
    chain = a_chain(head=7_000, fills_in=range(101, 7_001, 100))
    cursors, published = Cursors(100), Published()

    await read_until(
        lambda: cursors.block == 7_000,
        LimitedNode(answer=chain, max_blocks=max_blocks),
        cursors,
        published,
    )

    assert published.hashes == hashes(chain)
    assert len(cursors.saved) > 3
    assert cursors.saved == sorted(cursors.saved)


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

    cursors, published = Cursors(100), Published()
    await read_until(
        lambda: sum(start > 4_000 for start in starts) >= 3,
        LimitedNode(answer=answer),
        cursors,
        published,
    )
    assert cursors.block is not None
    assert 4_000 < cursors.block < 7_000
    assert published.hashes == hashes(chain)[: len(published.fills)]

    broken = False
    starts.clear()
    await read_until(lambda: cursors.block == 7_000, LimitedNode(answer=answer), cursors, published)

    assert starts[0] > 4_000 - LOOKBACK_BLOCKS
    assert set(published.hashes) == set(hashes(chain))


async def test_a_fill_that_is_read_again_is_published_once() -> None:
    chain = a_chain(head=20, fills_in=[11, 18, 20])
    cursors, published = Cursors(), Published()

    def answer(call: Any) -> Any:
        chain.head = 20 + len(cursors.saved)
        return chain(call)

    await read_until(
        lambda: len(cursors.saved) > 20, LimitedNode(answer=answer), cursors, published
    )

    assert published.hashes == hashes(chain)


async def test_a_leader_who_is_followed_while_a_gap_is_read_misses_nothing_from_then_on() -> None:
    other = "0x" + "22" * 20
    chain = a_chain(head=7_000, fills_in=[1_000])
    chain.logs += a_chain(head=7_000, fills_in=[3_000], leader=other).logs
    cursors, published = Cursors(100), Published()

    await read_until(
        lambda: cursors.block == 7_000,
        LimitedNode(answer=chain),
        cursors,
        published,
        leaders=lambda: {LEADER, other} if cursors.saved else {LEADER},
    )

    assert [fill.leader.lower() for fill in published.fills] == [LEADER.lower(), other]


@pytest.mark.parametrize("body", ["Too many requests", {"error": "rate limited"}, [], None, 7])
async def test_a_node_that_answers_nonsense_ends_no_process(body: Any) -> None:
    requests: list[Any] = []

    def respond(request: Any) -> web.Response:
        requests.append(request)
        return web.json_response(body)

    cursors, published = Cursors(100), Published()

    await read_until(lambda: len(requests) >= 3, respond, cursors, published)

    assert (cursors.saved, published.fills) == ([], [])


async def test_a_block_other_than_the_one_of_the_fill_is_no_time_of_it() -> None:
    chain = a_chain(head=300, fills_in=[200])
    asked: list[str] = []

    def answer(call: Any) -> Any:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] != "latest":
            asked.append(call["params"][0])
            return chain({**call, "params": [hex(201), False]})
        return chain(call)

    cursors, published = Cursors(100), Published()

    await read_until(lambda: len(asked) >= 2, LimitedNode(answer=answer), cursors, published)

    assert (cursors.saved, published.fills) == ([], [])


LEADERS = tuple(f"0x{number + 1:040x}" for number in range(40))
BY_PARTITION = {
    number: [leader for leader in LEADERS if partition_number(leader) == number]
    for number in range(PARTITIONS)
}


def a_chain_of_all(fills_in: Collection[int], *, head: int) -> ChainModel:
    """Each leader trades in each of these blocks."""
    pairs = [(block, leader) for block in fills_in for leader in LEADERS]
    logs = [
        a_fill_log(number, maker=leader, block=block, exchange=EXCHANGE_V2)
        for number, (block, leader) in enumerate(pairs)
    ]
    return ChainModel(head=head, logs=logs)


class Requests:
    """The requests for logs: first block and number of leaders."""

    def __init__(self, chain: ChainModel) -> None:
        self._chain = chain
        self.of_logs: list[tuple[int, int]] = []

    def __call__(self, call: Any) -> Any:
        if call["method"] == "eth_getLogs":
            (asked,) = call["params"]
            self.of_logs.append((int(asked["fromBlock"], 16), len(asked["topics"][2])))
        return self._chain(call)


async def test_partitions_at_the_same_block_are_read_together() -> None:
    chain = a_chain_of_all([101, 110], head=110)
    requests, cursors, published = Requests(chain), Cursors(100), Published()

    await read_until(
        lambda: len(requests.of_logs) >= 3,
        LimitedNode(answer=requests),
        cursors,
        published,
        leaders=lambda: set(LEADERS),
    )

    assert {leaders for _, leaders in requests.of_logs} == {len(LEADERS)}
    assert sorted(published.hashes) == sorted(hashes(chain))


async def test_an_instance_reads_and_moves_its_own_partitions_alone() -> None:
    chain = a_chain_of_all([101], head=110)
    cursors, published = Cursors(100), Published()

    await read_until(
        lambda: 110 in cursors.saved,
        LimitedNode(answer=chain),
        cursors,
        published,
        instance=Instance(lambda: set(LEADERS), [1, 2]),
    )

    assert {fill.leader.lower() for fill in published.fills} == {*BY_PARTITION[1], *BY_PARTITION[2]}
    assert cursors.stored == {0: 100, 1: 110, 2: 110, 3: 100}


async def test_a_partition_that_is_far_behind_is_read_on_while_the_others_go_on() -> None:
    """It was another instance's, which stood still; its leaders' trades since are read."""
    chain = a_chain_of_all(range(101, 7_001, 1_000), head=7_000)
    requests, cursors, published = Requests(chain), Cursors(100), Published()
    cursors.stored = {1: 6_999, 2: 6_999, 3: 6_999}

    await read_until(
        lambda: cursors.block == 7_000,
        LimitedNode(answer=requests),
        cursors,
        published,
        leaders=lambda: set(LEADERS),
    )

    assert requests.of_logs[0][0] > 6_000, "those that are the furthest are read first"
    assert cursors.saved[0] == 7_000
    of_partition = [fill for fill in published.fills if fill.leader.lower() in BY_PARTITION[0]]
    assert len(of_partition) == 7 * len(BY_PARTITION[0])


async def test_a_group_that_fails_for_good_holds_up_no_other() -> None:
    """The node answers nothing about the newest blocks."""
    chain = a_chain_of_all(range(101, 7_001, 1_000), head=7_000)

    def answer(call: Any) -> Any:
        if call["method"] == "eth_getLogs" and int(call["params"][0]["fromBlock"], 16) > 6_990:
            return error(-32005, "daily request count exceeded, request rate limited")
        return chain(call)

    cursors, published = Cursors(100), Published()
    cursors.stored = {1: 6_999, 2: 6_999, 3: 6_999}

    await read_until(
        lambda: cursors.stored.get(0, 0) > 6_000,
        LimitedNode(answer=answer),
        cursors,
        published,
        leaders=lambda: set(LEADERS),
    )

    assert {fill.leader.lower() for fill in published.fills} == set(BY_PARTITION[0])
    assert cursors.stored[1] == 6_999


async def test_the_next_owner_reads_on_where_the_last_one_ended() -> None:
    chain = a_chain_of_all(range(101, 301, 10), head=200)
    cursors, published = Cursors(100), Published()
    for number, partitions in enumerate([[0, 1], [2, 3]], start=1):
        await read_until(
            lambda number=number: cursors.saved.count(200) >= number,  # type: ignore[misc]
            LimitedNode(answer=chain),
            cursors,
            published,
            instance=Instance(lambda: set(LEADERS), partitions),
        )
    chain.head = 300

    await read_until(
        lambda: cursors.block == 300,
        LimitedNode(answer=chain),
        cursors,
        published,
        instance=Instance(lambda: set(LEADERS)),
    )

    assert set(published.hashes) == set(hashes(chain))


async def test_a_lease_that_was_lost_moves_no_cursor_beyond_leaders_it_did_not_know() -> None:
    chain = a_chain_of_all([150], head=200)
    cursors, published = Cursors(100), Published()
    cursors.newest = dict.fromkeys(range(PARTITIONS), 2)

    await read_until(
        lambda: cursors.saved,
        LimitedNode(answer=chain),
        cursors,
        published,
        instance=Instance(lambda: {LEADERS[0]}),
    )

    assert cursors.block == 100


async def test_where_nobody_is_followed_the_cursors_move_on_without_reading() -> None:
    requests, cursors = Requests(a_chain_of_all([150], head=200)), Cursors(100)

    await read_until(
        lambda: cursors.block == 200,
        LimitedNode(answer=requests),
        cursors,
        Published(),
        leaders=set,
    )

    assert requests.of_logs == []
