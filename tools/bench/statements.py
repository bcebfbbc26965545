"""What the database's statements cost, from pg_stat_statements, and where a copy's time goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import asyncpg

PRELOAD = {"shared_preload_libraries": "pg_stat_statements"}
"""The server's settings by which statements are counted. It costs the server some CPU."""
SHOWN_STATEMENTS = 14
MAX_TEXT = 400

TOP = f"""
select calls, rows, total_exec_time as total_ms, mean_exec_time as mean_ms,
       wal_bytes::float / 1e6 as wal_mb,
       left(regexp_replace(query, '\\s+', ' ', 'g'), {MAX_TEXT}) as text
from pg_stat_statements join pg_database d on d.oid = dbid
where d.datname = $1
order by total_exec_time desc limit {SHOWN_STATEMENTS}
"""  # noqa: S608 - numbers of this module

STAGE_ENDS = ("seen_at", "intended_at", "approved_at", "signed_at", "posted_at", "answered_at")
STAGES = f"""
select {
    ", ".join(
        f"percentile_cont(array[0.5, 0.9, 0.99]) within group "
        f"(order by extract(epoch from {end} - {start}) * 1000) as {end}"
        for start, end in pairwise(STAGE_ENDS)
    )
}
from executor.orders_with_states
where seen_at >= $1 and answered_at is not null
"""  # noqa: S608 - columns of this module


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement of all its calls since the last reset."""

    text: str
    calls: int
    rows: int
    total_ms: float
    mean_ms: float
    wal_mb: float


class StatementCounts:
    """The counts of one database, where the extension is there; else there are none."""

    def __init__(self, database_url: str) -> None:
        self._url, self._database = database_url, database_url.rpartition("/")[2]

    async def reset(self) -> None:
        await self._run("create extension if not exists pg_stat_statements")
        await self._run("select pg_stat_statements_reset()")

    async def fetch_top(self) -> list[Statement]:
        """The statements that took longest in all."""
        return [Statement(**dict(row)) for row in await self._run(TOP, self._database)]

    async def fetch_stages(self, since: datetime) -> Mapping[str, Sequence[float]]:
        """Milliseconds to each moment of a copy from the one before: p50, p90, p99. Empty where
        the tables are those of another release, or no order was answered.
        """
        rows = await self._run(STAGES, since)
        return {name: list(times) for name, times in rows[0].items() if times} if rows else {}

    async def _run(self, statement: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._url)
        try:
            return list(await connection.fetch(statement, *values, timeout=60))
        except asyncpg.PostgresError:
            return []
        finally:
            await connection.close()
