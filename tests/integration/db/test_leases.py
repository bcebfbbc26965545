"""A partition has one lease holder, and a lease that was lost is not valid any more."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiokafka import TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, open_engine
from shared.db.leases import Leases, NotLeaseHolder, Superseded
from shared.streams.partitioning import Ownership
from shared.testing.waiting import eventually
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

TOPIC, PARTITIONS = "approved-intents", 4
KEY = "0xProxy"


class Monotonic:
    """A clock in seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


def build_ownership(*partitions: int) -> Ownership:
    ownership = Ownership()
    assign(ownership, *partitions)
    return ownership


def assign(ownership: Ownership, *partitions: int) -> None:
    ownership.assign(
        [TopicPartition(TOPIC, number) for number in partitions], count_by_topic={TOPIC: PARTITIONS}
    )


def build_leases(
    engine: AsyncEngine,
    ownership: Ownership,
    holder: str,
    *,
    duration: float = 60,
    clock: Monotonic | None = None,
) -> Leases:
    return Leases(
        engine,
        ownership,
        service="executor",
        topic=TOPIC,
        holder=holder,
        duration=timedelta(seconds=duration),
        clock=clock or Monotonic(),
    )


async def test_the_instance_that_owns_a_partition_gets_its_lease(engine: AsyncEngine) -> None:
    held = build_leases(engine, build_ownership(*range(PARTITIONS)), "a")
    assert not held.is_ready
    with pytest.raises(NotLeaseHolder):
        held.lease_for(KEY)

    await held.refresh()

    assert held.is_ready
    assert held.lease_for(KEY).token == 1


async def test_another_instance_gets_a_lease_only_after_it_expired_or_was_released(
    engine: AsyncEngine,
) -> None:
    ownership = build_ownership(*range(PARTITIONS))
    first, second = (
        build_leases(engine, ownership, "a"),
        build_leases(engine, build_ownership(*range(PARTITIONS)), "b"),
    )
    await first.refresh()

    await second.refresh()
    with pytest.raises(NotLeaseHolder):
        second.lease_for(KEY)

    left = ownership.partition(KEY.encode(), TOPIC)
    assign(ownership, *(number for number in range(PARTITIONS) if number != left))
    await first.refresh()
    await second.refresh()

    assert second.lease_for(KEY).token == 2
    with pytest.raises(NotLeaseHolder):
        first.lease_for(KEY)


async def test_an_expired_lease_goes_to_another_instance_and_the_zombie_loses_it(
    engine: AsyncEngine,
) -> None:
    clock = Monotonic()
    zombie = build_leases(
        engine, build_ownership(*range(PARTITIONS)), "a", duration=0.2, clock=clock
    )
    await zombie.refresh()
    token = zombie.lease_for(KEY).token
    successor = build_leases(engine, build_ownership(*range(PARTITIONS)), "b")

    async def taken() -> bool:
        await successor.refresh()
        return successor.is_ready

    await eventually(taken)
    clock.now += 0.3

    with pytest.raises(NotLeaseHolder):
        zombie.lease_for(KEY)
    await zombie.refresh()
    with pytest.raises(NotLeaseHolder):
        zombie.lease_for(KEY)
    assert successor.lease_for(KEY).token == token + 1


async def test_a_lease_is_renewed_before_it_expires(
    engine: AsyncEngine,
) -> None:
    clock = Monotonic()
    held = build_leases(engine, build_ownership(*range(PARTITIONS)), "a", clock=clock)
    await held.refresh()
    clock.now += 59
    await held.refresh()
    clock.now += 59

    assert held.lease_for(KEY).token == 1
    clock.now += 1
    with pytest.raises(NotLeaseHolder):
        held.lease_for(KEY)


async def test_a_restarted_instance_acquires_its_leases_at_once_with_new_tokens(
    engine: AsyncEngine,
) -> None:
    await build_leases(engine, build_ownership(*range(PARTITIONS)), "executor-0").refresh()
    restarted = build_leases(engine, build_ownership(*range(PARTITIONS)), "executor-0")

    await restarted.refresh()

    assert restarted.lease_for(KEY).token == 2


async def test_during_a_rebalance_leases_are_kept_for_running_handlers(
    engine: AsyncEngine,
) -> None:
    ownership = build_ownership(*range(PARTITIONS))
    held = build_leases(engine, ownership, "a")
    await held.refresh()

    ownership.revoke()
    await held.refresh()

    assert held.lease_for(KEY).token == 1


async def test_an_instance_that_is_left_without_partitions_releases_its_leases(
    engine: AsyncEngine,
) -> None:
    ownership = build_ownership(0, 1)
    leases = build_leases(engine, ownership, "a")
    await leases.refresh()

    ownership.revoke()
    assign(ownership)
    await leases.refresh()

    assert leases.held == ()
    other = build_leases(engine, build_ownership(0, 1), "b")
    await other.refresh()
    assert other.is_ready


async def test_leases_are_renewed_by_the_feed_and_released_at_the_end(engine: AsyncEngine) -> None:
    ownership = Ownership()
    async with Leases(
        engine,
        ownership,
        service="executor",
        topic=TOPIC,
        holder="a",
        duration=timedelta(seconds=60),
    ) as held:
        keeping = asyncio.create_task(held(None))
        assign(ownership, *range(PARTITIONS))
        await eventually(lambda: held.is_ready)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    async with autocommit(engine) as connection:
        (unexpired,) = await fetch_rows(
            connection,
            "select count(*) as n from control.leases where expires_at > clock_timestamp()",
        )
    assert unexpired.n == 0


async def test_concurrent_requests_for_the_same_partitions_leave_one_holder_each(
    engine: AsyncEngine,
) -> None:
    rivals = [
        build_leases(engine, build_ownership(*range(PARTITIONS)), f"rival-{number}")
        for number in range(5)
    ]

    await asyncio.gather(*(rival.refresh() for rival in rivals))

    async with autocommit(engine) as connection:
        rows = await fetch_rows(connection, "select partition, holder from control.leases")
    assert len(rows) == PARTITIONS
    for row in rows:
        assert [row.partition in rival._held for rival in rivals].count(True) == 1


async def test_a_zombie_whose_successor_has_the_same_name_ends_instead_of_acquiring_again(
    engine: AsyncEngine,
) -> None:
    zombie = build_leases(engine, build_ownership(*range(PARTITIONS)), "executor-0")
    await zombie.refresh()
    restarted = build_leases(engine, build_ownership(*range(PARTITIONS)), "executor-0")
    await restarted.refresh()

    with pytest.raises(Superseded):
        await zombie.refresh()

    await restarted.refresh()
    assert restarted.lease_for(KEY).token == 2


async def test_a_partition_is_leased_as_soon_as_it_is_assigned_whatever_the_duration(
    engine: AsyncEngine,
) -> None:
    ownership, clock = Ownership(), Monotonic()
    async with build_leases(engine, ownership, "a", duration=36_000, clock=clock) as held:
        keeping = asyncio.create_task(held(None))
        await eventually(lambda: clock.reads > 2, what="a check that found nothing to lease")

        assign(ownership, *range(PARTITIONS))

        await eventually(lambda: len(held.held) == PARTITIONS)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
