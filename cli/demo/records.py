"""Read the services' records of this run from PostgreSQL, including what is not final."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from cli.demo.figures import MOMENTS, OpenCopy, OrderRecord
from shared.db.engine import fetch_rows, transaction
from shared.domain.money import Side

TRADES_SEEN = "select distinct trade_id, source from ingest.fills"
OPEN_COPIES = """
with unsettled as (
    select intent_id,
           string_agg(
               'trade ' || trade_id || ' is ' || status || ', on the chain '
               || coalesce(nullif(chain_state, ''), 'not known'),
               '; ' order by trade_id
           ) as why
    from executor.trades
    where status not in ('CONFIRMED', 'FAILED')
       or (status = 'CONFIRMED' and chain_state not in ('final', 'final_reverted'))
    group by intent_id
)
select i.intent_id, i.proxy, i.token_id, coalesce(o.order_hash, '') as order_hash,
       coalesce(o.state, i.state) as state,
       concat_ws(
           '; ',
           nullif(coalesce(o.reason, i.reason), ''),
           'the venue''s last reply: ' || nullif(o.last_reply, ''),
           u.why,
           case when o.intent_id is null then 'no order yet' end,
           nullif(o.empty_lookups, 0) || ' lookups found no trade',
           case when i.settled_at is null then 'its reservation is not released' end
       ) as why
from preflight.intents i
left join executor.orders_with_states o using (intent_id)
left join unsettled u using (intent_id)
where i.settled_at is null or u.intent_id is not null
order by i.judged_at
"""
CASH = """
select proxy, sum(cash_usdc)::bigint as cash_usdc from executor.positions group by proxy
"""
POSITIONS_OF_FOLLOWS = """
select proxy, token_id, sum(shares)::bigint as shares from preflight.positions
group by proxy, token_id
"""
EXITS = "select state, count(*) as n from preflight.exits group by state order by state"
FURTHER_ATTEMPTS = """
select count(*) as n from preflight.intents where exit_id not in ('', intent_id)
"""
COUNT_RECORDS = """
select (select count(*) from ingest.fills) + (select count(*) from preflight.intents)
       + (select count(*) from executor.orders) as n
"""


class Records:
    """Reads only. Raises: Transient from every method where the database cannot be reached."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def count(self) -> int:
        """How many rows there are: 0 in a new database."""
        return int((await self._read(COUNT_RECORDS))[0].n)

    async def load_trades_seen(self) -> dict[str, set[str]]:
        """The ids of the leaders' trades, by the source that reported them."""
        seen: dict[str, set[str]] = {"rtds": set(), "chain": set()}
        for row in await self._read(TRADES_SEEN):
            seen.setdefault(row.source, set()).add(row.trade_id)
        return seen

    async def load_open_copies(self) -> tuple[OpenCopy, ...]:
        """The copies that are not final, each with its state and why."""
        return tuple(
            OpenCopy(
                intent_id=row.intent_id,
                proxy=row.proxy,
                token_id=row.token_id,
                order_hash=row.order_hash,
                state=row.state,
                why=row.why,
            )
            for row in await self._read(OPEN_COPIES)
        )

    async def load_verdicts(self) -> frozenset[str]:
        return frozenset(
            row.intent_id for row in await self._read("select intent_id from preflight.intents")
        )

    async def load_orders(self, quoted_at: Mapping[str, Any]) -> tuple[OrderRecord, ...]:
        """``quoted_at``: when each intent was quoted. The records only have the time when its order
        book was fetched.
        """
        return tuple(
            _parse_order(row, quoted_at)
            for row in await self._read(
                "select * from executor.orders_with_states order by signed_at"
            )
        )

    async def load_positions(self) -> dict[tuple[str, str], int]:
        return {
            (row.proxy, row.token_id): row.shares
            for row in await self._read("select * from executor.positions")
        }

    async def load_positions_of_follows(self) -> dict[tuple[str, str], int]:
        """What preflight counts for all follows of each proxy together."""
        return {
            (row.proxy, row.token_id): row.shares for row in await self._read(POSITIONS_OF_FOLLOWS)
        }

    async def load_exits(self) -> tuple[dict[str, int], int]:
        """The number of exits by state, and of attempts after their first ones."""
        rows = await self._read(EXITS)
        further = (await self._read(FURTHER_ATTEMPTS))[0].n
        return {row.state: row.n for row in rows}, int(further)

    async def load_cash(self) -> dict[str, int]:
        return {row.proxy: row.cash_usdc for row in await self._read(CASH)}

    async def _read(self, statement: str) -> Any:
        async with transaction(self._engine) as connection:
            return await fetch_rows(connection, statement)


def _parse_order(row: Any, quoted_at: Mapping[str, Any]) -> OrderRecord:
    at = {name: getattr(row, f"{name}_at") for name in MOMENTS if name != "quoted"} | {
        "quoted": quoted_at.get(row.intent_id)
    }
    return OrderRecord(
        intent_id=row.intent_id,
        order_hash=row.order_hash,
        proxy=row.proxy,
        side=Side(row.side),
        state=row.state,
        reason=row.reason,
        leader_price=row.leader_price,
        shares=row.shares,
        usdc=row.usdc,
        at={name: moment for name, moment in at.items() if moment is not None},
    )
