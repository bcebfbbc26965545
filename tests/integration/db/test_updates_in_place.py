"""An update of an order, a trade or a watch writes no index, and its page has room for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import VenueReply
from services.tx_monitor.adapters import PostgresWatches
from services.tx_monitor.decisions.watches import build_watch
from shared.clock import utc_now
from shared.db.engine import engine_scope, fetch_rows, transaction
from shared.domain.ids import intent_id
from shared.messages.orders import OrderState, TradeStatus
from shared.messages.transactions import TransactionState
from shared.testing.waiting import eventually
from tests.builders import (
    BLOCK,
    NOON,
    a_trade,
    an_intent,
    approved,
    requested,
    resolved,
    settled,
    shares,
    usdc,
)
from tests.leases import executor_leases
from tests.orders import an_order, record_trade
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

ORDERS = 1000
GROUP = 100
UPDATES = """
select split_part(relname, '_2', 1) as name, sum(n_tup_upd) as n, sum(n_tup_hot_upd) as hot
from pg_stat_user_tables
where relname ~ '^(order_states|trades|watches)_2'
group by 1
"""
EXPECTED = {"order_states": 5 * ORDERS, "trades": 4 * ORDERS, "watches": 2 * ORDERS}
"""A trade: mined, seen in its block, confirmed, final."""
MIN_IN_PLACE = 0.85
"""Others find their page full: of versions that another session, which analyzes the table, may
still read."""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(patient_settings(migrated_database_url)) as engine:
        yield engine


async def test_no_update_of_a_copy_writes_an_index(engine: AsyncEngine) -> None:
    """As copies go when many come at once: each step of all of them in one statement."""
    orders = PostgresOrders(engine, await executor_leases(engine))
    watches = PostgresWatches(engine)
    for number in range(0, ORDERS, GROUP):
        copies = [Copy(orders, watches, each) for each in range(number, number + GROUP)]
        for step in (
            Copy.record,
            Copy.match,
            Copy.report_match,
            Copy.report_mined,
            Copy.see_mined,
            Copy.report_confirmed,
            Copy.see_final,
            Copy.confirm,
        ):
            await asyncio.gather(*(step(copy) for copy in copies))

    updates = await eventually(lambda: load_all_updates(engine), what="all updates are counted")

    in_place = {name: hot / n for name, (n, hot) in updates.items()}
    assert min(in_place.values()) > MIN_IN_PLACE, in_place


async def load_all_updates(engine: AsyncEngine) -> dict[str, tuple[int, int]]:
    """By table: its updates, and the HOT ones. Empty until all are counted: each connection reports
    its own, once a second.
    """
    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, UPDATES)
    updates = {row.name: (int(row.n), int(row.hot)) for row in rows}
    return updates if {name: n for name, (n, _) in updates.items()} == EXPECTED else {}


class Copy:
    """The writes of one copy, each once what came before is known."""

    def __init__(self, orders: PostgresOrders, watches: PostgresWatches, number: int) -> None:
        self._orders, self._watches = orders, watches
        self._transaction = f"0x{number:064x}"
        self._intent_id = intent_id(
            trade=str(number), from_shares=0, follow_id="follow", intended_at=utc_now()
        )
        self._order = an_order(intent_id=self._intent_id, order_hash=f"0x{number:064x}")
        request = requested(
            request_id=f"{self._intent_id}:{self._transaction}",
            intent_id=self._intent_id,
            transaction_hash=self._transaction,
        )
        self._watch = build_watch(request)

    async def record(self) -> None:
        await self._orders.record(self._order, approved(an_intent(intent_id=self._intent_id)))

    async def match(self) -> None:
        matched = replace(
            self._order,
            state=OrderState.MATCHED,
            posted_at=NOON,
            shares=shares(10),
            usdc=usdc(5),
            last_reply=VenueReply.ARRIVED,
        )
        await self._orders.save(matched, now=NOON)

    async def report_match(self) -> None:
        await self._report(TradeStatus.MATCHED, transaction_hash="")

    async def report_mined(self) -> None:
        await self._report(TradeStatus.MINED, transaction_hash=self._transaction)
        await self._watches.record(self._watch, now=NOON)

    async def see_mined(self) -> None:
        await self._see(TransactionState.MINED)

    async def report_confirmed(self) -> None:
        await self._report(TradeStatus.CONFIRMED, transaction_hash=self._transaction)

    async def see_final(self) -> None:
        await self._see(TransactionState.FINAL)

    async def confirm(self) -> None:
        await self._orders.save(replace(self._order, state=OrderState.CONFIRMED), now=NOON)

    async def _report(self, status: TradeStatus, *, transaction_hash: str) -> None:
        trade = a_trade(
            intent_id=self._intent_id,
            order_hash=self._order.order_hash,
            status=status,
            transaction_hash=transaction_hash,
        )
        await record_trade(self._orders, trade)

    async def _see(self, state: TransactionState) -> None:
        fill = settled(order_hash=self._order.order_hash)
        seen = replace(self._watch, state=state, block_number=1, block_hash=BLOCK, fills=(fill,))
        await self._watches.save(seen, now=NOON)
        await self._orders.record_settlement(
            resolved(
                intent_id=self._intent_id,
                transaction_hash=self._transaction,
                state=state,
                fills=(fill,),
            ),
            now=NOON,
        )
