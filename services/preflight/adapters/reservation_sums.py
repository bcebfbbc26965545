"""Corrects the sums of open reservations where they differ from what they sum up.

They do not differ by themselves: each statement that records or settles changes both. A process of
an earlier release, or an operator, may have written reservations alone.
"""

import logging

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, transaction

logger = logging.getLogger(__name__)

FIND_WRONG = """
select coalesce(s.proxy, r.proxy) as proxy
from preflight.reservation_sums s
full join (
    select proxy, sum(reserved_usdc) as usdc from preflight.reservations
    where settled_at is null group by proxy
) as r on r.proxy = s.proxy
where coalesce(s.open_usdc, 0) <> coalesce(r.usdc, 0)
order by 1
"""
LOCK = """
insert into preflight.reservation_sums as s (proxy, open_usdc) values (:proxy, 0)
on conflict (proxy) do update set open_usdc = s.open_usdc
returning open_usdc as usdc
"""
SUM_UP = """
select coalesce(sum(reserved_usdc), 0)::bigint as usdc from preflight.reservations
where proxy = :proxy and settled_at is null
"""
CORRECT = "update preflight.reservation_sums set open_usdc = :usdc where proxy = :proxy"


async def correct_sums(engine: AsyncEngine) -> None:
    """Correct each sum that is wrong, with an error in the log. Raises: Transient."""
    async with autocommit(engine) as connection:
        wrong = await fetch_rows(connection, FIND_WRONG)
    for row in wrong:
        await _correct(engine, row.proxy)


async def _correct(engine: AsyncEngine, proxy: str) -> None:
    """While the row is locked, no transaction that changes what is open of the proxy commits: all
    of them change the row. Those that committed before are seen by the statement after the lock.
    """
    async with transaction(engine) as connection:
        (kept,) = await fetch_rows(connection, LOCK, proxy=proxy)
        (summed,) = await fetch_rows(connection, SUM_UP, proxy=proxy)
        if kept.usdc == summed.usdc:  # it was corrected meanwhile
            return
        await fetch_rows(connection, CORRECT, proxy=proxy, usdc=summed.usdc)
    logger.error(
        "the sum of the open reservations was wrong, and is corrected: follower %s, "
        "%s micro-USDC instead of %s",
        proxy,
        summed.usdc,
        kept.usdc,
    )
