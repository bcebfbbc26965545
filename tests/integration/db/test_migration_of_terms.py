"""The way back to a release that does not know the terms and exits of this one."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import Exit
from shared.db.controls import save_follows
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, migrate
from shared.domain.follows import Follow
from shared.domain.money import Side
from shared.domain.terms import EntryMode, Filters, Tier
from shared.messages.intents import CopyCause, Intent
from tests.builders import NOON, a_follow, an_intent, approved, seconds, shares, usdc
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

PREVIOUS = "0010"
NEW_FIELDS = {
    "cause",
    "level",
    "leader_usdc",
    "leader_token_id",
    "complement_missing",
    "needs_market_details",
    "carried_usdc",
    "sized_by_equity",
    "leader_equity_usdc",
    "follower_equity_usdc",
}
KNOWN_FIELDS = set(Intent.model_fields) - NEW_FIELDS
"""To the previous release, which refuses an intent with others."""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(database_url))
    await migrate(engine)
    yield engine
    await engine.dispose()


async def go_back(engine: AsyncEngine) -> None:
    def downgrade(connection: Connection) -> None:
        command.downgrade(config(connection), PREVIOUS)

    async with engine.begin() as connection:
        await connection.run_sync(downgrade)


@pytest.mark.parametrize(
    ("follow", "goes_on"),
    [
        (a_follow(), True),
        (a_follow(percent=None, fixed_usdc=usdc(5)), True),
        (a_follow(entries=EntryMode.MIRROR), True),
        (a_follow(entries=EntryMode.NONE), False),
        (a_follow(counter=True), False),
        (a_follow(percent=None, fixed_usdc=usdc(5), counter=True), False),
        (a_follow(percent=None, equity_percent=Decimal(1)), False),
        (a_follow(percent=None, tiers=(Tier(from_usdc=0, percent=Decimal(1)),)), False),
        (a_follow(filters=Filters(min_leader_usdc=1)), False),
        (a_follow(filters=Filters(max_price=Decimal("0.9"))), False),
        (a_follow(filters=Filters(excluded_tags=frozenset({"sports"}))), False),
        (a_follow(filters=Filters(markets=frozenset({"0x1"}))), False),
    ],
    ids=str,
)
async def test_a_follow_whose_terms_the_older_release_would_take_for_others_is_ended(
    engine: AsyncEngine, follow: Follow, goes_on: bool
) -> None:
    await save_follows(engine, [follow], by="test", change="follow")

    await go_back(engine)

    async with transaction(engine) as connection:
        (row,) = await fetch_rows(connection, "select * from control.follows")
    assert row.active is goes_on
    assert (row.percent is None) != (row.fixed_usdc is None)


async def save_exit(engine: AsyncEngine, intent: Intent) -> None:
    exit_ = Exit(
        intent=intent,
        base_shares=shares(10),
        shares=shares(10),
        next_attempt_at=NOON,
        expires_at=NOON + seconds(600),
    )
    await PostgresVerdicts(engine).record(approved(intent, shares=shares(10), usdc=0), exit_)


async def test_open_exits_can_be_read_by_the_older_release(engine: AsyncEngine) -> None:
    # A title may contain what jsonb refuses.
    of_trade = an_intent(intent_id="a" * 32, side=Side.SELL, title="\x00", leader_token_id="7")
    by_level = an_intent(
        intent_id="b" * 32, side=Side.SELL, leader_price=None, cause=CopyCause.RECONCILED
    )
    await save_exit(engine, of_trade)
    await save_exit(engine, by_level)

    await go_back(engine)

    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, "select * from preflight.exits order by exit_id")
    assert [row.state for row in rows] == ["open", "unsold"]
    assert set(json.loads(rows[0].intent)) == KNOWN_FIELDS


async def test_an_exit_that_a_newer_release_has_stored_is_read_without_what_it_added(
    engine: AsyncEngine,
) -> None:
    intent = an_intent(intent_id="a" * 32, side=Side.SELL)
    await save_exit(engine, intent)
    async with transaction(engine) as connection:
        (row,) = await fetch_rows(connection, "select intent from preflight.exits")
        newer = json.dumps(json.loads(row.intent) | {"added_later": 1})
        await fetch_rows(
            connection, "update preflight.exits set intent = :newer returning 1", newer=newer
        )

    position = await PostgresVerdicts(engine).load_position(replace_id(intent))

    assert [each.intent for each in position.open_exits] == [intent]


def replace_id(intent: Intent) -> Intent:
    """Another exit of the same follow and token."""
    return intent.model_copy(update={"intent_id": "c" * 32})
