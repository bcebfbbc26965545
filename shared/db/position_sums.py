"""Keeps the positions of trades whose partition is dropped."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import tables


async def fold_trades(connection: AsyncConnection, partition: str) -> None:
    """Add the trades of a partition of ``executor.trades`` to ``executor.position_sums``.

    The partition must be dropped in the same transaction: positions count the trades that are there
    and the sums. No trade of it changes until then. ``partition``: its name with its schema.
    """
    await connection.execute(text(f"lock table {partition} in exclusive mode"))
    await connection.execute(
        text(f"""
            insert into {tables.position_sums.fullname} as sums
                   (proxy, token_id, shares, cash_usdc, trades)
            select proxy, token_id,
                   sum(case side when 'BUY' then shares else -shares end)::bigint,
                   sum(case side when 'BUY' then -usdc else usdc end - fee_usdc)::bigint,
                   count(*)
            from {partition}
            where status <> 'FAILED'
            group by proxy, token_id
            order by proxy, token_id
            on conflict (proxy, token_id) do update
            set shares = sums.shares + excluded.shares,
                cash_usdc = sums.cash_usdc + excluded.cash_usdc,
                trades = sums.trades + excluded.trades
        """)
    )
