"""What the runbook says of the archive brings the rows back as they were."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history.files import read_rows
from cli.history.run import Scope
from services.executor.adapters.orders import PostgresOrders
from shared.db.engine import transaction
from shared.messages.orders import OrderState
from tests.builders import approved
from tests.integration.db.test_runbook import read_statements
from tests.integration.history.rows import (
    OLD,
    archive_all,
    insert_dead_letter,
    load,
    numbered_intent,
    prune_all,
)
from tests.leases import executor_leases
from tests.orders import numbered_order

pytestmark = pytest.mark.integration

HEADING = "### History is archived and pruned"
TABLES = ("executor.orders", "control.dead_letters")


async def test_a_week_is_restored_beside_the_services_tables(
    engine: AsyncEngine, scope: Scope
) -> None:
    orders = PostgresOrders(engine, await executor_leases(engine))
    for number in range(3):
        intent = numbered_intent(number)
        order = numbered_order(number, state=OrderState.WITHDRAWN)
        body = 'a "quoted" \\ text\nwith lines, é'
        await orders.record(replace(order, intent_id=intent.intent_id, body=body), approved(intent))
    await insert_dead_letter(engine, state="discarded", at=OLD)
    before = {
        name: await load(engine, f"select r::text from {name} r order by 1") for name in TABLES
    }
    await archive_all(engine, scope)
    assert (await prune_all(engine, scope))[0]

    for name in TABLES:
        assert await load(engine, f"select count(*) from {name}") == [0]
        assert await restore(engine, scope, name) == before[name]


async def restore(engine: AsyncEngine, scope: Scope, name: str) -> list[str]:
    """As the runbook says, with psql's part done here."""
    assert scope.folder is not None
    create, fill = read_statements(HEADING)
    paths = sorted(scope.folder.glob(f"*/{name}.*.jsonl.gz"))
    table = name.split(".")[1]
    async with transaction(engine) as connection:
        for statement in create.split(";"):
            await connection.execute(text(statement))
        for path in paths:
            for row in read_rows(path):
                await connection.execute(
                    text("insert into restored.lines values (cast(:line as jsonb))"),
                    {"line": json.dumps(row)},
                )
        for statement in fill.split(";"):
            named = statement.replace("executor.orders", name)
            await connection.execute(text(named.replace("restored.orders", f"restored.{table}")))
    return await load(engine, f"select r::text from restored.{table} r order by 1")
