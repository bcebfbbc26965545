"""One holder per partition, and an old token that can do nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiokafka import TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, open_engine
from shared.db.leases import Leases, NotLeaseHolder, Superseded
from shared.db.settings import DatabaseSettings
from shared.streams.partitioning import Ownership
from shared.testing.waiting import eventually

pytestmark = pytest.mark.integration

TOPIC, PARTITIONS = "approved-intents", 4
KEY = "0xProxy"


class Monotonic:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(DatabaseSettings.model_validate({"url": migrated_database_url}))
    yield engine
    await engine.dispose()


def owning(*partitions: int) -> Ownership:
    ownership = Ownership()
    assign(ownership, *partitions)
    return ownership


def assign(ownership: Ownership, *partitions: int) -> None:
    ownership.assign(
        [TopicPartition(TOPIC, number) for number in partitions], count_by_topic={TOPIC: PARTITIONS}
    )


def leases(
    engine: AsyncEngine,
    ownership: Ownership,
    holder: str,
    *,
    lasts: float = 60,
    clock: Monotonic | None = None,
) -> Leases:
    return Leases(
        engine,
        ownership,
        service="executor",
        topic=TOPIC,
        holder=holder,
        duration=timedelta(seconds=lasts),
        clock=clock or Monotonic(),
    )


async def test_the_instance_that_has_a_partition_gets_its_lease(engine: AsyncEngine) -> None:
    mine = leases(engine, owning(*range(PARTITIONS)), "a")
    assert not mine.is_ready
    with pytest.raises(NotLeaseHolder):
        mine.lease_for(KEY)

    await mine.refresh()

    assert mine.is_ready
    assert mine.lease_for(KEY).token == 1


async def test_another_gets_it_only_when_it_has_run_out_or_was_given_back(
    engine: AsyncEngine,
) -> None:
    ownership = owning(*range(PARTITIONS))
    first, second = leases(engine, ownership, "a"), leases(engine, owning(*range(PARTITIONS)), "b")
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


async def test_a_lease_that_ran_out_goes_to_another_and_the_zombie_loses_it(
    engine: AsyncEngine,
) -> None:
    clock = Monotonic()
    zombie = leases(engine, owning(*range(PARTITIONS)), "a", lasts=0.2, clock=clock)
    await zombie.refresh()
    token = zombie.lease_for(KEY).token
    successor = leases(engine, owning(*range(PARTITIONS)), "b")

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


async def test_while_the_clock_has_not_passed_its_end_a_lease_is_renewed(
    engine: AsyncEngine,
) -> None:
    clock = Monotonic()
    mine = leases(engine, owning(*range(PARTITIONS)), "a", clock=clock)
    await mine.refresh()
    clock.now += 59
    await mine.refresh()
    clock.now += 59

    assert mine.lease_for(KEY).token == 1
    clock.now += 1
    with pytest.raises(NotLeaseHolder):
        mine.lease_for(KEY)


async def test_the_same_instance_after_a_restart_takes_its_leases_at_once_with_new_tokens(
    engine: AsyncEngine,
) -> None:
    await leases(engine, owning(*range(PARTITIONS)), "executor-0").refresh()
    restarted = leases(engine, owning(*range(PARTITIONS)), "executor-0")

    await restarted.refresh()

    assert restarted.lease_for(KEY).token == 2


async def test_a_partition_that_is_being_handed_over_stays_leased_until_what_runs_has_written(
    engine: AsyncEngine,
) -> None:
    ownership = owning(*range(PARTITIONS))
    mine = leases(engine, ownership, "a")
    await mine.refresh()

    ownership.revoke()
    await mine.refresh()

    assert mine.lease_for(KEY).token == 1


async def test_leases_are_kept_by_themselves_and_given_back_at_the_end(engine: AsyncEngine) -> None:
    ownership = Ownership()
    async with Leases(
        engine,
        ownership,
        service="executor",
        topic=TOPIC,
        holder="a",
        duration=timedelta(seconds=60),
    ) as mine:
        keeping = asyncio.create_task(mine(None))
        assign(ownership, *range(PARTITIONS))
        await eventually(lambda: mine.is_ready)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    async with autocommit(engine) as connection:
        (open_ones,) = await fetch_rows(
            connection,
            "select count(*) as n from control.leases where expires_at > clock_timestamp()",
        )
    assert open_ones.n == 0


async def test_many_who_want_the_same_partitions_at_once_leave_one_holder_each(
    engine: AsyncEngine,
) -> None:
    rivals = [leases(engine, owning(*range(PARTITIONS)), f"rival-{number}") for number in range(5)]

    await asyncio.gather(*(rival.refresh() for rival in rivals))

    async with autocommit(engine) as connection:
        held = await fetch_rows(connection, "select partition, holder from control.leases")
    assert len(held) == PARTITIONS
    for row in held:
        assert [row.partition in rival._held for rival in rivals].count(True) == 1


async def test_a_zombie_whose_namesake_took_over_ends_instead_of_taking_its_leases_back(
    engine: AsyncEngine,
) -> None:
    zombie = leases(engine, owning(*range(PARTITIONS)), "executor-0")
    await zombie.refresh()
    restarted = leases(engine, owning(*range(PARTITIONS)), "executor-0")
    await restarted.refresh()

    with pytest.raises(Superseded):
        await zombie.refresh()

    await restarted.refresh()
    assert restarted.lease_for(KEY).token == 2


async def test_a_partition_is_leased_as_soon_as_it_is_assigned_however_long_leases_last(
    engine: AsyncEngine,
) -> None:
    ownership, clock = Ownership(), Monotonic()
    async with leases(engine, ownership, "a", lasts=36_000, clock=clock) as mine:
        keeping = asyncio.create_task(mine(None))
        await eventually(lambda: clock.asked > 2, what="it has looked, and found nothing to lease")

        assign(ownership, *range(PARTITIONS))

        await eventually(lambda: len(mine.held) == PARTITIONS)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
