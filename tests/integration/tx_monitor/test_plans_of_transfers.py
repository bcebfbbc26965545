"""What a round of an operator wallet reads is what is open, however many transfers have ended."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.tx_monitor.adapters.transfers import PostgresTransfers
from services.tx_monitor.decisions.progress import mark_changed
from shared.db.engine import open_engine, transaction
from shared.messages.transfers import TransferState
from tests.builders import NOON
from tests.integration.db.plans import Plan, recorded_plans
from tests.leases import tx_monitor_leases
from tests.patience import patient_settings
from tests.transfers import OPERATOR, a_queued_transfer, an_attempt, begin_with, mine

pytestmark = pytest.mark.integration

ENDED, OPEN = 30_000, 12
MAX_ROWS = 5 * OPEN
TABLES = {"tx_monitor.transfers", "tx_monitor.attempts"}
INSERT_ENDED = f"""
insert into tx_monitor.transfers (
    request_id, proxy, operator, direction, token_id, amount, purpose, intent_id, state, nonce,
    is_reported, requested_at, changed_at
)
select 'old-' || n, '0x' || n % 100, '{OPERATOR}', 'to_proxy', null, n, 'proceeds', 'i' || n,
       case when n % 10 = 0 then 'cancelled' else 'final' end, 1000000 + n,
       true, now() - n * interval '1 second', now() - n * interval '1 second'
from generate_series(1, {ENDED}) as n
"""
INSERT_ATTEMPTS = f"""
insert into tx_monitor.attempts (
    tx_hash, request_id, number, kind, raw, gas, max_fee, tip, signed_at, signed_at_block
)
select 'hash-' || n, 'old-' || n, 1, 'transfer', '', 1, 1, 1, now(), 1
from generate_series(1, {ENDED}) as n
"""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    async with transaction(engine) as connection:
        for statement in (INSERT_ENDED, INSERT_ATTEMPTS):
            await connection.execute(text(statement))
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("are_statistics_known", [True, False])
async def test_no_statement_of_a_round_reads_what_has_ended(
    engine: AsyncEngine, are_statistics_known: bool
) -> None:
    if are_statistics_known:
        async with transaction(engine) as connection:
            await connection.execute(text("analyze tx_monitor.transfers, tx_monitor.attempts"))
    store = PostgresTransfers(engine)
    lease = (await tx_monitor_leases(engine)).lease_for(OPERATOR)
    waiting = [
        a_queued_transfer(request_id=f"new-{number}", proxy=f"0x{number:040x}")
        for number in range(OPEN)
    ]

    with recorded_plans(engine) as plans:
        for queued in waiting:
            await store.record(queued, now=NOON)
        attempt = an_attempt(1)
        begun = begin_with(waiting[0], attempt, nonce=7)
        await store.begin(begun, attempt, lease=lease, now=NOON)
        mined = mine(begun, attempt)
        await store.save(mined, lease=lease, now=NOON)
        await store.load(OPERATOR, now=NOON)
        await store.load_unreported(OPERATOR)
        await store.mark_reported(mined, lease=lease)
        final = mark_changed(replace(mined, state=TransferState.FINAL))
        await store.save(final, lease=lease, now=NOON)
        known = await store.load_wallets()

    assert known == [OPERATOR]
    read = [plan for plan in plans if plan.of_tables(TABLES)]
    assert len(read) > OPEN
    for plan in read:
        require_small(plan)


def require_small(plan: Plan) -> None:
    """Whole indexes are read only where they hold what is open; each write was planned by making it
    and undoing it, which leaves an entry in them.
    """
    for scan in plan.of_tables(TABLES):
        assert scan.kind != "Seq Scan", plan
        assert scan.rows <= MAX_ROWS, plan
