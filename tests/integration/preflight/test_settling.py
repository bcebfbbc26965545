"""What settling writes and locks, and what is kept of it afterwards."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.cleanup import CleanupFeed
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import Exit, ExitState
from services.preflight.handler import Recording
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.domain.money import Side
from shared.messages.intents import Intent, OrderType
from shared.messages.refusals import Refusal
from shared.testing.waiting import eventually
from tests.builders import (
    NOON,
    an_intent,
    an_outcome,
    approved,
    facts,
    refused,
    seconds,
    shares,
    usdc,
)
from tests.locks import is_anything_waiting
from tests.patience import patient_settings
from tests.reservations import WRONG_RESERVATION_SUMS

pytestmark = pytest.mark.integration

UPDATES = """
select relname as name, n_tup_upd as updates, n_tup_hot_upd as without_index
from pg_stat_user_tables where schemaname = 'preflight' and n_tup_upd > 0
"""
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
IN_PLACE = ("reservation_sums", "positions", "spending_windows", "newest_copies")
KEPT = timedelta(minutes=3)
COPIES = 40


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


@pytest.fixture
def verdicts(engine: AsyncEngine) -> PostgresVerdicts:
    return PostgresVerdicts(engine)


def entry(number: int, **fields: Any) -> Intent:
    return an_intent(intent_id=f"i{NOON:%Y%m%d}-{number:024x}", **fields)


def an_exit(sale: Intent, awaited: Intent) -> Exit:
    return Exit(
        intent=sale,
        base_shares=0,
        awaited_entries=(awaited.intent_id,),
        awaited_exits=(),
        shares=None,
        sold_shares=0,
        attempts=1,
        state=ExitState.OPEN,
        reason="",
        next_attempt_at=NOON + seconds(60),
        expires_at=NOON + seconds(600),
    )


async def fetch(engine: AsyncEngine, statement: str, **parameters: Any) -> list[Any]:
    async with transaction(engine) as connection:
        return list(await fetch_rows(connection, statement, **parameters))


async def fetch_ids(engine: AsyncEngine, table: str, column: str = "intent_id") -> set[str]:
    return {row[0] for row in await fetch(engine, f"select {column} from preflight.{table}")}


async def test_an_intent_is_updated_without_writing_an_index(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    """Nor are sums of reservations, positions, spending windows and the newest copies."""
    for number in range(COPIES):
        copy = entry(number)
        await verdicts.record(approved(copy))
        report = an_outcome(intent_id=copy.intent_id, usdc=usdc(4), shares=shares(10))
        await verdicts.settle(report, now=NOON)

    async def counted() -> dict[str, Any]:
        rows = {row.name: row for row in await fetch(engine, UPDATES)}
        settled = sum(row.updates for name, row in rows.items() if name.startswith("intents_"))
        return rows if settled == COPIES else {}

    rows = await eventually(counted, within=30, what="the statistics of all updates")
    written = {
        name: row.without_index / row.updates
        for name, row in rows.items()
        if name.startswith("intents_") or name in IN_PLACE
    }
    assert len(written) == 5
    assert min(written.values()) > 0.9, written


async def test_settling_locks_rows_in_the_order_of_recording(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    """While it waits for a spending window, neither a position nor an exit is locked."""
    bought, awaited = entry(1), entry(2)
    for each in (bought, awaited):
        await verdicts.record(approved(each))
    await verdicts.settle(an_outcome(intent_id=bought.intent_id), now=NOON)
    sale = entry(3, side=Side.SELL)
    await verdicts.record(refused(sale), an_exit(sale, awaited))
    report = an_outcome(intent_id=awaited.intent_id, usdc=usdc(2), fee_usdc=0)

    async with engine.begin() as recording:
        await recording.execute(text("select from preflight.spending_windows for update"))
        settling = asyncio.create_task(verdicts.settle(report, now=NOON))
        await eventually(
            lambda: is_anything_waiting(engine),
            within=30,
            what="settling, which waits for the window",
        )
        for table in ("positions", "exits"):
            locked = await recording.execute(
                text(f"select 1 from preflight.{table} for update nowait")
            )
            assert len(locked.all()) == 1
    await settling

    (exit_,) = await fetch(engine, "select next_attempt_at from preflight.exits")
    assert exit_.next_attempt_at == NOON


def build_entries(numbers: Iterable[int]) -> list[Recording]:
    return [
        Recording(
            verdict=approved(
                entry(number, proxy=f"0x{number % 100:040x}", follow_id=f"follow-{number % 100}"),
                facts=facts(global_daily_cap_usdc=usdc(10**6)),
            )
        )
        for number in numbers
    ]


def build_exits(numbers: Iterable[int]) -> list[Recording]:
    """Of the same follows, each with an exit that awaits an entry."""
    sales = []
    for number in numbers:
        bought = entry(number)
        sale = entry(
            number + 10**6,
            side=Side.SELL,
            proxy=f"0x{number % 100:040x}",
            follow_id=f"follow-{number % 100}",
        )
        sales.append(Recording(verdict=refused(sale), exit=an_exit(sale, bought)))
    return sales


async def test_groups_of_the_same_proxies_in_any_order_do_not_lock_each_other_out(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    """As of two instances: they record and settle at the same time."""
    other = PostgresVerdicts(engine)

    async def settle_all(process: PostgresVerdicts, numbers: Iterable[int]) -> None:
        reports = [an_outcome(intent_id=entry(n).intent_id, usdc=usdc(4)) for n in numbers]
        await asyncio.gather(*(process.settle(report, now=NOON) for report in reports))

    for round_ in range(10):
        known = range(1000 * round_, 1000 * round_ + 40)
        new, later = (range(each.start + 200, each.stop + 200) for each in (known, known))
        later = range(new.start + 200, new.stop + 200)
        await verdicts.record_all(build_entries(known))
        await verdicts.record_all(build_exits(known))
        await asyncio.gather(
            settle_all(verdicts, known[::-1]),
            other.record_all(build_entries(new)),
            verdicts.record_all(build_entries(later[::-1])),
            settle_all(other, known),
            other.record_all(build_exits(new[::-1])),
        )

    (counted,) = await fetch(engine, DEADLOCKS)
    assert counted.deadlocks == 0
    (spent,) = await fetch(engine, "select count(*) as n from preflight.reservations")
    assert spent.n == 3 * 40 * 10
    assert await fetch(engine, WRONG_RESERVATION_SUMS) == []
    assert await fetch(engine, "select 1 from preflight.exits where next_attempt_at > :at", at=NOON)


def cleanup(engine: AsyncEngine, *, after: timedelta) -> CleanupFeed:
    return CleanupFeed(
        engine, now=lambda: NOON + after, reservations_kept=KEPT, copies_kept=timedelta(hours=1)
    )


async def test_a_reservation_is_kept_until_every_balance_shows_what_it_spent(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    for number in range(3):
        await verdicts.record(approved(entry(number)))
    for number, settled_at in ((0, NOON), (1, NOON + seconds(1))):
        report = an_outcome(intent_id=entry(number).intent_id)
        await verdicts.settle(report, now=settled_at)

    await cleanup(engine, after=KEPT + seconds(1)).delete_settled()

    assert await fetch_ids(engine, "reservations") == {entry(n).intent_id for n in (1, 2)}
    assert await fetch_ids(engine, "intents") == {entry(n).intent_id for n in (0, 1, 2)}
    await verdicts.settle(an_outcome(intent_id=entry(0).intent_id), now=NOON + KEPT)
    assert len(await fetch(engine, "select 1 from preflight.positions where shares > 0")) == 1


async def test_an_open_reservation_is_kept_for_ever(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    await verdicts.record(approved(entry(1)))

    await cleanup(engine, after=timedelta(days=400)).delete_settled()

    assert await fetch_ids(engine, "reservations") == {entry(1).intent_id}


async def test_a_row_that_is_locked_is_left_for_the_next_round(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    await verdicts.record(approved(entry(1)))
    await verdicts.settle(an_outcome(intent_id=entry(1).intent_id), now=NOON)

    async with engine.begin() as other:
        await other.execute(text("select from preflight.reservations for update"))
        await cleanup(engine, after=timedelta(days=1)).delete_settled()
        assert await fetch_ids(engine, "reservations") == {entry(1).intent_id}
    await cleanup(engine, after=timedelta(days=1)).delete_settled()

    assert await fetch_ids(engine, "reservations") == set()


async def test_the_newest_copy_is_kept_of_what_is_held_or_open(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    held, open_, sold, refusal = (entry(n, token_id=str(n)) for n in range(4))
    for each in (held, open_, sold):
        await verdicts.record(approved(each))
    await verdicts.record(refused(refusal, reason=Refusal.NO_MARKET))
    for each in (held, sold):
        report = an_outcome(intent_id=each.intent_id, shares=shares(5))
        await verdicts.settle(report, now=NOON)
    sale = entry(9, side=Side.SELL, token_id=sold.token_id)
    await verdicts.record(approved(sale, order_type=OrderType.FAK, usdc=0, shares=shares(5)))
    report = an_outcome(intent_id=sale.intent_id, side=Side.SELL, shares=shares(5))
    await verdicts.settle(report, now=NOON)

    await cleanup(engine, after=timedelta(minutes=59)).delete_copies()
    assert await fetch_ids(engine, "newest_copies", "token_id") == {"0", "1", "2", "3"}
    await cleanup(engine, after=timedelta(minutes=61)).delete_copies()

    assert await fetch_ids(engine, "newest_copies", "token_id") == {"0", "1"}
    assert await fetch_ids(engine, "positions", "token_id") == {"0"}
