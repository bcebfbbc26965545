"""What the services answer is the same before and after a prune, and nothing is copied twice."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history.run import Scope
from services.ingest.adapters import PostgresTrades
from services.ingest.handler import Handler
from services.preflight.adapters.levels import load_held_tokens
from shared.db.engine import transaction
from shared.domain.money import Side
from shared.messages.intents import IntentApproved, IntentRefused, Missing, NoQuote
from shared.messages.refusals import Refusal
from tests.builders import (
    NOON,
    a_fill,
    a_follow,
    a_quote,
    controls,
    levels,
    quoted,
    seconds,
    shares,
)
from tests.fakes import Clock, FakeComplements, FakeHoldings, FixedControls
from tests.integration.history.rows import NOW, load, load_intents, prune_all
from tests.integration.preflight.test_levels import ENTRY, SALE, Copying

pytestmark = pytest.mark.integration


@pytest.fixture
def copying(engine: AsyncEngine) -> Copying:
    return Copying(engine)


async def prune_old(engine: AsyncEngine, scope: Scope) -> None:
    is_complete, lines = await prune_all(engine, replace(scope, folder=None))
    assert is_complete, lines


def old_id(tx: str) -> str:
    """Of an intent of the old week."""
    return f"i20260101-{tx[2:26]}"


async def load_answers(copying: Copying) -> list[Any]:
    """What preflight decides by: caps, positions, the bases of exits, and levels with the trades
    that they are compared with.
    """
    sale = copying.trade(Side.SELL, 500, tx="0x" + "77" * 32)
    limits = replace(copying.handler.limits, max_open_positions=5, max_entries_per_minute=5)
    follows = [a_follow()]
    return [
        await copying.verdicts.load_commitments(
            sale.model_copy(update={"side": Side.BUY}),
            limits=limits,
            since=copying.clock.now - seconds(10),
            now=copying.clock.now,
        ),
        await copying.verdicts.load_position(sale),
        await load_held_tokens(copying.engine, follows, controls(*follows)),
        await load(copying.engine, "select p::text from executor.positions p order by 1"),
    ]


@pytest.mark.parametrize("is_compared", [True, False], ids=["with a base", "without a base"])
async def test_what_is_decided_by_is_the_same_after_a_prune(
    is_compared: bool, copying: Copying, scope: Scope
) -> None:
    await copying.buy(intent_id=old_id(ENTRY))
    await copying.buy(600, copied=10, tx="0x" + "e2" * 32, intent_id=old_id("0x" + "e2" * 32))
    if is_compared:
        assert await copying.round() == []
    missed = copying.trade(Side.SELL, 100, tx=SALE, intent_id=old_id(SALE))
    copying.clock.now += timedelta(hours=1)
    await copying.judge(missed)
    copying.clock.now = NOW
    before = await load_answers(copying)

    await prune_old(copying.engine, scope)

    assert await load_answers(copying) == before
    kept = await load_intents(copying.engine)
    assert set(kept.values()) == {"default"}
    assert old_id(SALE) in kept


async def test_an_exit_after_a_prune_sells_what_was_bought_before_it(
    copying: Copying, scope: Scope
) -> None:
    await copying.buy(intent_id=old_id(ENTRY))
    assert await copying.round() == []
    copying.clock.now = NOW
    await prune_old(copying.engine, scope)
    copying.leaders.holds(600)

    (intent,) = await copying.round()
    verdict = await copying.judge(intent)

    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(20)


async def test_a_position_whose_market_has_ended_counts_no_more_after_a_prune(
    copying: Copying, scope: Scope
) -> None:
    await copying.buy(intent_id=old_id(ENTRY))
    copying.clock.now += seconds(1)
    sale = copying.trade(Side.SELL, 100, tx=SALE, intent_id=old_id(SALE))
    refused = await copying.judge(sale, NoQuote(missing=Missing.NO_MARKET))
    assert isinstance(refused, IntentRefused)
    copying.clock.now = NOW

    await prune_old(copying.engine, scope)

    assert (await load_answers(copying))[0].open_tokens == frozenset()


async def test_what_was_kept_leaves_once_the_follow_holds_nothing(
    copying: Copying, scope: Scope
) -> None:
    await copying.buy(intent_id=old_id(ENTRY))
    copying.clock.now = NOW
    await prune_old(copying.engine, scope)
    assert await load_intents(copying.engine) == {old_id(ENTRY): "default"}
    sale = copying.trade(Side.SELL, 1000, tx=SALE, intent_id=f"i20260226-{SALE[2:26]}")
    verdict = await copying.judge(sale)
    await copying.settle(verdict, shares(50))

    await prune_old(copying.engine, scope)

    assert old_id(ENTRY) not in await load_intents(copying.engine)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("gone", [("intents", "verdicts"), ("intents",), ("verdicts",)])
async def test_an_intent_that_comes_again_after_its_rows_left_is_refused_and_changes_nothing(
    gone: tuple[str, ...], side: Side, copying: Copying, scope: Scope
) -> None:
    """Also where a prune was interrupted, and only one of its rows has left."""
    await copying.buy(intent_id=old_id(ENTRY))
    trade = copying.trade(side, 400, tx=SALE, intent_id=old_id(SALE))
    copying.leaders.holds(600 if side is Side.SELL else 1400, tx=SALE)
    verdict = await copying.judge(trade)
    assert isinstance(verdict, IntentApproved)
    await copying.settle(verdict, shares(20))
    copying.clock.now = NOW
    if len(gone) == 2:
        await prune_old(copying.engine, scope)
    async with transaction(copying.engine) as connection:
        for table in gone:  # what is kept of a held position, too
            await connection.execute(text(f"delete from preflight.{table}"))
    held = await load(copying.engine, "select shares from preflight.positions")

    book = a_quote(levels=levels(("0.50", 10**6)), fetched_at=NOW, opposite_best="0.50")
    (again,) = await copying.handler.on_intent_quoted(quoted(book, **dict(trade)))

    assert isinstance(again, IntentRefused)
    assert again.reason is Refusal.BEFORE_HISTORY
    assert await load(copying.engine, "select shares from preflight.positions") == held
    assert "missed" not in [state for state, _ in await copying.exits()]
    for _ in range(3):
        assert await copying.round() == []


@pytest.mark.parametrize("side", Side)
async def test_a_fill_that_comes_again_after_its_rows_left_is_not_copied(
    side: Side, engine: AsyncEngine, scope: Scope
) -> None:
    clock = Clock(NOON)
    ingest = Handler(
        trades=PostgresTrades(engine),
        holdings=FakeHoldings(),
        complements=FakeComplements(),
        controls=FixedControls(controls(a_follow())),
        now=clock,
    )
    assert len(await ingest.on_leader_fill_seen(a_fill(side=side))) == 1
    clock.now = NOW
    await prune_old(engine, scope)
    assert await load(engine, "select count(*) from ingest.fills") == [0]

    assert await ingest.on_leader_fill_seen(a_fill(side=side)) == []

    for table in ("fills", "copy_slices", "copy_sizes"):
        assert await load(engine, f"select count(*) from ingest.{table}") == [0]
