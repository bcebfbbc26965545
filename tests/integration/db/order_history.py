"""Orders, trades and watches of many weeks, closed long ago, as the services leave them."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import tables
from shared.db.engine import transaction
from shared.db.partitions import create_partitions
from tests.builders import LEADER, PROXY, TOKEN

FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday."""
WEEKS = 6
ORDERS = 300_000
OPEN_ORDERS = 2_000
PROXIES = 20
HISTORY = (tables.orders, tables.order_states, tables.trades, tables.watches)

ORDER = f"""
select 'i' || to_char(date '{FIRST_DAY:%Y-%m-%d}' + n % :days, 'YYYYMMDD')
           || '-' || left(md5(n::text), 24) as intent_id,
       '{PROXY}' || n % {PROXIES} as proxy, '0x' || md5(n::text) || md5(n::text) as order_hash,
       '0x' || md5('t' || n) || md5('t' || n) as transaction_hash,
       timestamptz '{FIRST_DAY:%Y-%m-%d} 12:00Z' + n % :days * interval '1 day' as at,
       :state as state
from generate_series(cast(:first as integer), cast(:last as integer)) as n
"""
INSERTS = (
    f"""
    insert into executor.orders (intent_id, proxy, order_hash, body, side, token_id, leader,
        leader_price, limit_price, fee_rate, expires_at, seen_at, intended_at, quoted_at,
        approved_at, signed_at)
    select intent_id, proxy, order_hash, repeat('x', 100), 'BUY', '{TOKEN}', '{LEADER}', 0.5, 0.5,
           0, at, at, at, at, at, at
    from ({ORDER}) o
    """,
    f"""
    insert into executor.order_states (intent_id, state, shares, usdc)
    select intent_id, case state when 'open' then 'matched' else 'confirmed' end, 1, 1
    from ({ORDER}) o
    """,
    f"""
    insert into executor.open_orders select intent_id, proxy from ({ORDER}) o where state = 'open'
    """,
    f"""
    insert into executor.trades (intent_id, trade_id, order_hash, proxy, token_id, side, status,
        shares, usdc, fee_usdc, transaction_hash, matched_at, updated_at)
    select intent_id, 'venue-1', order_hash, proxy, '{TOKEN}', 'BUY',
           case state when 'open' then 'MATCHED' else 'CONFIRMED' end, 1, 1, 0, transaction_hash,
           at, at
    from ({ORDER}) o
    """,
    f"""
    insert into tx_monitor.watches (request_id, proxy, transaction_hash, purpose, intent_id, state,
        fills, requested_at, updated_at)
    select intent_id || ':' || transaction_hash, proxy, transaction_hash, 'settlement', intent_id,
           case state when 'open' then 'watched' else 'final' end, '[]', at, at
    from ({ORDER}) o
    """,
    f"""
    insert into tx_monitor.open_watches
    select intent_id || ':' || transaction_hash from ({ORDER}) o where state = 'open'
    """,
)


async def insert_history(engine: AsyncEngine) -> None:
    """Closed orders of all weeks, and open ones of the first day."""
    for weeks in (0, 3):
        await create_partitions(engine, HISTORY, now=FIRST_DAY + timedelta(weeks=weeks))
    async with transaction(engine) as connection:
        await insert_orders(connection, ORDERS)
    async with transaction(engine) as connection:
        for table in HISTORY:
            await connection.execute(text(f"analyze {table.fullname}"))


async def insert_orders(connection: AsyncConnection, count: int) -> None:
    for first, last, days, state in (
        (1, count, 7 * WEEKS, "closed"),
        (count + 1, count + OPEN_ORDERS, 1, "open"),
    ):
        for statement in INSERTS:
            await connection.execute(
                text(statement), {"first": first, "last": last, "days": days, "state": state}
            )
