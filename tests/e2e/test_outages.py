"""Kafka's and the database's own failures, on three brokers: nothing is lost or doubled, and
readiness tells the truth meanwhile.

Leaders trade before, during and after each outage. No service is restarted: each must get over it
by itself.
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
from shared.messages.intents import IntentApproved, Refusal
from shared.messages.orders import FINAL_STATES, OrderState
from shared.streams.partitioning import Partitioner
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, deployed
from tests.system.story import PATIENCE, SETTLED, LeaderTrade, Story
from tools.pipeline.parts import SERVICES
from tools.stack.background import BackgroundCluster, BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ENVIRONMENT = {
    # a copy that waited for an outage's end is to be made here, not to be refused for its age,
    "PREFLIGHT_MAX_QUOTE_AGE": "PT120S",
    "PREFLIGHT_MAX_ENTRY_AGE": "PT120S",  # on a busy machine too
    # the place of an instance that was stopped is given up soon,
    "KAFKA_SESSION_TIMEOUT_MS": "6000",
    "EXECUTOR_LEASE_LASTS": "PT4S",  # and its leases before
}
NEED_THE_DATABASE = [name for name in SERVICES if name != "pricer"]
"""To the pricer it is only a place for what cannot be read."""
KAFKA_IS_AWAY = ("Kafka does not answer", "no partitions assigned")
DATABASE_IS_AWAY = ("controls has not recovered", "the database has not recovered")
TRADE_EVERY_S = 0.7
TOO_LATE = {Refusal.TRADE_TOO_OLD.value, Refusal.QUOTE_TOO_OLD.value}
TOO_LATE_TO_SIGN = "its time was over when it was to be signed"
STALL, MOMENT = timedelta(seconds=2), timedelta(milliseconds=200)
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
        deployed(folder, background, circles=7, brokers=3, environment=ENVIRONMENT, durable=True)
    ) as deployment:
        yield deployment


@pytest.fixture(autouse=True)
async def all_is_well_again(deployment: Deployment) -> AsyncIterator[None]:
    """Before and after each story: all brokers run, every service is the process that it was, and
    is ready.
    """
    await become_ready(deployment)
    pids = {name: deployment.pipeline.running[name].pid for name in SERVICES}
    yield
    await asyncio.gather(deployment.restore_postgres(), asyncio.to_thread(deployment.kafka.restore))
    await become_ready(deployment)
    assert {
        name: running.pid
        for name, running in deployment.pipeline.running.items()
        if name in SERVICES and running.is_alive
    } == pids


async def test_a_broker_that_is_killed_and_comes_back_under_load_costs_no_copy(
    story: Story,
) -> None:
    kafka = story.deployment.kafka
    async with leaders_trade(story) as trades:
        await all_copied(story, trades[:])
        await kafka.kill(kafka.brokers[0])
        await all_copied(story, [await one_more(trades)])
        await become_ready(story.deployment)
        await kafka.restart(kafka.brokers[0])
        await one_more(trades)

    await nothing_is_lost_or_doubled(story, trades)


async def test_the_leader_of_a_partition_of_approved_intents_is_lost_and_the_copies_go_on_by_another(
    story: Story,
) -> None:
    lost = await leader_of_approved_intents(story)
    async with leaders_trade(story) as trades:
        await all_copied(story, trades[:])
        await story.deployment.kafka.kill(lost)
        await one_more(trades)
        await eventually(
            lambda: _is_led_by_another(story, lost), within=PATIENCE, what="another leader"
        )
        await all_copied(story, [await one_more(trades)])
        await become_ready(story.deployment)

    await nothing_is_lost_or_doubled(story, trades)


async def test_second_instances_of_every_service_come_and_go_and_no_copy_is_lost_or_made_twice(
    story: Story,
) -> None:
    """Each is a new member, whose place is kept for the length of a session after it left; the
    second time they leave as by a power cut.
    """
    deployment = story.deployment
    async with leaders_trade(story, every_s=2) as trades:
        for instance, leave in ((1, deployment.stop), (2, deployment.kill)):
            seconds = [f"{name}-{instance}" for name in SERVICES]
            await deployment.start_together(*SERVICES, instance=instance)
            await become_ready(
                deployment, *SERVICES, *seconds
            )  # all at once: each holds partitions, as the others do
            await one_more(trades)
            await asyncio.gather(*(leave(name) for name in seconds))
        await become_ready(deployment)
        await all_copied(story, [await one_more(trades)])

    await nothing_is_lost_or_doubled(story, trades)


async def test_while_postgres_is_away_those_who_need_it_say_so_and_afterwards_all_copies_are_made(
    story: Story,
) -> None:
    async with leaders_trade(story) as trades:
        await all_copied(story, trades[:])
        await story.deployment.stop_postgres()
        await say_that_they_are_not_ready(
            story.deployment, NEED_THE_DATABASE, because=DATABASE_IS_AWAY
        )
        await one_more(trades)
        await postgres_comes_back(story)
        await all_copied(story, [await one_more(trades)])

    await nothing_is_lost_or_doubled(story, trades)


async def test_kafka_and_postgres_may_both_be_away_at_once(story: Story) -> None:
    kafka = story.deployment.kafka
    async with leaders_trade(story) as trades:
        await all_copied(story, trades[:])
        await asyncio.gather(
            story.deployment.stop_postgres(), *(kafka.kill(broker) for broker in kafka.brokers)
        )
        await say_that_they_are_not_ready(story.deployment, SERVICES, because=KAFKA_IS_AWAY)
        await say_that_they_are_not_ready(
            story.deployment, NEED_THE_DATABASE, because=DATABASE_IS_AWAY
        )
        await one_more(trades)
        await asyncio.gather(postgres_comes_back(story), asyncio.to_thread(kafka.restore))
        await become_ready(story.deployment)
        await all_copied(story, [await one_more(trades)])

    await nothing_is_lost_or_doubled(story, trades)


async def test_on_slow_disks_copies_take_longer_and_none_is_lost_or_made_twice(
    story: Story,
) -> None:
    """PostgreSQL's own ``commit_delay`` sleeps where it is about to wait for its disk, and what
    waits behind it waits too: each flush takes a tenth of a second longer. Kafka has no such
    setting: each broker in turn stands still for a moment, again and again, as while its disk is
    busy. So latency is played, not absence; no real disk is slowed down.
    """
    async with leaders_trade(story, every_s=2) as trades, slow_commits(story):
        await stand_still_in_turn(story.deployment.kafka, throughout=timedelta(seconds=20))
        await become_ready(story.deployment)
        await all_copied(story, [await one_more(trades)])

    await nothing_is_lost_or_doubled(story, trades)


async def test_a_broker_that_stalls_again_and_again_holds_up_copies_and_loses_none(
    story: Story,
) -> None:
    """It stands still for seconds and its connections stay open, as with a disk that does not
    answer; no real disk is slowed down.
    """
    kafka, stalled = story.deployment.kafka, await leader_of_approved_intents(story)
    async with leaders_trade(story) as trades:
        await all_copied(story, trades[:])
        for _ in range(4):
            await kafka.freeze(stalled)
            try:
                await one_more(trades)
                await for_as_long_as(STALL)
            finally:
                await kafka.resume(stalled)
            await one_more(trades)
        await become_ready(story.deployment)
        await all_copied(story, [await one_more(trades)])

    await nothing_is_lost_or_doubled(story, trades)


@asynccontextmanager
async def leaders_trade(story: Story, *, every_s: float = TRADE_EVERY_S) -> AsyncIterator[Trades]:
    """The circle's leader goes on buying; the list grows, and has its first trade at once."""
    trades: Trades = [await story.trades(Side.BUY, "20")]
    over = asyncio.Event()

    async def go_on() -> None:
        while not over.is_set():
            trades.append(await story.trades(Side.BUY, "20"))
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), every_s)

    trading = asyncio.create_task(go_on())
    try:
        yield trades
    finally:
        over.set()
        await trading


async def one_more(trades: Trades) -> LeaderTrade:
    """Waits for a trade that begins after this."""
    seen = len(trades)
    await eventually(lambda: len(trades) > seen + 1, within=PATIENCE, what="the leader trades")
    return trades[seen + 1]


async def all_copied(story: Story, trades: Sequence[LeaderTrade]) -> None:
    for trade in trades:
        assert set(await ends_of(story, trade)) == {OrderState.CONFIRMED.value}


async def nothing_is_lost_or_doubled(story: Story, trades: Sequence[LeaderTrade]) -> None:
    """Every copy is confirmed, or was refused or withdrawn as too late; the venue and the chain
    have the confirmed ones and no more.
    """
    outcomes = [outcome for trade in trades for outcome in await ends_of(story, trade)]

    assert len(outcomes) == len(trades) * len(story.group.followers)
    assert set(outcomes) <= {OrderState.CONFIRMED.value, TOO_LATE_TO_SIGN, *TOO_LATE}
    await story.assert_the_venue_has_one_order_for_each_confirmed_one()
    await story.assert_books_equal_the_chain(story.tokens[0])


async def ends_of(story: Story, trade: LeaderTrade) -> list[str]:
    """Waits until every follower's copy has come to its end: its order's last state, or why there
    is none.
    """

    async def all_of_them() -> list[str]:
        orders, verdicts = await story.orders(trade), await story.verdicts(trade)
        settled = await story.rows(SETTLED, ids=[order.intent_id for order in orders.values()])
        ends = [
            order.reason or order.state for order in orders.values() if order.state in FINAL_STATES
        ]
        ends += [
            verdict.reason
            for proxy, verdict in verdicts.items()
            if verdict.state == "refused" and proxy not in orders
        ]
        done = len(ends) == len(story.group.followers) and all(
            each.chain_state == "final" for each in settled
        )
        return ends if done else []

    found: list[str] = await eventually(
        all_of_them, within=2 * PATIENCE, what=f"the end of each copy of {trade.transaction_hash}"
    )
    return found


async def become_ready(deployment: Deployment, *names: str) -> None:
    """All services, or these instances."""
    for name in names or SERVICES:
        await eventually(
            partial(_is_ready, deployment, name), within=PATIENCE, what=f"{name} ready"
        )


async def _is_ready(deployment: Deployment, name: str) -> bool:
    try:
        return not await deployment.reasons_against("ready", name)
    except TimeoutError:  # on a machine that has other things to do
        return False


async def say_that_they_are_not_ready(
    deployment: Deployment, names: Collection[str], *, because: Sequence[str]
) -> None:
    """And that they live: to restart them would not help."""
    for name in names:
        await eventually(
            partial(_says, deployment, name, because),
            within=PATIENCE,
            what=f"{name} not ready: {because}",
        )
    assert {name: await deployment.reasons_against("live", name) for name in SERVICES} == {
        name: [] for name in SERVICES
    }


async def _says(deployment: Deployment, name: str, because: Sequence[str]) -> bool:
    return any(
        words in reason
        for reason in await deployment.reasons_against("ready", name)
        for words in because
    )


async def postgres_comes_back(story: Story) -> None:
    """And the story's own sessions, which ended with it, are begun anew."""
    await story.deployment.restore_postgres()
    await story.engine.dispose()


async def leader_of_approved_intents(story: Story) -> int:
    """Of the partition on which the first follower's approved intents are."""
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


async def _is_led_by_another(story: Story, lost: int) -> bool:
    try:
        return await leader_of_approved_intents(story) not in (lost, -1)
    except KafkaError:  # the broker that was asked may be the lost one
        return False


@asynccontextmanager
async def slow_commits(story: Story) -> AsyncIterator[None]:
    """Every commit that waits for the disk waits longer, whoever makes it."""
    await configure(
        story, "alter system set commit_delay = 100000", "alter system set commit_siblings = 0"
    )
    try:
        await eventually(
            partial(_commits_slowly, story), within=PATIENCE, what="the database flushes slowly"
        )
        yield
    finally:
        await configure(
            story, "alter system reset commit_delay", "alter system reset commit_siblings"
        )


async def _commits_slowly(story: Story) -> bool:
    """Without a disk to wait for, nothing would sleep before it."""
    settings = await story.rows(
        "select name, setting from pg_settings where name = any(:names)", names=list(SLOW_COMMITS)
    )
    return {each.name: each.setting for each in settings} == SLOW_COMMITS


async def configure(story: Story, *changes: str) -> None:
    """Of the server, while it runs."""
    async with story.engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for change in (*changes, "select pg_reload_conf()"):
            await alone.execute(text(change))


async def stand_still_in_turn(kafka: BackgroundCluster, *, throughout: timedelta) -> None:
    over = utc_now() + throughout
    for broker in cycle(kafka.brokers):
        if utc_now() >= over:
            return
        await kafka.freeze(broker)
        try:
            await for_as_long_as(MOMENT)
        finally:
            await kafka.resume(broker)
        await for_as_long_as(MOMENT)


async def for_as_long_as(time: timedelta) -> None:
    """What is waited for is the stall itself."""
    over = utc_now() + time
    await eventually(lambda: utc_now() >= over, within=PATIENCE, what="the end of the stall")
