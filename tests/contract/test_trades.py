"""Every store of leaders' trades, the fake and PostgreSQL alike, behaves like this."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from services.ingest.adapters import PostgresTrades
from services.ingest.decisions import (
    CLOCK_TOLERANCE,
    RESENT_WITHIN,
    CopySize,
    CopySlice,
    FillRow,
    Lot,
    OtherTrade,
    PriceRange,
    Reconciliation,
    RecordedSizes,
    SizeState,
    Trade,
    TradeContext,
    list_prices,
    row_key,
)
from services.ingest.handler import Handler, Trades
from shared.db.engine import open_engine
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.domain.terms import Equities
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, a_fill, a_follow, controls, seconds, shares, usdc
from tests.fakes import Clock, FakeComplements, FakeHoldings, FakeTrades, FixedControls
from tests.patience import patient_settings


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def trades(request: pytest.FixtureRequest) -> AsyncIterator[Trades]:
    if request.param == "fake":
        yield FakeTrades()
        return
    engine = open_engine(patient_settings(request.getfixturevalue("migrated_database_url")))
    yield PostgresTrades(engine)
    await engine.dispose()


def a_slice(fill: LeaderFillSeen, **overrides: Any) -> CopySlice:
    base = CopySlice(
        sequence=0,
        from_shares=0,
        to_shares=fill.shares,
        caused_by=row_key(fill),
        controls_version=7,
        intended_at=NOON,
    )
    return replace(base, **overrides)


def a_row(fill: LeaderFillSeen, *, awaits_confirmation: bool = False) -> FillRow:
    return FillRow(
        shares=fill.shares,
        filled_at=fill.filled_at,
        awaits_confirmation=awaits_confirmation,
        prices=list_prices(fill),
    )


def reconciled(
    fill: LeaderFillSeen, *slices: CopySlice, awaits_confirmation: bool = False
) -> Reconciliation:
    return Reconciliation(row=a_row(fill, awaits_confirmation=awaits_confirmation), slices=slices)


def a_context(*fills: LeaderFillSeen, slices: tuple[CopySlice, ...] = ()) -> TradeContext:
    return TradeContext(
        trade=Trade(
            trade_id=fills[0].trade_id,
            rows={row_key(fill): a_row(fill) for fill in fills},
            slices=slices,
        )
    )


async def test_a_trade_without_rows_is_loaded_empty(trades: Trades) -> None:
    assert await trades.load(a_fill()) == TradeContext(
        trade=Trade(trade_id=a_fill().trade_id, rows={})
    )


async def test_rows_and_slices_are_loaded_as_they_were_recorded(trades: Trades) -> None:
    first, second = a_fill(), a_fill(source=FillSource.CHAIN, row_id="0xabc:1", shares=shares(120))
    top_up = a_slice(
        second,
        sequence=1,
        from_shares=shares(100),
        to_shares=shares(120),
        leader_usdc=usdc(10),
        seen_at=NOON + timedelta(microseconds=1),
        leader_held_shares=shares(300),
    )

    await trades.record(first, reconciled(first, a_slice(first)))
    await trades.record(second, reconciled(second, top_up))

    assert await trades.load(first) == a_context(first, second, slices=(a_slice(first), top_up))


async def test_a_row_without_slices_is_recorded_too(trades: Trades) -> None:
    await trades.record(a_fill(), reconciled(a_fill()))

    assert await trades.load(a_fill()) == a_context(a_fill())


@pytest.mark.parametrize(
    "prices", [None, PriceRange(Decimal("0.7400000012"), Decimal(1) / 3)], ids=["unknown", "known"]
)
async def test_the_prices_of_a_row_are_loaded_digit_by_digit(
    trades: Trades, prices: PriceRange | None
) -> None:
    fill = a_fill(source=FillSource.CHAIN)
    row = replace(a_row(fill), prices=prices)

    await trades.record(fill, Reconciliation(row=row, slices=()))

    assert (await trades.load(fill)).trade.rows == {row_key(fill): row}


async def test_whether_a_row_awaits_confirmation_stays_as_first_recorded(trades: Trades) -> None:
    for awaits_confirmation in (True, False):
        await trades.record(a_fill(), reconciled(a_fill(), awaits_confirmation=awaits_confirmation))

    assert (await trades.load(a_fill())).trade.rows == {
        row_key(a_fill()): a_row(a_fill(), awaits_confirmation=True)
    }


async def test_recording_again_changes_nothing(trades: Trades) -> None:
    for _ in range(3):
        await trades.record(a_fill(), reconciled(a_fill(), a_slice(a_fill())))

    assert (await trades.load(a_fill())).trade.slices == (a_slice(a_fill()),)


async def test_a_slice_that_another_row_has_recorded_is_refused_and_its_row_is_not_stored(
    trades: Trades,
) -> None:
    first, second = a_fill(), a_fill(row_id="other", shares=shares(50))
    await trades.record(first, reconciled(first, a_slice(first)))

    with pytest.raises(Transient):
        await trades.record(second, reconciled(second, a_slice(second)))

    assert await trades.load(first) == a_context(first, slices=(a_slice(first),))


@pytest.mark.parametrize(
    "change",
    [
        {"from_shares": shares(100), "to_shares": shares(150)},
        {"sequence": 1, "intended_at": NOON + seconds(1)},
        {"controls_version": 8},
        {"leader_held_shares": shares(500)},
    ],
    ids=["another of the same number", "decided later", "other terms", "other holdings"],
)
async def test_a_slice_that_differs_from_the_recorded_one_is_refused(
    trades: Trades, change: dict[str, Any]
) -> None:
    """Two processes handled the same row: what is published follows from what was recorded."""
    await trades.record(a_fill(), reconciled(a_fill(), a_slice(a_fill())))

    with pytest.raises(Transient):
        await trades.record(a_fill(), reconciled(a_fill(), a_slice(a_fill(), **change)))

    assert (await trades.load(a_fill())).trade.slices == (a_slice(a_fill()),)


async def test_equal_rows_of_two_types_are_two_rows(trades: Trades) -> None:
    rows = [a_fill(row_type=kind) for kind in ("trades", "orders_matched")]
    for row in rows:
        await trades.record(row, reconciled(row))

    assert await trades.load(rows[0]) == a_context(*rows)


async def test_of_several_rows_that_record_the_same_slice_concurrently_one_succeeds(
    trades: Trades,
) -> None:
    fills = [a_fill(row_id=name) for name in "abcdef"]

    outcomes = await asyncio.gather(
        *(trades.record(fill, reconciled(fill, a_slice(fill))) for fill in fills),
        return_exceptions=True,
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

    await asyncio.gather(*(trades.record(fill, reconciled(fill, a_slice(fill))) for fill in fills))

    loaded = await asyncio.gather(*map(trades.load, fills))
    assert [each.trade.copied_shares for each in loaded] == [fill.shares for fill in fills]


PROVISIONAL = a_fill(transaction_hash="0x" + "1" * 64)
SETTLED = a_fill(
    transaction_hash="0x" + "2" * 64,
    source=FillSource.CHAIN,
    row_id="0xabc:1",
    filled_at=NOON + seconds(8),
)
RESENT = replace(a_slice(SETTLED), resent_of=PROVISIONAL.trade_id, fill=SETTLED)


async def test_a_resent_slice_is_loaded_with_both_trades_and_keeps_the_row_to_publish_again(
    trades: Trades,
) -> None:
    await trades.record(PROVISIONAL, reconciled(PROVISIONAL, a_slice(PROVISIONAL)))
    await trades.record(SETTLED, reconciled(SETTLED, RESENT))

    provisional, settled = await trades.load(PROVISIONAL), await trades.load(SETTLED)

    assert (provisional.trade.slices, provisional.resent_slices) == (
        (a_slice(PROVISIONAL),),
        (RESENT,),
    )
    assert (settled.trade.slices, settled.resent_slices) == ((RESENT,), (RESENT,))
    assert PROVISIONAL.trade_id in {other.trade_id for other in settled.neighbours}


async def test_a_resent_share_range_can_be_copied_later(trades: Trades) -> None:
    await trades.record(SETTLED, reconciled(SETTLED, RESENT))
    copied = a_slice(SETTLED, sequence=1)
    await trades.record(SETTLED, reconciled(SETTLED, RESENT, copied))

    assert set((await trades.load(SETTLED)).trade.slices) == {RESENT, copied}


def an_ingest(trades: Trades, **terms: Any) -> Handler:
    return Handler(
        trades=trades,
        holdings=FakeHoldings(),
        complements=FakeComplements(),
        controls=FixedControls(controls(a_follow(**{"percent": Decimal(100)} | terms))),
        now=Clock(NOON),
    )


async def copy_all(trades: Trades, *fills: LeaderFillSeen) -> dict[str, int]:
    """Handle the fills, then those that are published again. Returns the micro-shares that were
    copied in all, by transaction.
    """
    handler = an_ingest(trades)
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


SECOND_PROVISIONAL = PROVISIONAL.model_copy(update={"transaction_hash": SETTLED.transaction_hash})
FIRST_SETTLED = SETTLED.model_copy(update={"transaction_hash": PROVISIONAL.transaction_hash})


@pytest.mark.parametrize("fills", list(permutations([PROVISIONAL, SECOND_PROVISIONAL, SETTLED])))
async def test_a_resent_settlement_is_copied_once(
    trades: Trades, fills: tuple[LeaderFillSeen, ...]
) -> None:
    assert sum((await copy_all(trades, *fills)).values()) == PROVISIONAL.shares


@pytest.mark.parametrize("fills", list(permutations([PROVISIONAL, SETTLED, FIRST_SETTLED])))
async def test_two_equal_trades_are_both_copied(
    trades: Trades, fills: tuple[LeaderFillSeen, ...]
) -> None:
    assert await copy_all(trades, *fills) == {
        fill.transaction_hash: fill.shares for fill in (SETTLED, FIRST_SETTLED)
    }


@pytest.mark.parametrize("fills", list(permutations([PROVISIONAL, SETTLED])))
async def test_a_settlement_at_another_price_is_another_trade(
    trades: Trades, fills: tuple[LeaderFillSeen, ...]
) -> None:
    elsewhere = {"lowest_price": Decimal("0.41"), "highest_price": Decimal("0.42")}
    reported = [fill.model_copy(update=elsewhere if fill is SETTLED else {}) for fill in fills]

    assert await copy_all(trades, *reported) == {
        fill.transaction_hash: fill.shares for fill in (PROVISIONAL, SETTLED)
    }


async def test_a_settlement_more_than_ten_minutes_after_a_match_is_another_trade(
    trades: Trades,
) -> None:
    late = SETTLED.model_copy(
        update={"filled_at": PROVISIONAL.filled_at + RESENT_WITHIN + seconds(1)}
    )

    assert await copy_all(trades, PROVISIONAL, late) == {
        PROVISIONAL.transaction_hash: PROVISIONAL.shares,
        SETTLED.transaction_hash: SETTLED.shares,
    }


async def test_a_match_after_the_block_of_an_equal_trade_is_copied_at_once(trades: Trades) -> None:
    later = SECOND_PROVISIONAL.model_copy(
        update={
            "transaction_hash": "0x" + "3" * 64,
            "filled_at": SETTLED.filled_at + CLOCK_TOLERANCE + seconds(1),
        }
    )

    copied = await copy_all(trades, SECOND_PROVISIONAL, SETTLED, later)

    assert copied[later.transaction_hash] == later.shares


async def test_two_processes_that_handle_the_same_trade_copy_it_once(trades: Trades) -> None:
    rows = [a_fill(row_id=name, shares=shares(10)) for name in "abc"]
    handlers = [an_ingest(trades) for _ in range(2)]

    async def handle(handler: Handler, fill: LeaderFillSeen) -> list[str]:
        while True:
            try:
                messages = await handler.on_leader_fill_seen(fill)
                return [
                    f"{each.intent.intent_id} {each.intent.leader_shares}"
                    for each in messages
                    if isinstance(each, CopyIntended)
                ]
            except Transient:
                continue

    results = [
        await asyncio.gather(*(handle(handler, fill) for handler in handlers)) for fill in rows
    ]

    copied = {each for of_both in results for messages in of_both for each in messages}
    assert len(copied) == 3
    assert (await trades.load(rows[0])).trade.copied_shares == shares(30)


def sale(number: int, **overrides: Any) -> LeaderFillSeen:
    """A sale of 25 shares in a transaction of its own."""
    return a_fill(
        transaction_hash=f"0x{number:064x}",
        side=Side.SELL,
        shares=shares(25),
        occurred_at=NOON + seconds(number),
        **overrides,
    )


SALE = sale(9)


async def test_other_trades_of_the_token_are_loaded_with_what_they_change(trades: Trades) -> None:
    """Of either side; not the trade itself, and none of another leader, token or time."""
    bought = sale(1).model_copy(update={"side": Side.BUY})
    confirmed = sale(2, source=FillSource.CHAIN, filled_at=NOON + seconds(3))
    for fill in (
        bought,
        confirmed,
        SALE,
        sale(3, leader=OTHER_PROXY),
        sale(4, token_id="77"),
        sale(5, filled_at=NOON - RESENT_WITHIN - seconds(2)),
    ):
        await trades.record(fill, reconciled(fill, a_slice(fill)))

    others = {each.transaction_hash: each for each in await trades.load_others(SALE)}

    assert set(others) == {bought.transaction_hash, confirmed.transaction_hash}
    assert others[bought.transaction_hash] == OtherTrade(
        trade_id=bought.trade_id,
        transaction_hash=bought.transaction_hash,
        side=Side.BUY,
        shares=shares(25),
        matched_at=bought.filled_at,
        first_seen_at=bought.occurred_at,
        confirmed_at=None,
    )
    assert others[confirmed.transaction_hash].confirmed_at == NOON + seconds(3)
    assert others[confirmed.transaction_hash].change == -shares(25)


async def test_another_trade_that_was_reported_and_confirmed_has_both_times(
    trades: Trades,
) -> None:
    reported = sale(1)
    confirmed = sale(1, source=FillSource.CHAIN, filled_at=NOON + seconds(3))
    await trades.record(reported, reconciled(reported, a_slice(reported)))
    await trades.record(confirmed, reconciled(confirmed))

    (other,) = await trades.load_others(SALE)

    assert (other.matched_at, other.confirmed_at) == (reported.filled_at, NOON + seconds(3))


async def test_shares_that_were_settled_under_another_transaction_are_that_trades(
    trades: Trades,
) -> None:
    provisional = sale(1)
    settled = sale(2, source=FillSource.CHAIN, filled_at=NOON + seconds(3))
    resent = replace(a_slice(settled), resent_of=provisional.trade_id, fill=settled)
    await trades.record(provisional, reconciled(provisional, a_slice(provisional)))
    await trades.record(settled, reconciled(settled, resent))

    others = await trades.load_others(SALE)

    assert [(each.trade_id, each.shares) for each in others] == [(settled.trade_id, shares(25))]


async def test_a_row_that_awaits_confirmation_is_no_other_trade(trades: Trades) -> None:
    await trades.record(sale(1), reconciled(sale(1), awaits_confirmation=True))

    assert list(await trades.load_others(SALE)) == []


def a_size(fill: LeaderFillSeen, **overrides: Any) -> CopySize:
    base = CopySize(
        trade_id=fill.trade_id,
        sequence=0,
        follow_id="follow-1",
        token_id=fill.token_id,
        number=0,
        state=SizeState.BELOW_MINIMUM,
        usdc=usdc("0.6"),
        carried_usdc=usdc("0.2"),
        accrued_usdc=usdc("0.4"),
        let_go_usdc=usdc("0.1"),
        lots=(
            Lot(trade_id="", usdc=usdc("0.2"), since=NOON, terms_version=3),
            Lot(
                trade_id=fill.trade_id,
                usdc=usdc("0.4"),
                since=NOON + seconds(1),
                terms_version=3,
            ),
        ),
    )
    return replace(base, **overrides)


def purchase(number: int) -> LeaderFillSeen:
    return a_fill(transaction_hash=f"0x{number:064x}", row_id=f"row-{number}")


async def load_sizes(trades: Trades, fill: LeaderFillSeen, follow_ids: set[str]) -> RecordedSizes:
    return await trades.load_sizes(fill, follow_ids, of_others=set())


async def test_sizes_are_loaded_as_they_were_recorded(trades: Trades) -> None:
    first, second = purchase(1), purchase(2)
    unknown = Equities(leader_usdc=usdc(5), follower_usdc=None)
    of_first = a_size(first)
    of_other = a_size(
        first, follow_id="follow-2", lots=(), state=SizeState.EQUITY_UNKNOWN, equities=unknown
    )
    of_second = a_size(
        second,
        number=1,
        state=SizeState.INTENDED,
        equities=Equities(leader_usdc=usdc(5), follower_usdc=0),
    )
    assert await load_sizes(trades, first, {"follow-1"}) == RecordedSizes()

    await trades.record(first, reconciled(first, a_slice(first)), [of_first, of_other])
    await trades.record(second, reconciled(second, a_slice(second)), [of_second])

    assert await load_sizes(trades, first, {"follow-1"}) == RecordedSizes(
        by_slice={(0, "follow-1"): of_first, (0, "follow-2"): of_other},
        latest_by_follow={"follow-1": of_second},
    )
    assert await load_sizes(trades, second, {"follow-1", "follow-2", "follow-3"}) == RecordedSizes(
        by_slice={(0, "follow-1"): of_second},
        latest_by_follow={"follow-1": of_second, "follow-2": of_other},
    )
    others = {first.trade_id, "unknown"}
    assert await trades.load_sizes(second, {"follow-1"}, of_others=others) == RecordedSizes(
        by_slice={(0, "follow-1"): of_second},
        latest_by_follow={"follow-1": of_second},
        of_others=frozenset({of_first, of_other}),
    )


async def test_what_is_carried_of_another_token_is_not_loaded(trades: Trades) -> None:
    other = a_fill(token_id="77", transaction_hash="0x" + "7" * 64)
    await trades.record(other, reconciled(other, a_slice(other)), [a_size(other)])

    assert await load_sizes(trades, a_fill(), {"follow-1"}) == RecordedSizes()


async def test_recording_sizes_again_changes_nothing(trades: Trades) -> None:
    for _ in range(2):
        await trades.record(a_fill(), reconciled(a_fill(), a_slice(a_fill())), [a_size(a_fill())])

    assert (await load_sizes(trades, a_fill(), {"follow-1"})).by_slice == {
        (0, "follow-1"): a_size(a_fill())
    }


@pytest.mark.parametrize("of_same_slice", [True, False])
async def test_of_two_sizes_of_a_slice_or_after_the_same_size_one_is_recorded(
    trades: Trades, *, of_same_slice: bool
) -> None:
    """What is carried is spent once, also where two processes decide. The slice of the size that
    is not recorded is not recorded either.
    """
    first, second = purchase(1), purchase(1 if of_same_slice else 2)
    await trades.record(first, reconciled(first, a_slice(first)), [a_size(first)])

    with pytest.raises(Transient):
        await trades.record(
            second, reconciled(second, a_slice(second)), [a_size(second, usdc=usdc("0.5"))]
        )

    loaded = await load_sizes(trades, second, {"follow-1"})
    assert loaded.latest_by_follow == {"follow-1": a_size(first)}
    assert bool((await trades.load(second)).trade.slices) is of_same_slice


async def test_what_is_carried_is_spent_once_by_two_processes(trades: Trades) -> None:
    """Each of them handles every trade; what they publish is the same."""
    handlers = [an_ingest(trades, percent=Decimal(1), min_usdc=0) for _ in range(2)]
    intended: dict[str, int] = {}

    async def handle(handler: Handler, fill: LeaderFillSeen) -> None:
        while True:
            try:
                messages = await handler.on_leader_fill_seen(fill)
            except Transient:
                continue
            for each in messages:
                assert isinstance(each, CopyIntended)
                intent = each.intent
                assert intended.setdefault(intent.intent_id, intent.usdc) == intent.usdc
            return

    for fill in map(purchase, range(1, 6)):
        later = fill.model_copy(update={"filled_at": NOON + seconds(int(fill.row_id[-1]))})
        await asyncio.gather(*(handle(handler, later) for handler in handlers))

    assert list(intended.values()) == [usdc("0.5"), usdc(1), usdc("0.5"), usdc(1), usdc("0.5")]
