"""The Data API feed publishes each trade of this instance's leaders once, without a gap; a slow or
failing leader delays none of the others.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.adapters import DataFeed
from services.ingest.adapters.data_feed import MAX_CONCURRENT
from services.ingest.settings import Settings
from shared.domain.errors import InvalidSettings, Transient
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.polymarket.data_api import Row, Trades
from shared.settings import read
from shared.testing.waiting import eventually
from tests.builders import (
    LEADER,
    NOON,
    OTHER_PROXY,
    TOKEN,
    TRANSACTION,
    a_fill,
    seconds,
    shares,
)
from tests.fakes import Clock
from tests.feeds import (
    PARTITIONS,
    FakeLeaderCursors,
    Instance,
    a_data_feed,
    partition_number,
)
from tests.unit.ingest.test_decisions import NEW_TRADE, after_fill, covered_shares


def an_address(number: int) -> str:
    return to_checksum_address(f"0x{number + 1:040x}")


def a_row(**overrides: Any) -> Row:
    row = {
        "proxy_wallet": LEADER,
        "transaction_hash": TRANSACTION,
        "token_id": TOKEN,
        "side": "BUY",
        "size": 10,
        "price": "0.5",
        "timestamp": int(NOON.timestamp()),
    }
    return row | overrides


class FakeDataApi:
    """The Data API's rows by wallet, newest first; None: the request fails."""

    def __init__(self, **rows_by_wallet: Sequence[Row] | None) -> None:
        self.rows_by_wallet = dict(rows_by_wallet)
        self.requests: list[tuple[str, datetime, datetime]] = []
        self.slow: set[str] = set()
        """Wallets whose requests are not answered."""

    async def fetch_trades(self, wallet: str, since: datetime, until: datetime) -> Trades:
        self.requests.append((wallet, since, until))
        if wallet in self.slow:
            await asyncio.Event().wait()
        rows = self.rows_by_wallet[wallet]
        if rows is None:
            raise Transient("429")
        matching = [
            row
            for row in rows
            if int(since.timestamp()) <= row["timestamp"] <= int(until.timestamp())
        ]
        return Trades(rows=matching, is_complete=True)

    @property
    def requested(self) -> list[str]:
        return [wallet for wallet, _, _ in self.requests]


class Published:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def publish(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def leaders(self) -> list[str]:
        return [each.leader for each in self.messages if isinstance(each, LeaderFillSeen)]


async def published_from(data_api: FakeDataApi, *, rounds: int = 1) -> list[Message]:
    published = Published()
    feed = a_data_feed(data_api.fetch_trades, set(data_api.rows_by_wallet))
    for _ in range(rounds):
        await feed.read_all(published.publish)
    return published.messages


@asynccontextmanager
async def running(feed: DataFeed, published: Published) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(feed(published.publish))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_oldest_row_is_published_first_and_each_row_once() -> None:
    data_api = FakeDataApi(**{LEADER: [a_row(size=2), a_row(size=1)]})

    published = await published_from(data_api, rounds=3)

    assert [message.shares for message in published if isinstance(message, LeaderFillSeen)] == [
        shares(1),
        shares(2),
    ]
    minute = timedelta(minutes=1)
    assert data_api.requests == [(LEADER, NOON - minute, NOON + minute)] * 3


async def test_a_failed_request_for_one_leader_does_not_stop_the_others() -> None:
    published = await published_from(FakeDataApi(**{OTHER_PROXY: None, LEADER: [a_row()]}))

    assert [type(message) for message in published] == [LeaderFillSeen]


async def test_a_row_that_cannot_be_parsed_is_parked_once_and_does_not_stop_the_others() -> None:
    published = await published_from(
        FakeDataApi(**{LEADER: [a_row(), a_row(price="cheap")]}), rounds=2
    )

    assert [type(message) for message in published] == [FrameParked, LeaderFillSeen]


async def test_a_row_of_another_wallet_is_not_published() -> None:
    assert await published_from(FakeDataApi(**{LEADER: [a_row(proxy_wallet=OTHER_PROXY)]})) == []


async def test_an_instance_reads_the_leaders_of_its_partitions_alone() -> None:
    leaders = [an_address(number) for number in range(40)]
    data_api = FakeDataApi(**{leader: [] for leader in leaders})
    instance = Instance(lambda: set(leaders), partitions=[1])

    await a_data_feed(data_api.fetch_trades, set(), instance=instance).read_all(Published().publish)

    assert sorted(data_api.requested) == sorted(
        leader for leader in leaders if partition_number(leader) == 1
    )


async def test_the_next_owner_goes_on_from_the_stored_cursor() -> None:
    cursors, published = FakeLeaderCursors(), Published()
    data_api = FakeDataApi(**{LEADER: [a_row()]})
    first = a_data_feed(data_api.fetch_trades, {LEADER}, cursors=cursors)
    await first.read_all(published.publish)
    later = NOON + timedelta(minutes=40)
    missed = a_row(size=3, timestamp=int((NOON + seconds(30)).timestamp()))
    data_api.rows_by_wallet[LEADER] = [missed, a_row()]

    second = a_data_feed(data_api.fetch_trades, {LEADER}, cursors=cursors, now=lambda: later)
    await second.read_all(published.publish)

    assert cursors.stored == {LEADER: NOON + seconds(30)}
    amounts = [each.shares for each in published.messages if isinstance(each, LeaderFillSeen)]
    assert amounts == [shares(10), shares(10), shares(3)]


async def test_what_a_leader_trades_while_his_first_requests_fail_is_read_later() -> None:
    cursors, published, clock = FakeLeaderCursors(), Published(), Clock(NOON)
    data_api = FakeDataApi(**{LEADER: None})
    for _ in range(2):
        feed = a_data_feed(data_api.fetch_trades, {LEADER}, cursors=cursors, now=clock)
        await feed.read_all(published.publish)
        clock.now += timedelta(minutes=10)
    data_api.rows_by_wallet[LEADER] = [a_row(timestamp=int((NOON + seconds(1)).timestamp()))]

    await feed.read_all(published.publish)

    assert published.leaders == [LEADER]


async def test_the_cursor_of_a_leader_is_removed_when_he_is_not_followed_any_more() -> None:
    followed = {LEADER, OTHER_PROXY}
    cursors = FakeLeaderCursors()
    data_api = FakeDataApi(**{LEADER: [], OTHER_PROXY: []})
    instance = Instance(lambda: frozenset(followed))
    feed = a_data_feed(data_api.fetch_trades, set(), cursors=cursors, instance=instance)
    await feed.read_all(Published().publish)
    assert set(cursors.stored) == {LEADER, OTHER_PROXY}

    followed.remove(OTHER_PROXY)
    instance.assign(set(range(PARTITIONS)) - {partition_number(LEADER)})
    await feed.read_all(Published().publish)

    assert set(cursors.stored) == {LEADER}, "another instance's leader keeps his cursor"


async def test_the_cursor_of_a_leader_who_is_left_while_he_is_read_stays_removed() -> None:
    followed, cursors, published = {LEADER, OTHER_PROXY}, FakeLeaderCursors(), Published()
    answers = asyncio.Event()

    async def fetch_trades(wallet: str, since: datetime, until: datetime) -> Trades:
        if wallet == LEADER:
            await answers.wait()
        row = a_row(proxy_wallet=wallet, timestamp=int((NOON + seconds(9)).timestamp()))
        return Trades(rows=[row], is_complete=True)

    instance = Instance(lambda: frozenset(followed))
    async with running(
        a_data_feed(fetch_trades, set(), cursors=cursors, instance=instance), published
    ):
        await eventually(lambda: OTHER_PROXY in published.leaders)
        followed.remove(LEADER)
        await eventually(lambda: LEADER not in cursors.stored)
        answers.set()
        await eventually(lambda: LEADER in published.leaders)
        await asyncio.sleep(0)

    assert set(cursors.stored) == {OTHER_PROXY}


async def test_leaders_who_ceased_to_be_followed_while_nothing_ran_are_forgotten() -> None:
    """Those of other instances too."""
    others = [an_address(number) for number in range(20)]
    cursors = FakeLeaderCursors(dict.fromkeys([LEADER, OTHER_PROXY, *others], NOON))
    instance = Instance(lambda: {LEADER, OTHER_PROXY}, partitions=[partition_number(LEADER)])
    feed = a_data_feed(
        FakeDataApi(**{LEADER: []}).fetch_trades, set(), cursors=cursors, instance=instance
    )

    await feed.read_all(Published().publish)

    assert set(cursors.stored) == {LEADER, OTHER_PROXY}


async def test_a_leader_whose_lease_was_lost_meanwhile_is_read_from_the_stored_cursor() -> None:
    cursors, data_api = FakeLeaderCursors(), FakeDataApi(**{LEADER: []})
    instance = Instance(lambda: {LEADER})
    feed = a_data_feed(data_api.fetch_trades, set(), cursors=cursors, instance=instance)
    await feed.read_all(Published().publish)

    cursors.stored[LEADER] = NOON + seconds(50)
    instance.leases.token_by_partition[partition_number(LEADER)] += 1
    await feed.read_all(Published().publish)

    assert data_api.requests[-1][1] == NOON + seconds(50) - timedelta(minutes=1)


async def test_a_slow_leader_delays_no_other() -> None:
    leaders = [an_address(number) for number in range(30)]
    data_api = FakeDataApi(**{leader: [a_row(proxy_wallet=leader)] for leader in leaders})
    data_api.slow = set(leaders[: MAX_CONCURRENT - 1])
    published = Published()

    async with running(a_data_feed(data_api.fetch_trades, set(leaders)), published):
        await eventually(lambda: len(published.leaders) == len(leaders) - len(data_api.slow))

    assert set(published.leaders) == set(leaders) - data_api.slow


async def test_a_failing_leader_is_asked_for_again_later_each_time() -> None:
    clock = Seconds()
    data_api = FakeDataApi(**{LEADER: None, OTHER_PROXY: []})
    feed = a_data_feed(
        data_api.fetch_trades,
        set(data_api.rows_by_wallet),
        poll_interval=timedelta(seconds=5),
        clock=clock,
    )

    async with running(feed, Published()):
        for second in range(1, 121):
            asked = len(data_api.requests)
            clock.now = float(second)
            if second % 5 == 1:
                await eventually(lambda asked=asked: len(data_api.requests) > asked)  # type: ignore[misc]

    counts = {wallet: data_api.requested.count(wallet) for wallet in data_api.rows_by_wallet}
    assert counts[LEADER] < counts[OTHER_PROXY] / 2


def test_a_longest_look_back_below_the_look_back_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://node")
    monkeypatch.setenv("INGEST_DATA_LOOKBACK", "PT2M")
    monkeypatch.setenv("INGEST_DATA_MAX_LOOKBACK", "PT119S")
    with pytest.raises(InvalidSettings, match="INGEST_DATA_MAX_LOOKBACK must be at least"):
        read(Settings)

    monkeypatch.setenv("INGEST_DATA_MAX_LOOKBACK", "PT2M")
    assert read(Settings).data_max_lookback == timedelta(minutes=2)


class Seconds:
    """A monotonic clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


FILLS = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
def test_rows_of_three_sources_in_any_order_and_repetition_copy_what_the_chain_reports_once(
    fills: list[int], repeated: st.DataObject, shuffle: Random
) -> None:
    """The chain has a row for each fill; the other sources have one row for equal fills."""
    rows = [
        a_fill(source=FillSource.CHAIN, row_id=f"order-{n}", shares=shares(size))
        for n, size in enumerate(fills)
    ]
    for source in (FillSource.RTDS, FillSource.DATA):
        rows += [
            a_fill(source=source, row_id=str(size), shares=shares(size))
            for size, _ in groupby(sorted(fills))
        ]
    delivered = [*rows, *repeated.draw(st.lists(st.sampled_from(rows), max_size=10))]
    shuffle.shuffle(delivered)

    trade = NEW_TRADE
    for fill in delivered:
        trade, _ = after_fill(trade, fill)

    copied = sum(each.shares for each in trade.slices)
    assert covered_shares(trade) == copied == shares(sum(fills))
