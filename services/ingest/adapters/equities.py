"""Reads at an interval what wallets are worth, and keeps it: copies are sized by what was read."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.sql import Batch
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.follows import Controls
from shared.domain.terms import EquityRange
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

KEPT_FOR = timedelta(days=1)
"""How long a reading is kept at least."""
NONE_INTERVAL_S = 1.0
"""The pause where no wallet is needed."""
WALLETS_PER_READING = 50
"""Whose pUSD is read in one request, right before the values of their positions."""

MIN_READINGS = 2
"""How many must count: the Data API is up to half a minute behind the chain, so a wallet that has
just bought looks poor in one of them."""

EQUITIES = Batch.from_table(tables.equities, *tables.equities.columns.keys())
WALLETS = Batch.from_table(tables.equities, "wallet")

LOAD = f"""
select equities.wallet, min(equities.usdc) as lowest_usdc, max(equities.usdc) as highest_usdc
from {WALLETS.unnest("given")}
join ingest.equities using (wallet)
where equities.read_at <= :at
  and equities.read_at >= cast(:at as timestamptz) - cast(:max_age as interval)
group by equities.wallet
having count(*) >= {MIN_READINGS}
"""
RECORD = f"""
insert into ingest.equities ({EQUITIES.names})
select * from {EQUITIES.unnest("given")}
on conflict do nothing
"""
REMOVE_OLD = "delete from ingest.equities where read_at < :before"

FetchCash = Callable[[Sequence[str]], Awaitable[Sequence[int | Transient]]]
"""The micro-pUSD of each wallet; a wallet that could not be read has its failure. Raises: Transient
where none could be read."""
FetchValue = Callable[[str], Awaitable[int]]
"""The value of a wallet's positions in micro-USDC. Raises: Transient, InvalidMessage."""


class PostgresEquities:
    """What the feed has read. A reading counts for ``max_age``; two make a wallet known."""

    def __init__(self, engine: AsyncEngine, *, max_age: timedelta) -> None:
        self._engine, self._max_age = engine, max_age

    async def load(self, wallets: AbstractSet[str], at: datetime) -> Mapping[str, EquityRange]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(
                connection,
                LOAD,
                at=at,
                max_age=self._max_age,
                **WALLETS.parameters([{"wallet": wallet} for wallet in wallets]),
            )
        return {
            row.wallet: EquityRange(lowest_usdc=row.lowest_usdc, highest_usdc=row.highest_usdc)
            for row in rows
        }

    async def record(self, readings: Sequence[tuple[str, datetime, int]]) -> None:
        """Add readings, each of wallet, time and micro-USDC, and remove old ones.

        Raises: Transient.
        """
        values: list[Mapping[str, Any]] = [
            {"wallet": wallet, "read_at": read_at, "usdc": usdc}
            for wallet, read_at, usdc in readings
        ]
        if not values:
            return
        before = max(read_at for _, read_at, _ in readings) - max(KEPT_FOR, self._max_age)
        async with transaction(self._engine) as connection:
            await fetch_rows(connection, RECORD, **EQUITIES.parameters(values))
            await fetch_rows(connection, REMOVE_OLD, before=before)


class EquityFeed:
    """A feed that publishes nothing: it reads one wallet after another.

    A wallet that cannot be read keeps what was read of it before, until that is too old.
    """

    def __init__(
        self,
        equities: PostgresEquities,
        *,
        fetch_cash: FetchCash,
        fetch_value: FetchValue | None,
        wallets: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
        interval: timedelta,
        max_age: timedelta,
    ) -> None:
        """``fetch_value``: None where no Data API is set. ``max_age``: how long readings count."""
        self._equities, self._fetch_cash, self._fetch_value = equities, fetch_cash, fetch_value
        self._wallets, self._now = wallets, now
        self._interval, self._max_age = interval, max_age
        self._read_at: dict[str, datetime] = {}

    async def __call__(self, publish: Publish) -> None:
        while True:
            await self.read_all()
            interval_s = self._interval.total_seconds()
            # Before the first assignment of partitions there is none.
            await asyncio.sleep(interval_s if self._wallets() else min(interval_s, NONE_INTERVAL_S))

    async def read_all(self) -> None:
        """Read each wallet once, and keep what was read."""
        wallets = sorted(self._wallets())
        if wallets and self._fetch_value is None:
            logger.error(
                "%d wallets are needed by follows that copy a share of the equity, but DATA_URL is "
                "not set: their entries are refused as equity_unknown",
                len(wallets),
            )
        elif self._fetch_value is not None:
            for group in _split(wallets, WALLETS_PER_READING):
                await self._read_group(group, self._fetch_value)
        self._report(wallets)

    async def _read_group(self, wallets: Sequence[str], fetch_value: FetchValue) -> None:
        read_at, readings = self._now(), []
        try:
            amounts = await self._fetch_cash(wallets)
            for wallet, cash in zip(wallets, amounts, strict=True):
                usdc = await _add_value(wallet, cash, fetch_value)
                if usdc is not None:
                    readings.append((wallet, read_at, usdc))
            await self._equities.record(readings)
        except Transient as error:
            logger.warning(
                "what %d wallets are worth could not be read or kept, and is read again in %s: %s",
                len(wallets),
                self._interval,
                error,
            )
            return
        self._read_at |= {wallet: at for wallet, at, _ in readings}

    def _report(self, wallets: Iterable[str]) -> None:
        oldest = self._now() - self._max_age
        known = {wallet for wallet, read_at in self._read_at.items() if read_at >= oldest}
        self._read_at = {wallet: self._read_at[wallet] for wallet in known}
        metrics.equities_unknown(len(set(wallets) - known))


def list_wallets(controls: Controls) -> AbstractSet[str]:
    """The wallets whose equity some follow needs: leaders and proxies."""
    return {
        wallet
        for follows in controls.follows_by_leader.values()
        for follow in follows.values()
        if follow.equity_percent is not None
        for wallet in (follow.leader, follow.proxy)
    }


async def _add_value(wallet: str, cash: int | Transient, fetch_value: FetchValue) -> int | None:
    """What a wallet is worth in micro-USDC; None where it could not be read."""
    try:
        if isinstance(cash, Transient):
            raise cash
        return cash + await fetch_value(wallet)
    except (Transient, InvalidMessage) as error:
        logger.warning("what wallet %s is worth could not be read: %s", wallet, error)
        return None


def _split(wallets: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    remaining = iter(wallets)
    while group := tuple(itertools.islice(remaining, size)):
        yield group
