"""What every store of leaders' trades does, the fake and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from services.ingest.adapters import PostgresTrades
from services.ingest.decisions import (
    CLOCK_TOLERANCE,
    RESENT_WITHIN,
    CopySlice,
    Reconciliation,
    FillRow,
    Trade,
    TradeContext,
    row_key,
)
from services.ingest.handler import Handler, Trades
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, a_fill, a_follow, controls, seconds, shares
from tests.fakes import Clock, FakeTrades, FixedControls


def nothing(trade_id: str) -> TradeContext:
    return TradeContext(trade=Trade(trade_id=trade_id, rows={}))


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def trades(request: pytest.FixtureRequest) -> AsyncIterator[Trades]:
    if request.param == "fake":
        yield FakeTrades()
        return
    engine = open_engine(
        DatabaseSettings.model_validate({"url": request.getfixturevalue("migrated_database_url")})
    )
    yield PostgresTrades(engine)
    await engine.dispose()


def a_part(fill: LeaderFillSeen, **overrides: Any) -> CopySlice:
    base = CopySlice(
        from_shares=0,
        to_shares=fill.shares,
        caused_by=row_key(fill),
        controls_version=7,
        intended_at=NOON,
    )
    return replace(base, **overrides)


def found(fill: LeaderFillSeen, *parts: CopySlice, waits: bool = False) -> Reconciliation:
    return Reconciliation(row=a_row(fill, waits=waits), slices=parts)


def a_row(fill: LeaderFillSeen, *, waits: bool = False) -> FillRow:
    return FillRow(shares=fill.shares, filled_at=fill.filled_at, awaits_confirmation=waits)


def gathered(*fills: LeaderFillSeen, parts: tuple[CopySlice, ...] = ()) -> TradeContext:
    return TradeContext(
        trade=Trade(
            trade_id=fills[0].trade_id,
            rows={row_key(fill): a_row(fill) for fill in fills},
            slices=parts,
        )
    )


async def test_a_trade_that_nobody_has_seen_has_nothing(trades: Trades) -> None:
    assert await trades.load(a_fill()) == nothing(a_fill().trade_id)


async def test_rows_and_parts_come_back_as_they_were_kept(trades: Trades) -> None:
    first, second = a_fill(), a_fill(source=FillSource.CHAIN, row_id="0xabc:1", shares=shares(120))
    top_up = a_part(second, from_shares=shares(100), to_shares=shares(120))

    await trades.record(first, found(first, a_part(first)))
    await trades.record(second, found(second, top_up))

    assert await trades.load(first) == gathered(first, second, parts=(a_part(first), top_up))


async def test_a_row_that_makes_nothing_known_is_kept_too(trades: Trades) -> None:
    await trades.record(a_fill(), found(a_fill()))

    assert await trades.load(a_fill()) == gathered(a_fill())


async def test_that_a_row_waits_is_kept_as_it_was_said_first(trades: Trades) -> None:
    for waits in (True, False):
        await trades.record(a_fill(), found(a_fill(), waits=waits))

    assert (await trades.load(a_fill())).trade.rows == {
        row_key(a_fill()): a_row(a_fill(), waits=True)
    }


async def test_recording_again_changes_nothing(trades: Trades) -> None:
    for _ in range(3):
        await trades.record(a_fill(), found(a_fill(), a_part(a_fill())))

    assert (await trades.load(a_fill())).trade.slices == (a_part(a_fill()),)


async def test_a_part_that_somebody_else_has_begun_is_refused_and_its_row_is_not_kept(
    trades: Trades,
) -> None:
    first, second = a_fill(), a_fill(row_id="other", shares=shares(50))
    await trades.record(first, found(first, a_part(first)))

    with pytest.raises(Transient):
        await trades.record(second, found(second, a_part(second)))

    assert await trades.load(first) == gathered(first, parts=(a_part(first),))


async def test_of_those_who_begin_the_same_part_at_once_one_wins(trades: Trades) -> None:
    fills = [a_fill(row_id=name) for name in "abcdef"]

    outcomes = await asyncio.gather(
        *(trades.record(fill, found(fill, a_part(fill))) for fill in fills), return_exceptions=True
    )

    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Transient) for outcome in outcomes) == 5
    trade = (await trades.load(a_fill())).trade
    assert (len(trade.slices), len(trade.rows)) == (1, 1)


async def test_the_trades_of_a_large_group_are_kept_apart(trades: Trades) -> None:
    fills = [
        a_fill(transaction_hash=f"0x{number:064x}", row_id=f"row-{number}", shares=number)
        for number in range(1, 501)
    ]

    await asyncio.gather(*(trades.record(fill, found(fill, a_part(fill))) for fill in fills))

    loaded = await asyncio.gather(*map(trades.load, fills))
    assert [each.trade.copied_shares for each in loaded] == [fill.shares for fill in fills]


TOLD = a_fill(transaction_hash="0x" + "1" * 64)
SETTLED = a_fill(
    transaction_hash="0x" + "2" * 64,
    source=FillSource.CHAIN,
    row_id="0xabc:1",
    filled_at=NOON + seconds(8),
)
TAKEN_FOR = replace(a_part(SETTLED), resent_of=TOLD.trade_id, fill=SETTLED)


async def test_what_is_taken_for_another_trade_sent_again_comes_back_with_either_and_with_the_row_to_tell_again(
    trades: Trades,
) -> None:
    await trades.record(TOLD, found(TOLD, a_part(TOLD)))
    await trades.record(SETTLED, found(SETTLED, TAKEN_FOR))

    of_told, of_settled = await trades.load(TOLD), await trades.load(SETTLED)

    assert (of_told.trade.slices, of_told.resent_slices) == ((a_part(TOLD),), (TAKEN_FOR,))
    assert (of_settled.trade.slices, of_settled.resent_slices) == ((TAKEN_FOR,), (TAKEN_FOR,))
    assert TOLD.trade_id in {other.trade_id for other in of_settled.neighbours}


async def test_the_same_stretch_can_be_copied_later_after_all(trades: Trades) -> None:
    await trades.record(SETTLED, found(SETTLED, TAKEN_FOR))
    await trades.record(SETTLED, found(SETTLED, TAKEN_FOR, a_part(SETTLED)))

    assert set((await trades.load(SETTLED)).trade.slices) == {TAKEN_FOR, a_part(SETTLED)}


async def told(trades: Trades, *fills: LeaderFillSeen) -> dict[str, int]:
    """What is copied of each transaction in the end; what is to be told again comes last."""
    handler = Handler(trades=trades, controls=FixedControls(controls(a_follow())), now=Clock(NOON))
    topic, copied = list(fills), dict[str, int]()
    for fill in topic:
        for message in await handler.on_leader_fill_seen(fill):
            if isinstance(message, CopyIntended):
                copied[message.intent.transaction_hash] = (
                    copied.get(message.intent.transaction_hash, 0) + message.intent.leader_shares
                )
            else:
                assert isinstance(message, LeaderFillSeen)
                topic.append(message)
    return copied


RETOLD = TOLD.model_copy(update={"transaction_hash": SETTLED.transaction_hash})
FIRST_SETTLED = SETTLED.model_copy(update={"transaction_hash": TOLD.transaction_hash})


@pytest.mark.parametrize("fills", list(permutations([TOLD, RETOLD, SETTLED])))
async def test_a_settlement_that_is_sent_again_is_copied_once(
    trades: Trades, fills: tuple[LeaderFillSeen, ...]
) -> None:
    assert sum((await told(trades, *fills)).values()) == TOLD.shares


@pytest.mark.parametrize("fills", list(permutations([TOLD, SETTLED, FIRST_SETTLED])))
async def test_two_equal_trades_are_both_copied(
    trades: Trades, fills: tuple[LeaderFillSeen, ...]
) -> None:
    assert await told(trades, *fills) == {
        fill.transaction_hash: fill.shares for fill in (SETTLED, FIRST_SETTLED)
    }


async def test_a_settlement_that_nobody_told_within_ten_minutes_of_the_match_is_a_trade_of_its_own(
    trades: Trades,
) -> None:
    late = SETTLED.model_copy(update={"filled_at": TOLD.filled_at + RESENT_WITHIN + seconds(1)})

    assert await told(trades, TOLD, late) == {
        TOLD.transaction_hash: TOLD.shares,
        SETTLED.transaction_hash: SETTLED.shares,
    }


async def test_a_match_after_the_block_of_an_equal_one_is_copied_at_once(trades: Trades) -> None:
    later = RETOLD.model_copy(
        update={
            "transaction_hash": "0x" + "3" * 64,
            "filled_at": SETTLED.filled_at + CLOCK_TOLERANCE + seconds(1),
        }
    )

    assert (await told(trades, RETOLD, SETTLED, later))[later.transaction_hash] == later.shares


async def test_two_processes_that_handle_the_same_trade_copy_it_once(trades: Trades) -> None:
    rows = [a_fill(row_id=name, shares=shares(10)) for name in "abc"]
    handlers = [
        Handler(trades=trades, controls=FixedControls(controls(a_follow())), now=Clock(NOON))
        for _ in range(2)
    ]

    async def handled(handler: Handler, fill: LeaderFillSeen) -> list[str]:
        while True:
            try:
                said = await handler.on_leader_fill_seen(fill)
                return [
                    f"{each.intent.intent_id} {each.intent.leader_shares}"
                    for each in said
                    if isinstance(each, CopyIntended)
                ]
            except Transient:
                continue

    answers = [
        await asyncio.gather(*(handled(handler, fill) for handler in handlers)) for fill in rows
    ]

    copied = {each for of_both in answers for messages in of_both for each in messages}
    assert len(copied) == 3
    assert (await trades.load(rows[0])).trade.copied_shares == shares(30)
