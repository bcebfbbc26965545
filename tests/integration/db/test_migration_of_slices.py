"""Slices of the previous release get a sequence, in the order in which they were decided."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters import PostgresTrades
from services.ingest.decisions import reconcile
from shared.db import tables
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from shared.messages.leader_fills import FillSource
from tests.builders import NOON, a_fill, seconds, shares
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

PREVIOUS = "0007"
TRADE = a_fill().trade_id
SLICES = (
    (TRADE, 0, shares(40), 0, "another"),
    (TRADE, shares(40), shares(50), 0, ""),
    (TRADE, shares(50), shares(100), 1, ""),
    (TRADE, 0, shares(40), 2, ""),
    ("other", 0, 1, 1, ""),
)
"""Trade, range, second, and the trade that it was resent of. In the order of their decisions."""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of a database of the previous release, with the slices, the last ones first."""
    engine = open_engine(patient_settings(database_url))
    async with engine.begin() as connection:
        await connection.execute(text("create schema control"))
        await connection.run_sync(upgrade_to_previous)
        for trade, start, end, second, resent_of in reversed(SLICES):
            await connection.execute(
                text(
                    "insert into ingest.copy_slices (trade_id, from_shares, to_shares, source,"
                    " row_id, controls_version, intended_at, resent_of)"
                    " values (:trade, :start, :end, 'rtds', 'row-1', 7, :intended_at, :resent_of)"
                ),
                {
                    "trade": trade,
                    "start": start,
                    "end": end,
                    "intended_at": NOON + seconds(second),
                    "resent_of": resent_of,
                },
            )
    yield engine
    await engine.dispose()


def upgrade_to_previous(connection: Connection) -> None:
    command.upgrade(config(connection), PREVIOUS)


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


async def fetch_slices(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select trade_id, from_shares, to_shares, resent_of, sequence, leader_usdc,"
            " leader_held_shares from ingest.copy_slices order by trade_id = 'other', sequence",
        )
    return [tuple(row) for row in rows]


async def test_old_slices_are_numbered_in_the_order_of_their_decisions(engine: AsyncEngine) -> None:
    await migrate(engine)

    assert await find_differences(engine) == ""
    assert await fetch_slices(engine) == [
        (trade, start, end, resent_of, sequence, None, None)
        for (trade, start, end, _, resent_of), sequence in zip(SLICES, [0, 1, 2, 3, 0], strict=True)
    ]


async def test_a_trade_of_the_previous_release_is_continued(engine: AsyncEngine) -> None:
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.execute(
            insert(tables.fills),
            {"trade_id": TRADE, "source": "rtds", "row_id": "row-1", "shares": shares(100)}
            | {"seen_at": NOON},
        )
    trades = PostgresTrades(engine)
    fill = a_fill(source=FillSource.CHAIN, row_id="0xabc:1", shares=shares(120))

    context = await trades.load(fill)
    await trades.record(fill, reconcile(context, fill, controls_version=7, now=NOON))

    newest = (await trades.load(fill)).trade.slices[-1]
    assert (newest.sequence, newest.from_shares, newest.to_shares) == (4, shares(100), shares(120))


async def test_a_downgrade_keeps_one_of_the_rows_of_two_types(engine: AsyncEngine) -> None:
    await migrate(engine)
    row = {"trade_id": TRADE, "source": "rtds", "row_id": "row-1", "shares": 1, "seen_at": NOON}
    async with engine.begin() as connection:
        await connection.execute(
            insert(tables.fills),
            [row | {"row_type": kind} for kind in ("trades", "orders_matched")],
        )
        await connection.run_sync(downgrade_to_previous)

    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, "select row_id, shares from ingest.fills")
        slices = await fetch_rows(connection, "select trade_id from ingest.copy_slices")
    assert [tuple(each) for each in rows] == [("row-1", 1)]
    assert len(slices) == len(SLICES)
