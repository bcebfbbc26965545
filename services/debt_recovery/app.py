"""Composition root: builds debt-recovery from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.debt_recovery.adapters import DebtMetrics, PostgresDebts
from services.debt_recovery.handler import Handler
from services.debt_recovery.settings import Settings
from shared.db.database_watch import DatabaseWatch
from shared.db.dead_letters import PostgresDeadLetters
from shared.db.engine import engine_scope
from shared.db.migrate import require_migrated
from shared.db.settings import DatabaseSettings
from shared.messages.debts import DebtRaised
from shared.settings import read
from shared.streams.producer import Producer
from shared.streams.service import Process, Service, run


@asynccontextmanager
async def compose(process: Process) -> AsyncIterator[Service]:
    settings = read(Settings)
    async with Producer(process.kafka) as producer, engine_scope(read(DatabaseSettings)) as engine:
        await require_migrated(engine)
        debts, database = PostgresDebts(engine), DatabaseWatch(engine)
        handler = Handler(debts=debts)
        yield Service(
            producer=producer,
            dead_letters=PostgresDeadLetters(engine),
            routes={DebtRaised: handler.on_debt_raised},
            feeds={
                "debts": DebtMetrics(debts, sum_interval=settings.sum_interval),
                "database": database,
            },
            readiness_checks=[database],
        )


def main() -> None:
    run("debt-recovery", compose)
