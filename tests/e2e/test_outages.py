"""Outages of Kafka, with three brokers, and of PostgreSQL: no copy is lost or made twice, and the
services' readiness is right meanwhile.

Leaders trade before, during and after each outage. No service is restarted.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import cycle

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from sqlalchemy import text

from shared.clock import utc_now
from shared.domain.money import Side
from shared.messages.intents import IntentApproved
from shared.messages.orders import FINAL_STATES, OrderState
from shared.messages.refusals import Refusal
from shared.streams.partitioning import Partitioner
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import LOAD_TRADES, TIMEOUT_S, LeaderTrade, Story
from tools.pipeline.parts import SERVICES
from tools.stack.background import BackgroundCluster, BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ENVIRONMENT = {
    # A copy that waited for the end of an outage must not be refused for its age.
    "PREFLIGHT_MAX_QUOTE_AGE": "PT120S",
    "PREFLIGHT_MAX_ENTRY_AGE": "PT120S",
    # A stopped instance soon loses its partitions, and its leases before that.
    "KAFKA_SESSION_TIMEOUT_MS": "6000",
    "EXECUTOR_LEASE_DURATION": "PT4S",
}
DATABASE_SERVICES = [name for name in SERVICES if name != "pricer"]
"""The pricer uses the database for dead letters alone."""
KAFKA_REASONS = ("Kafka does not answer", "no partitions assigned")
DATABASE_REASONS = ("controls is not ready yet", "the database is not ready yet")
TRADE_INTERVAL_S = 0.7
AGE_REFUSALS = {Refusal.TRADE_TOO_OLD.value, Refusal.QUOTE_TOO_OLD.value}
EXPIRED_REASON = "the intent expired before the order was signed"
LONG_STALL, SHORT_STALL = timedelta(seconds=2), timedelta(milliseconds=200)
SLOW_COMMITS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "commit_delay": "100000",
    "commit_siblings": "0",
}

Trades = list[LeaderTrade]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("outages")
    with background.entered(
        running_deployment(
            folder, background, follow_groups=7, brokers=3, environment=ENVIRONMENT, durable=True
        )
    ) as deployment:
        yield deployment


@pytest.fixture(autouse=True)
async def everything_runs(deployment: Deployment) -> AsyncIterator[None]:
    """Before and after each test all brokers run and every service is ready. Every service is still
    the same process afterwards.
    """
    await wait_until_ready(deployment)
    pids = {name: deployment.pipeline.running[name].pid for name in SERVICES}
    yield
    await asyncio.gather(deployment.restore_postgres(), asyncio.to_thread(deployment.kafka.restore))
    await wait_until_ready(deployment)
    assert {
        name: running.pid
        for name, running in deployment.pipeline.running.items()
        if name in SERVICES and running.is_alive
    } == pids


async def test_a_broker_that_is_killed_and_restarted_under_load_costs_no_copy(story: Story) -> None:
    kafka = story.deployment.kafka
    async with trading(story) as trades:
        await assert_all_copied(story, trades[:])
        await kafka.kill(kafka.brokers[0])
        await assert_all_copied(story, [await next_trade(trades)])
        await wait_until_ready(story.deployment)
        await kafka.restart(kafka.brokers[0])
        await next_trade(trades)

    await assert_none_lost_or_repeated(story, trades)


async def test_after_the_loss_of_a_partition_leader_the_copies_go_on(story: Story) -> None:
    killed = await fetch_partition_leader(story)
    async with trading(story) as trades:
        await assert_all_copied(story, trades[:])
        await story.deployment.kafka.kill(killed)
        await next_trade(trades)
        await eventually(
            lambda: _has_other_leader(story, killed),
            within=TIMEOUT_S,
            what="another partition leader",
        )
        await assert_all_copied(story, [await next_trade(trades)])
        await wait_until_ready(story.deployment)

    await assert_none_lost_or_repeated(story, trades)


async def test_second_instances_join_and_leave_and_no_copy_is_lost_or_made_twice(
    story: Story,
) -> None:
    """Each is a new member of its group, which Kafka keeps for a session timeout after it left. The
    second time they are killed.
    """
    deployment = story.deployment
    async with trading(story, interval_s=2) as trades:
        for instance, leave in ((1, deployment.stop), (2, deployment.kill)):
            instances = [f"{name}-{instance}" for name in SERVICES]
            await deployment.start_together(*SERVICES, instance=instance)
            # All together: each instance has partitions, and so have the others.
            await wait_until_ready(deployment, *SERVICES, *instances)
            await next_trade(trades)
            await asyncio.gather(*(leave(name) for name in instances))
        await wait_until_ready(deployment)
        await assert_all_copied(story, [await next_trade(trades)])

    await assert_none_lost_or_repeated(story, trades)


async def test_without_postgres_its_services_are_not_ready_and_afterwards_all_copies_are_made(
    story: Story,
) -> None:
    async with trading(story) as trades:
        await assert_all_copied(story, trades[:])
        await story.deployment.stop_postgres()
        await wait_until_not_ready(story.deployment, DATABASE_SERVICES, because=DATABASE_REASONS)
        await next_trade(trades)
        await restore_postgres(story)
        await assert_all_copied(story, [await next_trade(trades)])

    await assert_none_lost_or_repeated(story, trades)


async def test_after_an_outage_of_kafka_and_postgres_together_all_copies_are_made(
    story: Story,
) -> None:
    kafka = story.deployment.kafka
    async with trading(story) as trades:
        await assert_all_copied(story, trades[:])
        await asyncio.gather(
            story.deployment.stop_postgres(), *(kafka.kill(broker) for broker in kafka.brokers)
        )
        await wait_until_not_ready(story.deployment, SERVICES, because=KAFKA_REASONS)
        await wait_until_not_ready(story.deployment, DATABASE_SERVICES, because=DATABASE_REASONS)
        await next_trade(trades)
        await asyncio.gather(restore_postgres(story), asyncio.to_thread(kafka.restore))
        await wait_until_ready(story.deployment)
        await assert_all_copied(story, [await next_trade(trades)])

    await assert_none_lost_or_repeated(story, trades)


async def test_on_slow_disks_no_copy_is_lost_or_made_twice(story: Story) -> None:
    """No real disk is slowed down. PostgreSQL's ``commit_delay`` sleeps before each flush, which
    thus takes a tenth of a second longer. Kafka has no such setting: the brokers are stalled for a
    moment, one after another, as if their disks were busy.
    """
    async with trading(story, interval_s=2) as trades, slow_commits(story):
        await stall_in_turn(story.deployment.kafka, duration=timedelta(seconds=20))
        await wait_until_ready(story.deployment)
        await assert_all_copied(story, [await next_trade(trades)])

    await assert_none_lost_or_repeated(story, trades)


async def test_a_broker_that_stalls_repeatedly_delays_copies_and_loses_none(story: Story) -> None:
    """The broker's process is stopped for seconds, and its connections stay open, as with a disk
    that does not answer.
    """
    kafka, stalled = story.deployment.kafka, await fetch_partition_leader(story)
    async with trading(story) as trades:
        await assert_all_copied(story, trades[:])
        for _ in range(4):
            await kafka.freeze(stalled)
            try:
                await next_trade(trades)
                await wait_for(LONG_STALL)
            finally:
                await kafka.resume(stalled)
            await next_trade(trades)
        await wait_until_ready(story.deployment)
        await assert_all_copied(story, [await next_trade(trades)])

    await assert_none_lost_or_repeated(story, trades)


@asynccontextmanager
async def trading(story: Story, *, interval_s: float = TRADE_INTERVAL_S) -> AsyncIterator[Trades]:
    """The group's leader buys repeatedly. The list grows; it begins with one trade."""
    trades: Trades = [await story.make_leader_trade(Side.BUY, "20")]
    ended = asyncio.Event()

    async def trade_repeatedly() -> None:
        while not ended.is_set():
            trades.append(await story.make_leader_trade(Side.BUY, "20"))
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), interval_s)

    task = asyncio.create_task(trade_repeatedly())
    try:
        yield trades
    finally:
        ended.set()
        await task


async def next_trade(trades: Trades) -> LeaderTrade:
    """Wait for a trade that begins after this call."""
    seen = len(trades)
    await eventually(lambda: len(trades) > seen + 1, within=TIMEOUT_S, what="the leader trades")
    return trades[seen + 1]


async def assert_all_copied(story: Story, trades: Sequence[LeaderTrade]) -> None:
    for trade in trades:
        assert set(await wait_for_outcomes(story, trade)) == {OrderState.CONFIRMED.value}


async def assert_none_lost_or_repeated(story: Story, trades: Sequence[LeaderTrade]) -> None:
    """Every copy is confirmed, or was refused or withdrawn as too old. The venue and the chain have
    the confirmed ones alone.
    """
    outcomes = [outcome for trade in trades for outcome in await wait_for_outcomes(story, trade)]

    assert len(outcomes) == len(trades) * len(story.group.followers)
    assert set(outcomes) <= {OrderState.CONFIRMED.value, EXPIRED_REASON, *AGE_REFUSALS}
    await story.assert_venue_has_one_order_per_confirmed_copy()
    await story.assert_records_equal_the_chain(story.tokens[0])


async def wait_for_outcomes(story: Story, trade: LeaderTrade) -> list[str]:
    """Wait for the outcome of every follower's copy: the reason or the final state of its order, or
    the reason of its refusal.
    """

    async def all_outcomes() -> list[str]:
        orders, verdicts = await story.fetch_orders(trade), await story.fetch_verdicts(trade)
        trades = await story.fetch_rows(
            LOAD_TRADES, ids=[order.intent_id for order in orders.values()]
        )
        outcomes = [
            order.reason or order.state for order in orders.values() if order.state in FINAL_STATES
        ]
        outcomes += [
            verdict.reason
            for proxy, verdict in verdicts.items()
            if verdict.state == "refused" and proxy not in orders
        ]
        done = len(outcomes) == len(story.group.followers) and all(
            each.chain_state == "final" for each in trades
        )
        return outcomes if done else []

    outcomes: list[str] = await eventually(
        all_outcomes,
        within=2 * TIMEOUT_S,
        what=f"the outcome of each copy of {trade.transaction_hash}",
    )
    return outcomes


async def wait_until_ready(deployment: Deployment, *names: str) -> None:
    """Wait for these instances; without names, for all services."""
    for name in names or SERVICES:
        await eventually(
            partial(_is_ready, deployment, name), within=TIMEOUT_S, what=f"{name} ready"
        )


async def _is_ready(deployment: Deployment, name: str) -> bool:
    try:
        return not await deployment.fetch_probe_reasons("ready", name)
    except TimeoutError:  # a busy machine
        return False


async def wait_until_not_ready(
    deployment: Deployment, names: Collection[str], *, because: Sequence[str]
) -> None:
    """All services stay live meanwhile: a restart would not help."""
    for name in names:
        await eventually(
            partial(_gives_reason, deployment, name, because),
            within=TIMEOUT_S,
            what=f"{name} not ready: {because}",
        )
    assert {name: await deployment.fetch_probe_reasons("live", name) for name in SERVICES} == {
        name: [] for name in SERVICES
    }


async def _gives_reason(deployment: Deployment, name: str, because: Sequence[str]) -> bool:
    return any(
        text in reason
        for reason in await deployment.fetch_probe_reasons("ready", name)
        for text in because
    )


async def restore_postgres(story: Story) -> None:
    """Start PostgreSQL again, and drop the story's connections, which ended with it."""
    await story.deployment.restore_postgres()
    await story.engine.dispose()


async def fetch_partition_leader(story: Story) -> int:
    """The broker that leads the partition of the first follower's approved intents."""
    settings = story.deployment.pipeline.kafka_settings()
    number = Partitioner().partition(story.group.followers[0].proxy.encode(), settings.partitions)
    admin = AIOKafkaAdminClient(**settings.client())
    try:
        await admin.start()
        (topic,) = await admin.describe_topics([IntentApproved.topic])
    finally:
        await admin.close()
    assert all(
        len(each["replicas"]) == len(story.deployment.kafka.brokers) for each in topic["partitions"]
    )
    leader: int = next(
        each["leader"] for each in topic["partitions"] if each["partition"] == number
    )
    return leader


async def _has_other_leader(story: Story, killed: int) -> bool:
    try:
        return await fetch_partition_leader(story) not in (killed, -1)
    except KafkaError:  # the bootstrap broker may be the killed one
        return False


@asynccontextmanager
async def slow_commits(story: Story) -> AsyncIterator[None]:
    """Every commit that waits for the disk waits longer."""
    await configure(
        story, "alter system set commit_delay = 100000", "alter system set commit_siblings = 0"
    )
    try:
        await eventually(
            partial(_commits_slowly, story), within=TIMEOUT_S, what="slow flushes of the database"
        )
        yield
    finally:
        await configure(
            story, "alter system reset commit_delay", "alter system reset commit_siblings"
        )


async def _commits_slowly(story: Story) -> bool:
    """``commit_delay`` has no effect unless commits wait for the disk."""
    settings = await story.fetch_rows(
        "select name, setting from pg_settings where name = any(:names)", names=list(SLOW_COMMITS)
    )
    return {each.name: each.setting for each in settings} == SLOW_COMMITS


async def configure(story: Story, *changes: str) -> None:
    """Change settings of the running server."""
    async with story.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for change in (*changes, "select pg_reload_conf()"):
            await autocommit.execute(text(change))


async def stall_in_turn(kafka: BackgroundCluster, *, duration: timedelta) -> None:
    end = utc_now() + duration
    for broker in cycle(kafka.brokers):
        if utc_now() >= end:
            return
        await kafka.freeze(broker)
        try:
            await wait_for(SHORT_STALL)
        finally:
            await kafka.resume(broker)
        await wait_for(SHORT_STALL)


async def wait_for(duration: timedelta) -> None:
    """Wait for the time itself: the stall must last that long."""
    end = utc_now() + duration
    await eventually(lambda: utc_now() >= end, within=TIMEOUT_S, what="the end of the stall")
