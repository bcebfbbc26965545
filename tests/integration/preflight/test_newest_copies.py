"""What is recorded of the newest copy of a follow and token is what its intents say."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.levels import LOAD_TRADES, TRADE_QUERIES
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import Verdict
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.intents import CopyCause, LeaderLevel, OrderType
from shared.messages.refusals import Refusal
from shared.testing.waiting import eventually
from tests.builders import NOON, an_intent, approved, refused, seconds, shares
from tests.locks import is_anything_waiting
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

LATER = NOON + seconds(1)
LEVEL = LeaderLevel(block_number=2, base_block_number=1, shares=0, accounted_through=NOON)


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


def entry(number: int = 1, **intent: Any) -> Verdict:
    return approved(an_intent(intent_id=f"{number:032x}", **intent))


def refusal(reason: Refusal, number: int = 1, at: datetime = NOON, **intent: Any) -> Verdict:
    return refused(an_intent(intent_id=f"{number:032x}", **intent), reason=reason, occurred_at=at)


def by_level(number: int = 9) -> Verdict:
    sale = an_intent(
        intent_id=f"{number:032x}", side=Side.SELL, cause=CopyCause.RECONCILED, level=LEVEL
    )
    return approved(sale, order_type=OrderType.FAK, usdc=0, shares=shares(1))


async def load_copy(engine: AsyncEngine) -> Any:
    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, "select * from preflight.newest_copies")
    return rows[0] if rows else None


async def load_newest_trade(engine: AsyncEngine) -> datetime | None:
    """The newest trade that is accounted for, as the comparison of levels finds it."""
    intent = an_intent()
    query = {"n": 0, "follow_id": intent.follow_id, "token_id": intent.token_id}
    queries = TRADE_QUERIES.parameters([query | {"since": NOON - seconds(60)}])
    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, LOAD_TRADES, **queries)
    return max((row.judged_at for row in rows if not row.is_missed), default=None)


@pytest.mark.parametrize(
    ("verdict", "is_accounted"),
    [
        (entry(), True),
        (refusal(Refusal.SLIPPAGE_TOO_HIGH), True),
        (refusal(Refusal.SLIPPAGE_TOO_HIGH, side=Side.SELL), True),
        (refusal(Refusal.EXIT_CAME_FIRST), True),
        (refusal(Refusal.TRADE_TOO_OLD), False),
        (refusal(Refusal.TRADE_TOO_OLD, usdc=0), True),
        (refusal(Refusal.TRADE_TOO_OLD, side=Side.SELL), False),
        (refusal(Refusal.TRADE_TOO_OLD, side=Side.SELL, usdc=0), False),
        (refusal(Refusal.ALREADY_RECONCILED, side=Side.SELL), False),
        (by_level(), False),
    ],
)
async def test_a_trade_is_accounted_for_as_its_intent_is(
    engine: AsyncEngine, verdict: Verdict, is_accounted: bool
) -> None:
    await PostgresVerdicts(engine).record(verdict)

    copy = await load_copy(engine)
    assert copy.traded_at == await load_newest_trade(engine)
    assert (copy.traded_at is not None) == is_accounted


async def test_a_later_attempt_of_an_exit_is_no_copy_of_its_own(engine: AsyncEngine) -> None:
    first = refusal(Refusal.NO_MARKET, side=Side.SELL)
    again = refusal(Refusal.EMPTY_BOOK, 2, at=LATER, side=Side.SELL, continues=first.intent_id)
    for verdict in (first, again):
        await PostgresVerdicts(engine).record(verdict)

    copy = await load_copy(engine)
    assert (copy.judged_at, copy.has_ended) == (NOON, True)


@pytest.mark.parametrize("is_first", [True, False])
async def test_the_newest_copy_tells_whether_a_market_has_ended(
    engine: AsyncEngine, is_first: bool
) -> None:
    """Also where another instance has recorded the later one before."""
    copies = [refusal(Refusal.EMPTY_BOOK), refusal(Refusal.NO_MARKET, 2, at=LATER)]
    for verdict in copies if is_first else reversed(copies):
        await PostgresVerdicts(engine).record(verdict)

    copy = await load_copy(engine)
    assert (copy.judged_at, copy.has_ended, copy.traded_at) == (LATER, True, LATER)


async def test_a_level_waits_for_the_trade_that_another_instance_is_recording(
    engine: AsyncEngine,
) -> None:
    verdicts = PostgresVerdicts(engine)
    await verdicts.record(entry())

    async with engine.begin() as other:
        await other.execute(
            text("update preflight.newest_copies set traded_at = :at"), {"at": LATER}
        )
        recording = asyncio.create_task(verdicts.record(by_level()))
        await eventually(
            lambda: is_anything_waiting(engine),
            within=30,
            what="the level's verdict, which waits for the trade's",
        )
    with pytest.raises(Transient, match="judged meanwhile"):
        await recording

    async with transaction(engine) as connection:
        assert len(await fetch_rows(connection, "select 1 from preflight.intents")) == 1
