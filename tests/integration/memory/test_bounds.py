"""What a service holds in memory does not grow with the tokens, wallets, orders and messages that
pass by. ``KEYS`` of each do, far more than any bound here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from services.executor.adapters import unreadable_rows
from services.executor.adapters.venue import UnreadableRow, WalletTrades
from services.executor.adapters.venue_feed import VenueFeed
from services.executor.decisions import Order
from services.ingest.adapters import ActivityFeed, activity_feed
from services.preflight.adapters.balances import ChainBalances
from services.preflight.adapters.level_copies import LevelCopies
from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendCopy,
    PendingDifference,
    Reading,
    Wait,
)
from shared.caching.bounded_wait import BoundedWait
from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight
from shared.db.group_commit import GroupCommit
from shared.domain.follows import Follow
from shared.messages.base import Message
from shared.messages.orders import OrderState
from shared.observe import instruments
from shared.polymarket.request_budget import Priority
from shared.streams import partitioning
from shared.streams.assignment import PartitionAssignment
from shared.streams.batches import Batches
from shared.streams.cache import evict_oldest
from shared.streams.dead_letter_store import BlockedKeys
from shared.streams.dead_letters import DeadLetterLimit
from shared.streams.key_queues import Delivery, KeyQueues
from shared.streams.partitioning import Partitioner
from shared.streams.routes import Outcome, Received
from shared.testing.dead_letters import MemoryDeadLetters
from shared.testing.waiting import eventually
from tests.builders import (
    LEADER,
    NOON,
    a_follow,
    a_trade,
    an_intent,
    intended,
    seconds,
)
from tests.fakes import Clock
from tests.integration.memory.sizes import largest_container
from tests.orders import numbered_order
from tests.unit.ingest.test_activity_feed import FakeChannel, an_envelope
from tests.unit.preflight.test_balances import MAX_AGE, FakeChain
from tests.unit.pricer.harness import PricerCaches
from tests.unit.streams.fake_kafka import FakeKafka, FakeProducer, FakeRecord
from tests.unit.streams.test_loop_properties import Task, a_task

pytestmark = pytest.mark.integration

KEYS = 50_000
BOUND = 1_000
"""Of any container, with the caches at a hundred entries and a thousand keys at a time."""


def require_bounded(*roots: object) -> None:
    path, size = largest_container(*roots)
    assert size <= BOUND, f"{path} holds {size} entries"


def test_what_is_held_deep_inside_is_found() -> None:
    cache = LruCache[int, list[int]](2 * KEYS)
    for number in range(KEYS):
        cache.put(number, [])
    get: Any = cache.get
    flight = SingleFlight(BoundedWait(get, max_wait=MAX_AGE, pause=MAX_AGE, now=Clock(NOON)))

    assert largest_container(flight) == (
        "SingleFlight._fetch._fetch.__self__._entries",
        KEYS,
    )


async def publish_nowhere(_: Message) -> None:
    """The messages are somebody else's."""


class ForgetfulCache:
    """A shared cache that never has an entry."""

    def get(self, _: str) -> bytes | None:
        return None

    async def put(self, _: Message) -> None:
        """Another instance's."""


async def test_the_caches_of_pricer_hold_the_tokens_of_late() -> None:
    pricer = PricerCaches(max_tokens=100)
    message = intended()
    for number in range(KEYS):
        token = str(number)
        await pricer.quotes.fetch_book(token)
        if number % 10 == 0:
            await pricer.prices.fetch_prices(token)
            await pricer.details.fetch_details(token)
            intent = message.intent.model_copy(update={"token_id": token})
            await pricer.handler.on_copy_intended(message.model_copy(update={"intent": intent}))
        pricer.take_subscription_changes()
        pricer.shared.entries.clear()

    require_bounded(pricer.handler, pricer.quotes, pricer.markets, pricer.prices, pricer.details)


async def test_the_balances_of_preflight_are_those_of_late() -> None:
    chain = FakeChain()
    balances = ChainBalances(
        chain, ForgetfulCache(), now=Clock(NOON), max_age=MAX_AGE, max_accounts=100
    )
    intent = an_intent()
    for first in range(0, KEYS, 500):
        chain.requests.clear()
        await asyncio.gather(
            *(
                balances.fetch_balance(
                    intent.model_copy(update={"proxy": f"0x{number:040x}"}),
                    neg_risk=False,
                    fresh=False,
                )
                for number in range(first, first + 500)
            )
        )
    await asyncio.sleep(0)

    require_bounded(balances)


def held_tokens(numbers: range) -> list[tuple[HeldToken, Reading]]:
    base = Base(leader_shares=1, block_number=1, accounted_at=NOON)
    reading = Reading(block_number=2, block_at=NOON, leader_shares=0, mined_in={})
    follow: Follow = a_follow()
    return [
        (
            HeldToken(
                follow=follow,
                token_id=str(number),
                leader_token_id=str(number),
                shares=1,
                is_under_way=False,
                base=base,
            ),
            reading,
        )
        for number in numbers
    ]


async def test_what_preflight_knows_of_levels_is_of_its_last_round() -> None:
    without_database: Any = None
    copies = LevelCopies(without_database, now=Clock(NOON))
    intent = an_intent()
    pending = PendingDifference(base_block_number=1, accounted_at=NOON, shares=1, since=NOON)
    for first in range(0, KEYS, 500):
        compared = [
            (
                held,
                reading,
                IntendCopy(intent=intent) if number % 2 else Wait(pending=pending, until=NOON),
            )
            for number, (held, reading) in enumerate(held_tokens(range(first, first + 500)))
        ]
        await copies.act(compared, publish_nowhere)

    require_bounded(copies)


@dataclass
class PassingOrders:
    """Other orders are open at each poll: some are matched, some have lost their answer."""

    polls: int = 0

    def list_open(self) -> list[Order]:
        first = 500 * self.polls
        self.polls += 1
        return [
            numbered_order(
                number,
                proxy=f"0x{number:040x}",
                state=OrderState.UNKNOWN if number % 2 else OrderState.MATCHED,
            )
            for number in range(first, first + 500)
        ]


class AnsweringVenue:
    """Each wallet has a trade, and a row that cannot be read."""

    async def fetch_trades(
        self, proxy: str, orders: Sequence[Order], *, priority: Priority
    ) -> WalletTrades:
        order = orders[0]
        trade = a_trade().model_copy(
            update={"order_hash": order.order_hash, "trade_id": proxy, "intent_id": order.intent_id}
        )
        row = UnreadableRow(order_hash=order.order_hash, reason="unreadable", row={"id": proxy})
        return WalletTrades(reports=(trade,), unreadable=(row,))


async def test_what_executor_knows_of_orders_is_of_those_that_are_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unreadable_rows, "ROWS_REMEMBERED", 100)
    orders: Any = PassingOrders()
    venue: Any = AnsweringVenue()
    clock = Clock(NOON + seconds(3600))
    feed = VenueFeed(
        orders,
        venue,
        owns=lambda _: True,
        now=clock,
        poll_interval=seconds(0),
        fills_within=seconds(0),
        overdue_after=seconds(1),
        verify_for=seconds(4),
        max_wallets_per_poll=500,
    )
    for _ in range(KEYS // 500):
        await feed._poll(publish_nowhere)

    require_bounded(feed)


async def test_the_activity_feed_remembers_the_rows_of_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activity_feed, "ROWS_REMEMBERED", 100)

    class EndlessChannel(FakeChannel):
        async def frames(self) -> AsyncIterator[str | None]:
            yield None
            for number in range(KEYS):
                yield json.dumps(an_envelope(transactionHash=f"0x{number:064x}"))

    channel = EndlessChannel()
    feed = ActivityFeed(channel, leaders=lambda: {LEADER}, now=lambda: NOON)

    await feed(publish_nowhere)

    require_bounded(feed)


async def test_the_message_loop_holds_the_keys_that_have_messages_waiting() -> None:
    handled: list[int] = []

    async def process(delivery: Delivery) -> None:
        await asyncio.sleep(0)
        delivery.assignment.finish(delivery.record.offset)
        handled.append(delivery.record.offset)

    queues = KeyQueues(process, lambda _, error: None)
    assignment = PartitionAssignment(TopicPartition("intents", 0))
    for offset in range(KEYS):
        assignment.add(offset)
        key = str(offset).encode()
        queues.put(Delivery(assignment, FakeRecord("intents", 0, offset, 0, key, b"", [])))
        if offset % 500 == 0:
            await eventually(lambda: len(handled) > offset)  # noqa: B023 - called at once
    await eventually(lambda: len(handled) == KEYS)
    await asyncio.sleep(0)

    require_bounded(queues, assignment)


async def test_batches_hold_the_messages_that_wait_for_the_next_one() -> None:
    async def on_tasks(batch: Sequence[Received[Task]]) -> Sequence[Outcome]:
        return [()] * len(batch)

    finished: list[int] = []
    process: Any = None
    queues = KeyQueues(process, process, lambda delivery: batches.gather(delivery))
    batches = Batches(
        "service",
        {Task: on_tasks},
        keys=queues,
        producer=FakeProducer(acknowledges=True, on_publish=lambda _: None),
        blocked_keys=BlockedKeys(MemoryDeadLetters(), "service"),
        on_finished=lambda delivery: finished.append(delivery.record.offset),
        on_failed=process,
        clock=lambda: 0,
    )
    kafka, assignment = FakeKafka(Task.topic, 1), PartitionAssignment(TopicPartition(Task.topic, 0))
    for offset in range(KEYS):
        queues.put(Delivery(assignment, kafka.append(0, a_task(f"key-{offset}", offset))))
        if offset % 500 == 0:
            await eventually(lambda: len(finished) > offset)  # noqa: B023 - called at once
    await eventually(lambda: len(finished) == KEYS)

    require_bounded(queues, batches, assignment)


async def test_parts_that_calls_share_hold_the_calls_under_way() -> None:
    async def fetch(key: int) -> int:
        return key

    async def write(rows: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        return rows

    flights, group = SingleFlight(fetch), GroupCommit(write)
    for first in range(0, KEYS, 500):
        numbers = range(first, first + 500)
        await asyncio.gather(*map(flights, numbers), *map(group, numbers))
    await asyncio.sleep(0)

    require_bounded(flights, group)


def test_the_partitioner_and_the_limit_of_dead_letters_forget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partitioning, "MAX_CACHED_HASHES", 100)
    partitioner, limit = Partitioner(), DeadLetterLimit(limit=20, window_s=60)
    for number in range(KEYS):
        partitioner.partition(str(number).encode(), 64)
        limit.count(now=10.0 * number)

    require_bounded(partitioner, limit)


def test_a_label_that_takes_every_id_makes_no_more_series_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instruments, "MAX_LABEL_SETS", 100)
    # A registry of its own: a metric that this test adds to the served one would be one too many
    # for each later test of the same process.
    registry = CollectorRegistry()
    monkeypatch.setattr(instruments, "REGISTRY", registry)
    metric = instruments.counter(
        "slipstream_test_of_bounds",
        "Nothing: a test",
        subject=instruments.Subject.PROCESS,
        labels=(instruments.Label(name="token", values="any"),),
    )
    for number in range(KEYS):
        metric.labels(str(number)).inc()

    require_bounded(metric)
    assert sum(len(each.samples) for each in registry.collect()) <= 3 * 101


def test_a_cache_table_evicts_what_was_first_written_the_longest_ago() -> None:
    store = SimpleNamespace(data={}, _key_partition={})
    for number in range(KEYS):
        store.data[number], store._key_partition[number] = b"entry", 0
        if number % 500 == 0:
            evict_oldest(store, keep=100)
    evict_oldest(store, keep=100)

    newest = list(range(KEYS - 100, KEYS))
    assert (list(store.data), list(store._key_partition)) == (newest, newest)
