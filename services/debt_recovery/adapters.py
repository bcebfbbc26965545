"""Debt-recovery's debts in PostgreSQL, and the feed that reports their sum as a metric."""

import asyncio
import logging
from datetime import timedelta

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from services.debt_recovery.decisions import Debt, sum_owed
from shared.db import tables
from shared.db.engine import fetch_rows, transaction
from shared.domain.errors import Transient
from shared.messages.debts import Creditor
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


class PostgresDebts:
    """Debts in PostgreSQL. They are rare: each is a commit of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, debt: Debt) -> None:
        row = {
            "debt_id": debt.debt_id,
            "proxy": debt.proxy,
            "intent_id": debt.intent_id,
            "creditor": debt.creditor.value,
            "usdc": debt.usdc,
            "reason": debt.reason,
            "raised_at": debt.raised_at,
        }
        async with transaction(self._engine) as connection:
            await connection.execute(insert(tables.debts).values(row).on_conflict_do_nothing())

    async def load_outstanding(self) -> list[Debt]:
        """Load all debts that are not recovered, oldest first. Raises: Transient."""
        async with transaction(self._engine) as connection:
            rows = await fetch_rows(
                connection, "select * from debt_recovery.debts order by raised_at, debt_id"
            )
        return [
            Debt(
                debt_id=row.debt_id,
                proxy=row.proxy,
                intent_id=row.intent_id,
                creditor=Creditor(row.creditor),
                usdc=row.usdc,
                reason=row.reason,
                raised_at=row.raised_at,
            )
            for row in rows
        ]


class DebtMetrics:
    """Reports the sum of what is owed to the operator as a metric."""

    def __init__(self, debts: PostgresDebts, *, sum_interval: timedelta) -> None:
        self._debts, self._sum_interval = debts, sum_interval

    async def __call__(self, _: Publish) -> None:
        while True:
            try:
                metrics.debts_outstanding(
                    sum_owed(Creditor.OPERATOR, await self._debts.load_outstanding())
                )
            except Transient as error:
                logger.warning("could not sum up the outstanding debts, will retry: %s", error)
            await asyncio.sleep(self._sum_interval.total_seconds())
