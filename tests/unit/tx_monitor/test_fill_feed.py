"""The feed of followers' fills: final blocks alone, each read on from its cursor, whatever the
node's limits are and whichever node answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from services.tx_monitor.adapters import FillFeed, fill_feed
from shared.chain.addresses import EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.db.leased_wallets import LeaseId
from shared.messages.base import Message
from shared.messages.transactions import FillsSettled
from shared.observe import metrics
from shared.streams.routes import Publish
from shared.testing.waiting import eventually
from tests.builders import OTHER_PROXY, PROXY
from tests.feeds import PARTITIONS, FakePartitionCursors, MonitorInstance, partition_number
from tests.nodes import (
    ChainModel,
    LimitedNode,
    Respond,
    a_block,
    a_block_hash,
    a_fill_log,
    a_transaction_hash,
    error,
    serve_node,
)

FIRST_LOOKBACK_BLOCKS = 10


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
        return min(self.stored.values(), default=None)


class Published:
    def __init__(self) -> None:
        self.messages: list[FillsSettled] = []

    async def publish(self, message: Message) -> None:
        assert isinstance(message, FillsSettled)
        self.messages.append(message)

    @property
    def blocks(self) -> list[tuple[str, int]]:
        return [(message.proxy, message.block_number) for message in self.messages]

    @property
    def transactions(self) -> list[str]:
        return [fill.transaction_hash for message in self.messages for fill in message.fills]


async def no_refresh() -> None:
    """Followers that a test changes by itself."""


async def read_until(
    condition: Callable[[], object],
    respond: Respond,
    cursors: Cursors,
    published: Published,
    *,
    followers: Callable[[], AbstractSet[str]] = lambda: {PROXY, OTHER_PROXY},
    instance: MonitorInstance | None = None,
    refresh: Callable[[], Awaitable[None]] = no_refresh,
    publish: Publish | None = None,
) -> None:
    """Let the feed read until the condition holds."""
    async with serve_node(respond) as rpc:
        feed = FillFeed(
            ChainClient(rpc),
            cursors,
            followers=(instance or MonitorInstance(followers)).leased,
            refresh_followers=refresh,
            poll_interval=timedelta(milliseconds=1),
            first_lookback_blocks=FIRST_LOOKBACK_BLOCKS,
        )
        task = asyncio.create_task(feed(publish or published.publish))
        await eventually(lambda: condition() or task.done())
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)


def a_chain(*, final: int, fills: Collection[tuple[int, str]], head: int = 0) -> ChainModel:
    """A chain with a fill for each block and proxy."""
    logs = [
        a_fill_log(number, maker=proxy, block=block, exchange=EXCHANGE_V2)
        for number, (block, proxy) in enumerate(fills)
    ]
    return ChainModel(head=max(head, final), finalized=final, logs=logs)


def hashes(chain: ChainModel) -> list[str]:
    return [log["transactionHash"] for log in chain.logs]


async def test_each_follower_and_block_is_one_message() -> None:
    fills = [(101, PROXY), (101, OTHER_PROXY), (101, PROXY), (150, PROXY)]
    chain = a_chain(final=200, fills=fills)
    cursors, published = Cursors(100), Published()

    await read_until(lambda: cursors.block == 200, LimitedNode(answer=chain), cursors, published)

    assert sorted(published.blocks) == [(PROXY, 101), (PROXY, 150), (OTHER_PROXY, 101)]
    message = next(each for each in published.messages if each.proxy == PROXY)
    assert message.message_id == f"{PROXY}:{a_block_hash(101)}:fills"
    assert (message.block_hash, message.key()) == (a_block_hash(101), PROXY.encode())
    assert message.mined_at == datetime.fromtimestamp(int(a_block(101)["timestamp"], 16), UTC)
    assert [(each.transaction_hash, each.log_index) for each in message.fills] == [
        (a_transaction_hash(0), 0),
        (a_transaction_hash(2), 2),
    ]
    (fill, _) = message.fills
    assert (fill.side, fill.shares, fill.usdc, fill.fee_usdc) == ("BUY", 10_000_000, 5_000_000, 0)
    assert (fill.token_id, fill.order_hash) == (str(10**70), f"0x{0:064x}")


async def test_what_is_not_final_waits() -> None:
    chain = a_chain(final=150, fills=[(150, PROXY), (151, PROXY)], head=200)
    cursors, published = Cursors(100), Published()

    await read_until(lambda: cursors.block == 150, LimitedNode(answer=chain), cursors, published)
    assert published.blocks == [(PROXY, 150)]
    chain.finalized = 160
    await read_until(lambda: cursors.block == 160, LimitedNode(answer=chain), cursors, published)

    assert published.blocks == [(PROXY, 150), (PROXY, 151)]


async def test_without_a_cursor_it_begins_some_blocks_before_the_finalized_one() -> None:
    chain = a_chain(final=150, fills=[(139, PROXY), (140, PROXY)], head=900)
    cursors, published = Cursors(), Published()

    await read_until(lambda: cursors.block == 150, LimitedNode(answer=chain), cursors, published)

    assert published.blocks == [(PROXY, 140)]


async def test_a_missing_finality_holds_the_feed_back_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = a_chain(final=0, fills=[(101, PROXY)], head=200)
    chain.finalized = None
    asked: list[str] = []

    def answer(call: Any) -> Any:
        asked.append(call["params"][0])
        return chain(call)

    cursors, published = Cursors(100), Published()
    await read_until(
        lambda: asked.count("finalized") >= 5, LimitedNode(answer=answer), cursors, published
    )
    assert (cursors.saved, published.messages) == ([], [])
    assert len(caplog.messages) == 1
    assert "names no finalized block" in caplog.text

    chain.finalized = 200
    await read_until(lambda: cursors.block == 200, LimitedNode(answer=chain), cursors, published)

    assert published.blocks == [(PROXY, 101)]


async def test_an_older_finalized_block_moves_nothing_back() -> None:
    chain = a_chain(final=150, fills=[(120, PROXY), (150, PROXY)], head=200)
    cursors, published, polls = Cursors(100), Published(), 0

    def answer(call: Any) -> Any:
        nonlocal polls
        if call["params"] and call["params"][0] == "finalized":
            polls += 1
            chain.finalized = 120 if polls % 2 == 0 else 150
        return chain(call)

    await read_until(lambda: polls > 6, LimitedNode(answer=answer), cursors, published)

    assert published.blocks == [(PROXY, 120), (PROXY, 150)]
    assert cursors.saved == [150]


FOLLOWERS = frozenset(to_checksum_address(f"0x{number + 1:040x}") for number in range(5_000))


@pytest.mark.parametrize(("max_makers", "max_blocks"), [(None, None), (300, None), (1_000, 64)])
async def test_fills_of_5000_followers_whatever_the_limits_of_the_node(
    max_makers: int | None, max_blocks: int | None
) -> None:
    fills = [(101 + number % 200, proxy) for number, proxy in enumerate(sorted(FOLLOWERS)[::10])]
    chain = a_chain(final=300, fills=fills)
    node = LimitedNode(answer=chain, max_makers=max_makers, max_blocks=max_blocks)
    cursors, published = Cursors(100), Published()

    await read_until(
        lambda: cursors.block == 300, node, cursors, published, followers=lambda: FOLLOWERS
    )

    assert sorted(published.transactions) == sorted(hashes(chain))
    assert bool(node.refusals) == bool((max_makers or 1_000) < 1_000 or max_blocks)


@pytest.mark.parametrize("lag", ["another block", "no such block"])
async def test_nodes_that_disagree_about_the_finalized_block_publish_nothing(lag: str) -> None:
    """The node that is asked for logs is not the one that named the block."""
    chain = a_chain(final=150, fills=[(120, PROXY)], head=200)
    is_wrong, asked = True, 0

    def answer(call: Any) -> Any:
        nonlocal asked
        if call["params"] and call["params"][0] == hex(150) and is_wrong:
            asked += 1
            other = a_block(150) | {"hash": a_block_hash(7_000)}
            return {"result": other if lag == "another block" else None}
        return chain(call)

    cursors, published = Cursors(100), Published()
    await read_until(lambda: asked >= 3, LimitedNode(answer=answer), cursors, published)
    assert (cursors.saved, published.messages) == ([], [])

    is_wrong = False
    await read_until(lambda: cursors.block == 150, LimitedNode(answer=answer), cursors, published)
    assert published.blocks == [(PROXY, 120)]


async def test_a_log_of_another_block_than_the_nodes_is_not_published() -> None:
    chain = a_chain(final=150, fills=[(120, PROXY)])
    chain.logs[0]["blockHash"] = a_block_hash(7_000)
    polls = 0

    def answer(call: Any) -> Any:
        nonlocal polls
        polls += call["method"] == "eth_getLogs"
        return chain(call)

    cursors, published = Cursors(100), Published()
    await read_until(lambda: polls >= 3, LimitedNode(answer=answer), cursors, published)

    assert (cursors.saved, published.messages) == ([], [])


async def test_a_log_that_cannot_be_read_leaves_out_its_block_of_that_follower_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fills = [(101, PROXY), (101, PROXY), (101, OTHER_PROXY), (102, PROXY)]
    chain = a_chain(final=150, fills=fills)
    chain.logs[1]["data"] = chain.logs[1]["data"][:-64]
    cursors, published = Cursors(100), Published()

    await read_until(lambda: cursors.block == 150, LimitedNode(answer=chain), cursors, published)

    assert sorted(published.blocks) == [(PROXY, 102), (OTHER_PROXY, 101)]
    assert f"the fills of {PROXY} in the final block 101 are not published" in caplog.text


async def test_after_a_crash_before_the_cursor_the_same_messages_come_again() -> None:
    fills = [(number, PROXY) for number in range(101, 121)]
    chain = a_chain(final=150, fills=fills)

    class Crashing(Cursors):
        async def save(self, leases: Sequence[LeaseId], block: int) -> None:
            self.saved.append(block)

    cursors, published = Crashing(100), Published()
    await read_until(lambda: cursors.saved, LimitedNode(answer=chain), cursors, published)
    first, published.messages = published.messages, []
    await read_until(lambda: published.messages, LimitedNode(answer=chain), cursors, published)

    assert published.messages[: len(first)] == first
    assert len(first) == 20


async def test_a_restart_reads_on_from_the_cursor() -> None:
    chain = a_chain(final=150, fills=[(number, PROXY) for number in range(101, 201)])
    cursors, published = Cursors(100), Published()

    for final in (150, 170, 200):
        chain.head = chain.finalized = final
        await read_until(
            lambda final=final: cursors.block == final,  # type: ignore[misc]
            LimitedNode(answer=chain),
            cursors,
            published,
        )

    assert published.blocks == [(PROXY, number) for number in range(101, 201)]


async def test_the_messages_are_published_before_the_cursor_moves() -> None:
    chain = a_chain(final=150, fills=[(120, PROXY)])
    published = Published()

    class Checking(Cursors):
        async def save(self, leases: Sequence[LeaseId], block: int) -> None:
            assert published.blocks == [(PROXY, 120)]
            await super().save(leases, block)

    cursors = Checking(100)
    await read_until(lambda: cursors.block == 150, LimitedNode(answer=chain), cursors, published)


async def test_what_a_block_settles_is_published_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All at once, it would keep the executor from posting while it records the fills."""
    monkeypatch.setattr(fill_feed, "BATCH_INTERVAL_S", 0.001)
    monkeypatch.setattr(fill_feed, "MIN_FOLLOWERS", 1)
    proxies = [
        to_checksum_address(f"0x{number:040x}") for number in range(1, 2 * fill_feed.MAX_BATCHES)
    ]
    fills = [(block, proxy) for proxy in proxies for block in (120, 121)]
    under_way, most_under_way = set[str](), list[int]()
    published = Published()

    async def publish(message: Message) -> None:
        assert isinstance(message, FillsSettled)
        assert message.proxy not in under_way
        under_way.add(message.proxy)
        most_under_way.append(len(under_way))
        await asyncio.sleep(0)
        under_way.remove(message.proxy)
        await published.publish(message)

    cursors = Cursors(100)
    await read_until(
        lambda: cursors.block == 150,
        LimitedNode(answer=a_chain(final=150, fills=fills)),
        cursors,
        published,
        followers=lambda: frozenset(proxies),
        publish=publish,
    )

    assert max(most_under_way) == 2
    assert sorted(published.blocks) == sorted((proxy, block) for block, proxy in fills)
    for proxy in proxies:
        assert [block for each, block in published.blocks if each == proxy] == [120, 121]


async def test_a_follower_is_read_from_the_block_on_that_was_final_when_he_began() -> None:
    """Whoever follows once the finalized block is named is read up to it."""
    chain = a_chain(final=150, fills=[(150, PROXY)])
    followers = set[str]()

    async def refresh() -> None:
        followers.add(PROXY)

    cursors, published = Cursors(100), Published()
    await read_until(
        lambda: cursors.block == 150,
        LimitedNode(answer=chain),
        cursors,
        published,
        followers=lambda: followers,
        refresh=refresh,
    )

    assert published.blocks == [(PROXY, 150)]


async def test_instances_share_the_partitions() -> None:
    fills = [(101, proxy) for proxy in sorted(FOLLOWERS)[:40]]
    chain = a_chain(final=150, fills=fills)
    cursors = Cursors(100)
    by_instance = []
    for partitions in ([0, 1], [2, 3]):
        published = Published()
        await read_until(
            lambda partitions=partitions: all(  # type: ignore[misc]
                cursors.stored.get(each) == 150 for each in partitions
            ),
            LimitedNode(answer=chain),
            cursors,
            published,
            instance=MonitorInstance(lambda: FOLLOWERS, partitions),
        )
        assert {partition_number(proxy) for proxy, _ in published.blocks} <= set(partitions)
        by_instance.append(published.transactions)

    assert all(by_instance)
    assert sorted([*by_instance[0], *by_instance[1]]) == sorted(hashes(chain))


async def test_a_lease_that_is_not_the_newest_moves_no_cursor() -> None:
    chain = a_chain(final=150, fills=[(120, PROXY)])
    cursors, published = Cursors(100), Published()
    cursors.newest = dict.fromkeys(range(PARTITIONS), 2)

    await read_until(lambda: cursors.saved, LimitedNode(answer=chain), cursors, published)

    assert cursors.block == 100


async def test_what_was_read_under_a_lease_that_ended_is_not_published() -> None:
    chain = a_chain(final=150, fills=[(120, PROXY)])
    instance = MonitorInstance(lambda: {PROXY})
    asked = 0

    def answer(call: Any) -> Any:
        nonlocal asked
        if call["method"] == "eth_getLogs":
            asked += 1
            instance.leases.token_by_partition.clear()
        return chain(call)

    cursors, published = Cursors(100), Published()
    await read_until(
        lambda: asked, LimitedNode(answer=answer), cursors, published, instance=instance
    )

    assert (cursors.saved, published.messages) == ([], [])


async def test_a_lease_that_ends_meanwhile_leaves_the_rest_to_its_next_holder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fill_feed, "BATCH_INTERVAL_S", 0.001)
    monkeypatch.setattr(fill_feed, "MIN_FOLLOWERS", 1)
    chain = a_chain(final=150, fills=[(120, PROXY), (120, OTHER_PROXY)])
    instance = MonitorInstance(lambda: {PROXY, OTHER_PROXY})
    published, rounds = Published(), 0

    async def publish(message: Message) -> None:
        instance.leases.token_by_partition.clear()
        await published.publish(message)

    async def refresh() -> None:
        nonlocal rounds
        rounds += 1

    cursors = Cursors(100)
    await read_until(
        lambda: rounds >= 2,
        LimitedNode(answer=chain),
        cursors,
        published,
        instance=instance,
        refresh=refresh,
        publish=publish,
    )

    assert (cursors.saved, len(published.messages)) == ([], 1)


async def test_a_group_that_fails_holds_up_no_other() -> None:
    """The node has lost the old blocks that one partition is at."""
    fills = [(7_000, proxy) for proxy in sorted(FOLLOWERS)[:40]]
    chain = a_chain(final=7_000, fills=fills)

    def answer(call: Any) -> Any:
        if call["method"] == "eth_getLogs" and int(call["params"][0]["fromBlock"], 16) < 6_000:
            return error(-32000, "rate limited")
        return chain(call)

    cursors, published = Cursors(100), Published()
    cursors.stored = {1: 6_999, 2: 6_999, 3: 6_999}
    await read_until(
        lambda: cursors.stored.get(3) == 7_000,
        LimitedNode(answer=answer),
        cursors,
        published,
        followers=lambda: FOLLOWERS,
    )

    assert cursors.stored == {0: 100, 1: 7_000, 2: 7_000, 3: 7_000}
    assert {partition_number(proxy) for proxy, _ in published.blocks} == {1, 2, 3}


async def test_partitions_that_are_acquired_later_begin_where_the_first_ones_did() -> None:
    follower = next(each for each in sorted(FOLLOWERS) if partition_number(each) == 1)
    chain = a_chain(final=150, fills=[(139, follower), (140, follower)])
    cursors, published = Cursors(), Published()
    for partition in (0, 1):
        await read_until(
            lambda partition=partition: cursors.stored.get(partition) == chain.head,  # type: ignore[misc]
            LimitedNode(answer=chain),
            cursors,
            published,
            instance=MonitorInstance(lambda: FOLLOWERS, [partition]),
        )
        chain.head = chain.finalized = 200

    assert published.blocks == [(follower, 140)]


async def test_each_kind_of_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Of each group, and whatever numbers its text has in each round."""
    chain, asked, rounds = a_chain(final=7_000, fills=[]), 0, 0

    def answer(call: Any) -> Any:
        nonlocal asked, rounds
        if call["method"] != "eth_getLogs":
            rounds += call["params"][:1] == ["finalized"]
            return chain(call)
        asked += 1
        old = int(call["params"][0]["fromBlock"], 16) < 6_000
        return error(-32000, f"block {asked} of 0x{asked:x} is {'lost' if old else 'unknown'}")

    cursors = Cursors(100)
    cursors.stored = {1: 6_999, 2: 6_999, 3: 6_999}
    await read_until(
        lambda: rounds >= 4,  # of three the failures are known
        LimitedNode(answer=answer),
        cursors,
        Published(),
        followers=lambda: FOLLOWERS,
    )

    assert sorted(text.rpartition(" is ")[2].split()[0][:4] for text in caplog.messages) == [
        "lost",
        "unkn",
    ]


async def test_where_nobody_follows_the_cursors_move_on_without_reading() -> None:
    node, cursors = LimitedNode(answer=a_chain(final=150, fills=[])), Cursors(100)

    await read_until(
        lambda: cursors.block == 150, node, cursors, Published(), followers=lambda: frozenset()
    )

    assert node.spans == []


def blocks_behind(tip: metrics.Tip) -> float | None:
    return metrics.REGISTRY.get_sample_value(
        "slipstream_settled_fills_blocks_behind", {"tip": tip.value}
    )


async def test_the_blocks_behind_are_counted_from_the_partition_that_is_read_last() -> None:
    chain = a_chain(final=150, fills=[], head=160)

    await read_until(
        lambda: blocks_behind(metrics.Tip.HEAD) == 10,
        LimitedNode(answer=chain),
        Cursors(100),
        Published(),
    )
    assert blocks_behind(metrics.Tip.FINALIZED) == 0
    chain.head, cursors = 190, Cursors(100)
    cursors.stored = {1: 150, 2: 150, 3: 150}

    def answer(call: Any) -> Any:
        if call["method"] == "eth_getLogs" and int(call["params"][0]["fromBlock"], 16) < 150:
            return error(-32000, "rate limited")
        return chain(call)

    await read_until(
        lambda: blocks_behind(metrics.Tip.HEAD) == 90,
        LimitedNode(answer=answer),
        cursors,
        Published(),
        followers=lambda: FOLLOWERS,
    )
    assert blocks_behind(metrics.Tip.FINALIZED) == 50
