"""A write whose answer was lost was made or was not. Repeated, it is made once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from services.debt_recovery.adapters import PostgresDebts
from services.debt_recovery.decisions import build_debt
from services.executor.adapters.orders import PostgresOrders
from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.domain.errors import Transient
from shared.messages.orders import OrderState
from tests.builders import NOON, a_debt, a_trade, an_intent, an_outcome, approved, seconds
from tests.integration.db.faulty import engine_behind, server_port, until_it_works
from tests.leases import executor_leases
from tests.orders import an_order, record_trade
from tests.system.faulty_relay import BLACK_HOLE, NO_FAULTS, Faults, FaultyRelay

pytestmark = pytest.mark.integration

Write = Callable[[], Awaitable[Any]]
LOST_ANSWER = Faults(swallows_answers=True)
INTENT_ID = approved().intent_id


@pytest.fixture
async def relay(migrated_database_url: str) -> AsyncIterator[FaultyRelay]:
    async with FaultyRelay(target_port=server_port(migrated_database_url)) as relay:
        yield relay


@pytest.fixture
async def engine(relay: FaultyRelay, migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Its connections are open: a connection that is opened in a fault never gets to its write."""
    async with engine_behind(relay, url=migrated_database_url, connections=1) as engine:
        await until_it_works(PostgresDebts(engine).load_outstanding)
        yield engine


@pytest.fixture(params=["black hole", "lost answer", "lost commit"])
def write_twice(
    request: pytest.FixtureRequest, relay: FaultyRelay, engine: AsyncEngine
) -> Callable[[Write], Any]:
    """Have a write fail, then repeat it, and return what it returned then.

    Lost commit: all is answered but the commit of a transaction. A single statement has none, and
    is made twice.
    """
    is_commit = request.param == "lost commit"

    def lose_answers(*_: object) -> None:
        relay.faults = LOST_ANSWER

    async def write_and_repeat(write: Write) -> Any:
        if is_commit:
            event.listen(engine.sync_engine, "commit", lose_answers)
        else:
            relay.faults = BLACK_HOLE if request.param == "black hole" else LOST_ANSWER
        try:
            await write()
        except Transient:
            pass
        else:
            assert is_commit, "it was answered"
        finally:
            if is_commit:
                event.remove(engine.sync_engine, "commit", lose_answers)
            relay.faults = NO_FAULTS
        return await until_it_works(write)

    return write_and_repeat


async def test_an_order_is_recorded_once_and_its_trades_count_once(
    engine: AsyncEngine, write_twice: Callable[[Write], Any]
) -> None:
    orders = PostgresOrders(engine, await executor_leases(engine))
    order = an_order()

    recorded = await write_twice(lambda: orders.record(order, approved()))
    assert recorded == order
    matched = an_order(state=OrderState.MATCHED, posted_at=NOON, shares=1, usdc=2)
    await write_twice(lambda: orders.save(matched, now=NOON))
    trade = a_trade()
    trades = await write_twice(lambda: record_trade(orders, trade))

    assert [each.trade_id for each in trades] == [trade.trade_id]
    loaded = await orders.load(INTENT_ID)
    assert loaded is not None
    assert (loaded.state, loaded.shares, loaded.usdc) == (OrderState.MATCHED, 1, 2)


async def test_an_order_whose_saves_answer_was_lost_is_known_as_the_database_has_it(
    relay: FaultyRelay, engine: AsyncEngine
) -> None:
    leases = await executor_leases(engine)
    orders = PostgresOrders(engine, leases)
    await orders.load_leases([(lease.partition, lease.token) for lease in leases.held])
    await orders.record(an_order(), approved())
    await orders.save(an_order(), now=NOON)  # the connection knows the statement from now on
    matched = an_order(state=OrderState.MATCHED, posted_at=NOON, shares=1, usdc=2)

    relay.faults = LOST_ANSWER
    with pytest.raises(Transient):
        await orders.save(matched, now=NOON)
    relay.faults = NO_FAULTS

    assert await until_it_works(lambda: orders.load(INTENT_ID)) == matched
    assert orders.list_open() == [matched]


async def test_a_verdict_reserves_once_and_its_settlement_counts_once(
    engine: AsyncEngine, write_twice: Callable[[Write], Any]
) -> None:
    verdicts, verdict = PostgresVerdicts(engine), approved()

    assert await write_twice(lambda: verdicts.record(verdict)) == verdict
    outcome = an_outcome(intent_id=INTENT_ID)
    await write_twice(lambda: verdicts.settle(outcome, now=NOON))

    position = await verdicts.load_position(an_intent(intent_id="f" * 32))
    assert position.held_shares == outcome.shares


async def test_a_debt_is_recorded_once(
    engine: AsyncEngine, write_twice: Callable[[Write], Any]
) -> None:
    debts, debt = PostgresDebts(engine), build_debt(a_debt())

    await write_twice(lambda: debts.record(debt))

    assert await debts.load_outstanding() == [debt]


async def test_a_lease_whose_answer_was_lost_is_acquired_again_by_the_same_instance(
    engine: AsyncEngine, write_twice: Callable[[Write], Any]
) -> None:
    leases = await write_twice(lambda: executor_leases(engine, "one", duration=seconds(60)))

    assert len(leases.held) == 4
