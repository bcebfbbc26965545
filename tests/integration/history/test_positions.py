"""What was bought and sold outlives its trades, and is not counted twice."""

from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history import prune as pruning
from cli.history.run import Scope
from services.executor.adapters.orders import PostgresOrders
from shared.domain.money import Side
from shared.messages.orders import OrderState, TradeStatus
from tests.builders import OTHER_PROXY, a_trade, approved, shares
from tests.fakes import Killed
from tests.integration.history.rows import NOW, OLD, load, numbered_intent, prune_all
from tests.leases import executor_leases
from tests.orders import numbered_order, record_trade

pytestmark = pytest.mark.integration

POSITIONS = "select p::text from executor.positions p order by 1"


async def record_trades(engine: AsyncEngine) -> None:
    """Of the old week and of the last one: bought, sold, failed, and another follower's."""
    orders = PostgresOrders(engine, await executor_leases(engine))
    for number, at, changes in (
        (1, OLD, {}),
        (2, OLD, {"side": Side.SELL, "shares": shares(3)}),
        (3, OLD, {"status": TradeStatus.FAILED}),
        (4, OLD, {"proxy": OTHER_PROXY}),
        (5, NOW, {}),
    ):
        intent = numbered_intent(number, at=at, proxy=changes.get("proxy", a_trade().proxy))
        order = replace(numbered_order(number), intent_id=intent.intent_id, proxy=intent.proxy)
        await orders.record(order, approved(intent))
        await record_trade(
            orders,
            a_trade(intent_id=intent.intent_id, order_hash=order.order_hash, **changes),
            now=at,
        )
        await orders.save(replace(order, state=OrderState.CONFIRMED), now=at)


@pytest.mark.parametrize("is_interrupted", [False, True])
async def test_positions_are_the_same_before_and_after_a_prune(
    is_interrupted: bool,
    engine: AsyncEngine,
    scope: Scope,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await record_trades(engine)
    before, unarchived = await load(engine, POSITIONS), replace(scope, folder=None)

    if is_interrupted:

        async def killed(*_: object) -> int:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(pruning, "_detach", killed)
            with pytest.raises(Killed):
                await prune_all(engine, unarchived)
    for _ in range(2):
        assert (await prune_all(engine, unarchived))[0]

    assert await load(engine, POSITIONS) == before
    assert await load(engine, "select count(*) from executor.trades") == [1]
    assert await load(engine, "select count(*) from executor.orders_with_states") == [1]


async def test_orders_that_are_not_final_keep_their_week(engine: AsyncEngine, scope: Scope) -> None:
    orders = PostgresOrders(engine, await executor_leases(engine))
    intent = numbered_intent(1)
    await orders.record(replace(numbered_order(1), intent_id=intent.intent_id), approved(intent))

    is_complete, lines = await prune_all(engine, replace(scope, folder=None))

    assert not is_complete
    assert any("1 orders that are not final" in line for line in lines)
    assert await load(engine, "select count(*) from executor.orders") == [1]
