"""Every store of the feeds' positions, the fakes and PostgreSQL alike, behaves like this."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters import PostgresLeaderCursors, PostgresPartitionCursors
from services.ingest.adapters.data_feed import LeaderCursors
from services.tx_monitor.adapters import PostgresFillCursors
from shared.chain.block_positions import PartitionCursors
from shared.db.engine import autocommit, fetch_rows, open_engine, transaction
from tests.builders import LEADER, NOON, OTHER_PROXY, seconds
from tests.feeds import FakeLeaderCursors, FakePartitionCursors
from tests.patience import patient_settings

STORES = ["fake", pytest.param("postgres", marks=pytest.mark.integration)]
PARTITION_STORES = [
    "fake",
    *(
        pytest.param(store, marks=pytest.mark.integration)
        for store in (PostgresPartitionCursors, PostgresFillCursors)
    ),
]
SERVICES = ("ingest", "tx-monitor")
COUNT = 4
NEWEST = dict.fromkeys(range(COUNT), 2)
"""The newest token of each partition's lease."""
LOCK_LEASE = """
select 1 from control.leases where service = :service and partition = :partition for update nowait
"""
WAITING = """
select 1 from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and query like '%partition_cursors%'
"""


@asynccontextmanager
async def opened_database(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    """A database with a lease of each partition."""
    url = request.getfixturevalue("migrated_database_url")
    engine = open_engine(patient_settings(url))
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                "insert into control.leases (service, partition, token, holder, expires_at)"
                " values (:service, :partition, :token, 'a', now())"
            ),
            [
                {"service": service, "partition": partition, "token": token}
                for service in SERVICES
                for partition, token in reversed(NEWEST.items())
            ],
        )
    yield engine
    await engine.dispose()


async def is_waiting(engine: AsyncEngine) -> bool:
    """Whether a statement about the positions waits for a lock."""
    async with autocommit(engine) as connection:
        return bool(await fetch_rows(connection, WAITING))


@pytest.fixture(params=PARTITION_STORES)
async def partitions(request: pytest.FixtureRequest) -> AsyncIterator[PartitionCursors]:
    if request.param == "fake":
        yield FakePartitionCursors(NEWEST)
        return
    async with opened_database(request) as engine:
        yield request.param(engine)


@pytest.fixture(params=STORES)
async def upgraded(request: pytest.FixtureRequest) -> AsyncIterator[PartitionCursors]:
    """That of a database of the earlier release, whose single cursor is at block 100."""
    if request.param == "fake":
        yield FakePartitionCursors(NEWEST, single=100)
        return
    async with opened_database(request) as engine:
        async with transaction(engine) as connection:
            await connection.execute(text("insert into ingest.cursors values ('chain', 100)"))
        yield PostgresPartitionCursors(engine)


@pytest.fixture(params=STORES)
async def leaders(request: pytest.FixtureRequest) -> AsyncIterator[LeaderCursors]:
    if request.param == "fake":
        yield FakeLeaderCursors()
        return
    async with opened_database(request) as engine:
        yield PostgresLeaderCursors(engine)


async def test_before_the_first_block_a_partition_has_no_position(
    partitions: PartitionCursors,
) -> None:
    assert await partitions.load([0, 3], count=COUNT) == {0: None, 3: None}


async def test_each_partition_has_its_own_position(partitions: PartitionCursors) -> None:
    await partitions.save([(0, 2), (1, 2)], 10)
    await partitions.save([(1, 2), (2, 2), (3, 2)], 20)

    assert await partitions.load(range(COUNT), count=COUNT) == {0: 10, 1: 20, 2: 20, 3: 20}


async def test_a_position_never_moves_back(partitions: PartitionCursors) -> None:
    await partitions.save([(0, 2)], 10)
    await partitions.save([(0, 2)], 9)

    assert await partitions.load([0], count=COUNT) == {0: 10}


async def test_an_old_lease_moves_no_position_and_stops_no_other(
    partitions: PartitionCursors,
) -> None:
    await partitions.save([(0, 2), (1, 2)], 10)
    await partitions.save([(0, 1), (1, 2), (9, 1)], 20)

    assert await partitions.load([0, 1], count=COUNT) == {0: 10, 1: 20}


async def test_a_partition_that_is_new_begins_where_the_last_one_is(
    partitions: PartitionCursors,
) -> None:
    await partitions.save([(0, 2)], 30)
    await partitions.save([(1, 2)], 10)

    assert await partitions.load([0, 7], count=8) == {0: 30, 7: 10}


async def test_partitions_that_were_never_read_begin_after_the_same_block(
    partitions: PartitionCursors,
) -> None:
    await partitions.save([(1, 2)], 10)
    await partitions.begin(20, count=3)
    await partitions.begin(30, count=3)
    await partitions.begin(40, count=0)

    assert await partitions.load(range(COUNT), count=COUNT) == {0: 20, 1: 10, 2: 20, 3: 10}


async def test_all_partitions_begin_where_the_single_cursor_is(
    upgraded: PartitionCursors,
) -> None:
    assert await upgraded.load([0], count=COUNT) == {0: 100}
    await upgraded.save([(0, 2)], 500)

    assert await upgraded.load(range(COUNT), count=COUNT) == {0: 500, 1: 100, 2: 100, 3: 100}


async def test_the_single_cursor_stays_while_the_number_of_partitions_is_unknown(
    upgraded: PartitionCursors,
) -> None:
    assert await upgraded.load([], count=0) == {}

    assert await upgraded.load([0], count=COUNT) == {0: 100}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("service", "store"),
    [("ingest", PostgresPartitionCursors), ("tx-monitor", PostgresFillCursors)],
)
async def test_the_leases_are_locked_in_the_order_of_their_partitions(
    request: pytest.FixtureRequest, service: str, store: Callable[[AsyncEngine], PartitionCursors]
) -> None:
    """Two that lock them in different orders would wait for each other."""
    async with opened_database(request) as engine:
        cursors = store(engine)
        async with transaction(engine) as first, transaction(engine) as last:
            await first.execute(text(LOCK_LEASE), {"service": service, "partition": min(NEWEST)})
            saving = asyncio.create_task(cursors.save(list(NEWEST.items()), 10))
            while not await is_waiting(engine):
                assert not saving.done()
            await last.execute(text(LOCK_LEASE), {"service": service, "partition": max(NEWEST)})
        await saving

        assert await cursors.load([0], count=COUNT) == {0: 10}


async def test_a_leader_is_known_from_his_first_position_on(leaders: LeaderCursors) -> None:
    assert await leaders.load([LEADER, OTHER_PROXY]) == {}
    await leaders.save({LEADER: NOON})

    assert await leaders.load([LEADER, OTHER_PROXY]) == {LEADER: NOON}


async def test_a_leaders_position_never_moves_back(leaders: LeaderCursors) -> None:
    await leaders.save({LEADER: NOON})
    await leaders.save({LEADER: NOON - seconds(1), OTHER_PROXY: NOON})

    assert await leaders.load([LEADER, OTHER_PROXY]) == {LEADER: NOON, OTHER_PROXY: NOON}


async def test_a_removed_position_is_unknown(leaders: LeaderCursors) -> None:
    await leaders.save({LEADER: NOON, OTHER_PROXY: NOON})
    await leaders.remove([LEADER])

    assert await leaders.load([LEADER, OTHER_PROXY]) == {OTHER_PROXY: NOON}


async def test_of_all_positions_those_of_followed_leaders_stay(leaders: LeaderCursors) -> None:
    await leaders.save({LEADER: NOON, OTHER_PROXY: NOON})
    await leaders.remove_others([LEADER])

    assert await leaders.load([LEADER, OTHER_PROXY]) == {LEADER: NOON}
