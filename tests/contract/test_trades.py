"""What every store of leaders' trades does, the fake and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from services.ingest.adapters import PostgresTrades
from services.ingest.decisions import Gathered, Part, row_of
from services.ingest.handler import Handler, Trades
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient
from shared.messages.leader_fills import LeaderFillSeen, Witness
from tests.builders import NOON, a_fill, a_follow, controls, shares
from tests.fakes import Clock, FakeTrades, FixedControls

NOTHING = Gathered(shares_by_row={}, parts=())


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def trades(request: pytest.FixtureRequest) -> AsyncIterator[Trades]:
    if request.param == "fake":
        yield FakeTrades()
        return
    engine = open_engine(DatabaseSettings.model_validate({"url": request.getfixturevalue("migrated_database_url")}))
    yield PostgresTrades(engine)
    await engine.dispose()


def a_part(fill: LeaderFillSeen, **overrides: Any) -> Part:
    base = Part(from_shares=0, to_shares=fill.shares, made_known_by=row_of(fill), controls_version=7, intended_at=NOON)
    return replace(base, **overrides)


async def test_a_trade_that_nobody_has_seen_has_nothing(trades: Trades) -> None:
    assert await trades.load(a_fill()) == NOTHING


async def test_rows_and_parts_come_back_as_they_were_kept(trades: Trades) -> None:
    first, second = a_fill(), a_fill(witness=Witness.CHAIN, row_id="0xabc:1", shares=shares(120))
    top_up = a_part(second, from_shares=shares(100), to_shares=shares(120))

    await trades.record(first, a_part(first))
    await trades.record(second, top_up)

    assert await trades.load(first) == Gathered(
        shares_by_row={row_of(first): shares(100), row_of(second): shares(120)}, parts=(a_part(first), top_up)
    )


async def test_a_row_that_makes_nothing_known_is_kept_too(trades: Trades) -> None:
    await trades.record(a_fill(), None)

    assert await trades.load(a_fill()) == Gathered(shares_by_row={row_of(a_fill()): shares(100)}, parts=())


async def test_recording_again_changes_nothing(trades: Trades) -> None:
    for _ in range(3):
        await trades.record(a_fill(), a_part(a_fill()))

    assert (await trades.load(a_fill())).parts == (a_part(a_fill()),)


async def test_a_part_that_somebody_else_has_begun_is_refused_and_its_row_is_not_kept(trades: Trades) -> None:
    first, second = a_fill(), a_fill(row_id="other", shares=shares(50))
    await trades.record(first, a_part(first))

    with pytest.raises(Transient):
        await trades.record(second, a_part(second))

    assert await trades.load(first) == Gathered(shares_by_row={row_of(first): shares(100)}, parts=(a_part(first),))


async def test_of_those_who_begin_the_same_part_at_once_one_wins(trades: Trades) -> None:
    fills = [a_fill(row_id=name) for name in "abcdef"]

    outcomes = await asyncio.gather(*(trades.record(fill, a_part(fill)) for fill in fills), return_exceptions=True)

    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Transient) for outcome in outcomes) == 5
    gathered = await trades.load(a_fill())
    assert (len(gathered.parts), len(gathered.shares_by_row)) == (1, 1)


async def test_the_trades_of_a_large_group_are_kept_apart(trades: Trades) -> None:
    fills = [a_fill(transaction_hash=f"0x{number:064x}", shares=number) for number in range(1, 501)]

    await asyncio.gather(*(trades.record(fill, a_part(fill)) for fill in fills))

    found = await asyncio.gather(*map(trades.load, fills))
    assert [gathered.covered for gathered in found] == [fill.shares for fill in fills]


async def test_two_processes_that_handle_the_same_trade_copy_it_once(trades: Trades) -> None:
    rows = [a_fill(row_id=name, shares=shares(10)) for name in "abc"]
    handlers = [Handler(trades=trades, controls=FixedControls(controls(a_follow())), now=Clock(NOON)) for _ in range(2)]

    async def handled(handler: Handler, fill: LeaderFillSeen) -> list[str]:
        while True:
            try:
                return [f"{message.intent_id} {message.intent.leader_shares}" for message in await handler.on_leader_fill_seen(fill)]
            except Transient:
                continue

    said = [await asyncio.gather(*(handled(handler, fill) for handler in handlers)) for fill in rows]

    copied = {each for answers in said for messages in answers for each in messages}
    assert len(copied) == 3
    assert (await trades.load(rows[0])).covered == shares(30)
