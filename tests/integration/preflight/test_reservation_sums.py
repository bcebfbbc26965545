"""The sums of open reservations are those of the rows, whatever is recorded, settled or lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters import reservation_sums
from services.preflight.adapters.cleanup import CleanupFeed
from services.preflight.adapters.recording import record_in_steps
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import reserved_usdc
from services.preflight.handler import Recording
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.intents import Intent, IntentApproved, OrderType, VerdictFacts
from shared.messages.orders import OrderReported
from shared.testing.waiting import eventually
from tests.builders import (
    NOON,
    PROXY,
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
from tests.unit.preflight.test_handler import LIMITS

pytestmark = pytest.mark.integration

OTHER_PROXY = "0x" + "9" * 40
AT_ONCE, IN_STEPS = facts(), facts(max_open_positions=1000)
"""Which statements record an entry: one, or several that count its open positions again."""
RESERVED = reserved_usdc(approved())


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


@pytest.fixture
def verdicts(engine: AsyncEngine) -> PostgresVerdicts:
    return PostgresVerdicts(engine)


@pytest.fixture
def cleanup(engine: AsyncEngine) -> CleanupFeed:
    hour = timedelta(hours=1)
    return CleanupFeed(
        engine, now=lambda: NOON + 2 * hour, reservations_kept=hour, copies_kept=hour
    )


def an_entry(number: int, **fields: Any) -> Intent:
    return an_intent(intent_id=f"i{NOON:%Y%m%d}-{number:024x}", **fields)


def a_buy(number: int, *, counted: VerdictFacts = AT_ONCE, **fields: Any) -> IntentApproved:
    return approved(an_entry(number, **fields), facts=counted)


def a_sale(number: int) -> IntentApproved:
    intent = an_entry(number, side=Side.SELL)
    return approved(intent, order_type=OrderType.FAK, usdc=0, shares=shares(5))


def an_end(number: int, **fields: Any) -> OrderReported:
    return an_outcome(intent_id=an_entry(number).intent_id, **fields)


async def fetch(engine: AsyncEngine, statement: str) -> list[Any]:
    async with transaction(engine) as connection:
        return list(await fetch_rows(connection, statement))


async def change(engine: AsyncEngine, statement: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text(statement))


async def load_sums(engine: AsyncEngine) -> dict[str, int]:
    """By proxy; they are those of the rows."""
    assert await fetch(engine, WRONG_RESERVATION_SUMS) == []
    rows = await fetch(engine, "select proxy, open_usdc from preflight.reservation_sums")
    return {row.proxy: row.open_usdc for row in rows}


@pytest.mark.parametrize("counted", [AT_ONCE, IN_STEPS], ids=["at once", "in steps"])
async def test_what_is_recorded_is_added_once(
    engine: AsyncEngine, verdicts: PostgresVerdicts, counted: VerdictFacts
) -> None:
    known = Recording(verdict=a_buy(1, counted=counted))
    await verdicts.record_all([known])
    assert await load_sums(engine) == {PROXY: RESERVED}

    others = [
        Recording(verdict=a_buy(2, counted=counted)),
        Recording(verdict=a_buy(3, counted=counted, proxy=OTHER_PROXY)),
        Recording(verdict=refused(an_entry(4))),
        Recording(verdict=a_sale(5)),
    ]
    await verdicts.record_all([known, *others])
    await verdicts.record_all(others)

    assert await load_sums(engine) == {PROXY: 2 * RESERVED, OTHER_PROXY: RESERVED}


async def test_what_reserves_no_money_has_no_sum(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    await verdicts.record_all(
        [Recording(verdict=refused(an_entry(1))), Recording(verdict=a_sale(2))]
    )
    await verdicts.settle(an_end(2, side=Side.SELL), now=NOON)

    assert await load_sums(engine) == {}


@pytest.mark.parametrize(
    "counted",
    [facts(daily_cap_usdc=usdc(8)), facts(daily_cap_usdc=usdc(8), max_open_positions=1000)],
    ids=["at once", "in steps"],
)
async def test_a_batch_that_exceeds_a_limit_adds_nothing(
    engine: AsyncEngine, verdicts: PostgresVerdicts, counted: VerdictFacts
) -> None:
    await verdicts.record(a_buy(1, counted=counted))

    with pytest.raises(Transient):
        await verdicts.record(a_buy(2, counted=counted))

    assert await load_sums(engine) == {PROXY: RESERVED}


async def test_what_is_settled_is_taken_away_once(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    entries = [a_buy(1), a_buy(2), a_buy(3), a_buy(4, proxy=OTHER_PROXY)]
    await verdicts.record_all([Recording(verdict=each) for each in [*entries, a_sale(5)]])

    for _ in range(2):
        await asyncio.gather(
            *(verdicts.settle(an_end(number, usdc=usdc(2)), now=NOON) for number in (1, 2, 4, 5, 6))
        )
        assert await load_sums(engine) == {PROXY: RESERVED, OTHER_PROXY: 0}

    await verdicts.record_all([Recording(verdict=each) for each in entries])
    assert await load_sums(engine) == {PROXY: RESERVED, OTHER_PROXY: 0}


async def test_a_copy_is_judged_by_what_is_open_and_what_a_balance_may_not_show(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    async def load(since: int, proxy: str = PROXY) -> int:
        found = await verdicts.load_commitments(
            an_entry(9, proxy=proxy), limits=LIMITS, since=NOON + seconds(since), now=NOON
        )
        return found.usdc

    assert await load(0) == 0
    await verdicts.record_all([Recording(verdict=a_buy(number)) for number in range(3)])
    for number in (0, 1):
        report = an_end(number, usdc=usdc(2), fee_usdc=7)
        await verdicts.settle(report, now=NOON + seconds(number))

    assert await load(-1) == RESERVED + 2 * (usdc(2) + 7)
    assert await load(0) == RESERVED + usdc(2) + 7
    assert await load(1) == RESERVED
    assert await load(-1, OTHER_PROXY) == 0


WRITTEN_WITHOUT_SUMS = {
    "a sum that is missing": "truncate preflight.reservation_sums",
    "a sum that is too low": "update preflight.reservation_sums set open_usdc = open_usdc - 3",
    "a reservation that was settled": "update preflight.reservations set settled_at = judged_at",
}


@pytest.mark.parametrize("written", WRITTEN_WITHOUT_SUMS.values(), ids=WRITTEN_WITHOUT_SUMS)
async def test_a_sum_that_is_wrong_is_corrected_with_an_error(
    engine: AsyncEngine,
    verdicts: PostgresVerdicts,
    cleanup: CleanupFeed,
    written: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in (1, 2):
        await verdicts.record(a_buy(number))
    await cleanup.correct_sums()
    assert caplog.records == []
    await change(engine, written)
    (wrong,) = await fetch(engine, WRONG_RESERVATION_SUMS)

    await cleanup.correct_sums()

    summed = (await load_sums(engine))[PROXY]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.args == (PROXY, summed, summed + wrong.too_much_usdc)
    await verdicts.settle(an_end(1), now=NOON)
    await load_sums(engine)


async def wait_for_a_lock(engine: AsyncEngine, task: asyncio.Task[None]) -> None:
    async def waits() -> bool:
        assert not task.done()
        return await is_anything_waiting(engine)

    await eventually(waits, within=30, what="the task, which waits for a lock")


async def test_a_correction_waits_for_what_is_being_recorded(
    engine: AsyncEngine, verdicts: PostgresVerdicts
) -> None:
    """And counts it, where it was committed."""
    await verdicts.record(a_buy(1))
    await change(engine, "update preflight.reservation_sums set open_usdc = 0")

    async with transaction(engine) as recording:
        await record_in_steps(recording, [Recording(verdict=a_buy(2))])
        correcting = asyncio.create_task(reservation_sums.correct_sums(engine))
        await wait_for_a_lock(engine, correcting)
    await correcting

    assert await load_sums(engine) == {PROXY: 2 * RESERVED}


async def test_a_correction_that_is_overtaken_changes_nothing(
    engine: AsyncEngine, verdicts: PostgresVerdicts, caplog: pytest.LogCaptureFixture
) -> None:
    await verdicts.record(a_buy(1))

    await reservation_sums._correct(engine, PROXY)

    assert await load_sums(engine) == {PROXY: RESERVED}
    assert caplog.records == []


async def test_corrections_and_copies_at_the_same_time_end_in_the_sum_of_the_rows(
    engine: AsyncEngine, verdicts: PostgresVerdicts, cleanup: CleanupFeed
) -> None:
    async def correct() -> None:
        for amount in range(20):
            await change(
                engine,
                "insert into preflight.reservation_sums as s (proxy, open_usdc) "
                f"values ('{PROXY}', {amount}) on conflict (proxy) "
                f"do update set open_usdc = s.open_usdc + {amount}",
            )
            await cleanup.correct_sums()

    async def copy(first: int) -> None:
        for number in range(first, first + 40):
            await verdicts.record(a_buy(number))
            await verdicts.settle(an_end(number - number % 3), now=NOON)

    await asyncio.gather(correct(), copy(100), copy(200))

    await cleanup.correct_sums()
    assert await load_sums(engine)


async def test_the_sum_of_a_follower_without_copies_is_deleted(
    engine: AsyncEngine, verdicts: PostgresVerdicts, cleanup: CleanupFeed
) -> None:
    await verdicts.record_all(
        [Recording(verdict=a_buy(1)), Recording(verdict=a_buy(2, proxy=OTHER_PROXY))]
    )
    await verdicts.settle(an_end(2), now=NOON)
    await cleanup.correct_sums()
    assert await load_sums(engine) == {PROXY: RESERVED, OTHER_PROXY: 0}

    await cleanup.delete_settled()
    await cleanup.correct_sums()
    assert await load_sums(engine) == {PROXY: RESERVED}
    await verdicts.record(a_buy(3, proxy=OTHER_PROXY))

    assert await load_sums(engine) == {PROXY: RESERVED, OTHER_PROXY: RESERVED}


async def test_a_sum_that_is_being_changed_is_not_deleted(
    engine: AsyncEngine, verdicts: PostgresVerdicts, cleanup: CleanupFeed
) -> None:
    await verdicts.record(a_buy(1))
    await verdicts.settle(an_end(1), now=NOON)
    await cleanup.delete_settled()

    async with transaction(engine) as recording:
        await record_in_steps(recording, [Recording(verdict=a_buy(2))])
        await cleanup.correct_sums()

    assert await load_sums(engine) == {PROXY: RESERVED}
