"""A network that swallows packets, resets connections or takes long: statements fail as transient,
their connections are replaced, and nothing waits for longer than its limit.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.database_watch import DatabaseWatch
from shared.db.engine import Connection, autocommit, fetch_rows, transaction
from shared.domain.errors import Transient
from shared.testing.waiting import eventually
from tests.integration.db.faulty import engine_behind, server_port, until_it_works
from tests.system.faulty_relay import BLACK_HOLE, NO_FAULTS, Faults, FaultyRelay

pytestmark = pytest.mark.integration

Begin = Callable[[AsyncEngine], AbstractAsyncContextManager[Connection]]
INSERT = "insert into numbers values (:number) on conflict do nothing returning number"


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[FaultyRelay]:
    async with FaultyRelay(target_port=server_port(database_url)) as relay:
        yield relay


@pytest.fixture
async def engine(relay: FaultyRelay, database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_behind(relay, url=database_url) as engine:
        await until_it_works(lambda: create_table(engine))
        yield engine


async def create_table(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await connection.exec_driver_sql(
            "create table if not exists numbers (number integer primary key)"
        )


async def fetch_one(engine: AsyncEngine) -> int:
    """One attempt."""
    async with autocommit(engine) as connection:
        one: int = (await fetch_rows(connection, "select 1 as one"))[0].one
    return one


async def insert(engine: AsyncEngine, number: int) -> None:
    async with transaction(engine) as connection:
        await fetch_rows(connection, INSERT, number=number)


async def load_numbers(engine: AsyncEngine) -> list[int]:
    async def load() -> list[int]:
        async with autocommit(engine) as connection:
            rows = await fetch_rows(connection, "select number from numbers order by number")
        return [row.number for row in rows]

    return await until_it_works(load)


async def fetch_finally(engine: AsyncEngine) -> int:
    return await until_it_works(lambda: fetch_one(engine))


async def insert_finally(engine: AsyncEngine, number: int) -> None:
    await until_it_works(lambda: insert(engine, number))


async def open_all(engine: AsyncEngine) -> None:
    """Have the pool open all of its connections."""
    await asyncio.gather(*(fetch_finally(engine) for _ in range(6)))


async def test_a_black_hole_is_noticed_and_the_connections_of_before_are_not_used_again(
    engine: AsyncEngine, relay: FaultyRelay
) -> None:
    await open_all(engine)
    opened = relay.accepted
    relay.faults = BLACK_HOLE
    for broken in (fetch_one(engine), insert(engine, 1)):
        with pytest.raises(Transient, match="cannot be reached"):
            await broken
    relay.faults = NO_FAULTS

    await asyncio.gather(*(insert_finally(engine, number) for number in range(2, 8)))

    assert await load_numbers(engine) == list(range(2, 8))
    assert relay.accepted > opened


async def test_a_black_hole_within_a_transaction_leaves_nothing_of_it(
    engine: AsyncEngine, relay: FaultyRelay
) -> None:
    async def insert_then_lose() -> None:
        async with transaction(engine) as connection:
            await fetch_rows(connection, INSERT, number=1)
            relay.faults = BLACK_HOLE
            await fetch_rows(connection, INSERT, number=2)

    with pytest.raises(Transient):
        await insert_then_lose()
    relay.faults = NO_FAULTS

    assert await load_numbers(engine) == []


async def test_a_database_that_accepts_connections_and_is_silent_is_not_ready(
    engine: AsyncEngine, relay: FaultyRelay
) -> None:
    watch = DatabaseWatch(engine)
    await until_it_works(watch.refresh)
    relay.faults = BLACK_HOLE

    await eventually(lambda: _is_transient(watch))  # on the connection that was open
    await eventually(lambda: _is_transient(watch))  # on a new one

    relay.faults = NO_FAULTS
    await until_it_works(watch.refresh)
    assert watch.is_ready


async def _is_transient(watch: DatabaseWatch) -> bool:
    try:
        await watch.refresh()
    except Transient:
        return True
    return False


async def test_a_reset_is_transient_and_the_next_statement_has_a_new_connection(
    engine: AsyncEngine, relay: FaultyRelay
) -> None:
    await open_all(engine)

    relay.reset()

    with pytest.raises(Transient):
        await fetch_one(engine)
    assert await fetch_finally(engine) == 1


async def test_a_reset_in_the_middle_of_an_answer_is_transient(
    engine: AsyncEngine, relay: FaultyRelay
) -> None:
    await fetch_finally(engine)
    relay.faults = Faults(cut_after_bytes=10)

    with pytest.raises(Transient):
        await fetch_one(engine)
    relay.faults = NO_FAULTS

    assert await fetch_finally(engine) == 1


async def test_a_server_that_refuses_connections_is_transient(
    engine: AsyncEngine, relay: FaultyRelay
) -> None:
    relay.refuse()
    relay.reset()
    for _ in range(2):
        with pytest.raises(Transient):
            await fetch_one(engine)

    await relay.listen()

    assert await fetch_finally(engine) == 1


async def test_latency_below_the_limit_is_borne(engine: AsyncEngine, relay: FaultyRelay) -> None:
    relay.faults = Faults(latency_s=0.02)

    await insert_finally(engine, 1)

    assert await load_numbers(engine) == [1]


@pytest.mark.parametrize("begins", ["transaction", "autocommit"])
async def test_a_commit_whose_answer_was_lost_can_be_repeated(
    engine: AsyncEngine, relay: FaultyRelay, database_url: str, begins: str
) -> None:
    begin: Begin = transaction if begins == "transaction" else autocommit

    async def insert_and_lose_the_answer() -> None:
        async with begin(engine) as connection:
            if begins == "transaction":
                await fetch_rows(connection, INSERT, number=1)
                relay.faults = Faults(swallows_answers=True)
            else:
                relay.faults = Faults(swallows_answers=True)
                await fetch_rows(connection, INSERT, number=1)

    await fetch_finally(engine)
    with pytest.raises(Transient):
        await insert_and_lose_the_answer()
    relay.faults = NO_FAULTS

    await insert_finally(engine, 1)

    assert await load_numbers(engine) == [1]


async def test_with_two_hosts_the_one_that_answers_is_used(database_url: str) -> None:
    port = server_port(database_url)
    async with FaultyRelay(target_port=port) as first, FaultyRelay(target_port=port) as second:
        first.faults = BLACK_HOLE
        async with engine_behind(first, second, url=database_url) as engine:
            assert await fetch_finally(engine) == 1
            first.faults, second.faults = NO_FAULTS, BLACK_HOLE
            with pytest.raises(Transient):
                await fetch_one(engine)

            assert await fetch_finally(engine) == 1
