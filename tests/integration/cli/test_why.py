"""`slipstream why` finds, by each kind of id, what the services' own stores have recorded."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, Group
from rich.text import Text
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.errors import CommandError
from cli.why.identifiers import parse_identifier
from cli.why.loading import load
from cli.why.records import Answer, Copy, UncopiedTrade
from cli.why.screen import build_copies
from cli.why.uncopied import build_uncopied
from services.executor.adapters.orders import PostgresOrders
from services.ingest.adapters import PostgresTrades
from services.ingest.decisions import CopySlice, FillRow, Reconciliation, row_key
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import DelayedEntry, Exit
from shared.db.controls import save_follows
from shared.db.engine import engine_scope, transaction
from shared.domain.ids import follow_id
from shared.domain.money import Side
from shared.messages.intents import (
    Intent,
    IntentApproved,
    IntentRefused,
    OrderType,
)
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.messages.orders import OrderState
from shared.messages.refusals import Refusal
from tests.builders import (
    LEADER,
    NOON,
    ORDER_HASH,
    OTHER_PROXY,
    PROXY,
    TRANSACTION,
    a_fill,
    a_follow,
    a_trade,
    an_intent,
    approved,
    refused,
    seconds,
    shares,
)
from tests.leases import executor_leases
from tests.orders import an_order, record_trade
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

SALE = "0x" + "5a" * 32
SETTLEMENT = "0x" + "2b" * 32
UNCOPIED = "0x" + "3c" * 32
ENTRY, REFUSED, EXIT, RETRY = (digits * 16 for digits in ("1a", "2a", "e1", "e2"))
EXIT_ORDER = "0x" + "ee" * 32


def build_intent(proxy: str, **overrides: Any) -> Intent:
    return an_intent(proxy=proxy, follow_id=follow_id(leader=LEADER, proxy=proxy), **overrides)


def an_approved_sale() -> IntentApproved:
    sale = build_intent(PROXY, intent_id=EXIT, side=Side.SELL, transaction_hash=SALE)
    return approved(sale, order_type=OrderType.FAK, usdc=0, shares=shares(10))


def a_refused_retry() -> IntentRefused:
    fields = {"intent_id": RETRY, "continues": EXIT}
    return refused(
        an_approved_sale().intent.model_copy(update=fields),
        reason=Refusal.EMPTY_BOOK,
        occurred_at=NOON + seconds(20),
    )


def a_slice(fill: LeaderFillSeen, *, resent_of: str = "") -> CopySlice:
    """All of the fill."""
    return CopySlice(
        from_shares=0,
        to_shares=fill.shares,
        caused_by=row_key(fill),
        sequence=0,
        controls_version=1,
        intended_at=NOON,
        resent_of=resent_of,
        fill=fill if resent_of else None,
    )


async def record_fill(
    trades: PostgresTrades, fill: LeaderFillSeen, *slices: CopySlice, awaits: bool = False
) -> None:
    row = FillRow(shares=fill.shares, filled_at=fill.filled_at, awaits_confirmation=awaits)
    await trades.record(fill, Reconciliation(row=row, slices=slices))


async def record_leader_trades(engine: AsyncEngine) -> None:
    trades = PostgresTrades(engine)
    bought, sold = a_fill(), a_fill(side=Side.SELL, transaction_hash=SALE)
    again = a_fill(source=FillSource.CHAIN, row_id="1", occurred_at=NOON + seconds(2))
    await record_fill(trades, bought, a_slice(bought))
    await record_fill(trades, again)
    await record_fill(trades, sold, a_slice(sold))


async def record_copies(engine: AsyncEngine) -> None:
    """An entry of one follower that settled and of another that was refused, and an exit whose
    first attempt sold a part and whose second one was refused.
    """
    verdicts, orders = (
        PostgresVerdicts(engine),
        PostgresOrders(engine, await executor_leases(engine)),
    )
    entry = approved(build_intent(PROXY, intent_id=ENTRY))
    await verdicts.record(entry)
    await verdicts.record(refused(build_intent(OTHER_PROXY, intent_id=REFUSED)))
    await orders.record(an_order(), entry)
    await orders.save(an_order(state=OrderState.MATCHED, shares=shares(10)), now=NOON)
    await record_trade(orders, a_trade(transaction_hash=SETTLEMENT))
    await record_exit(verdicts, orders)


async def record_exit(verdicts: PostgresVerdicts, orders: PostgresOrders) -> None:
    sale = an_approved_sale()
    exit_ = Exit(
        intent=sale.intent,
        base_shares=shares(10),
        shares=shares(10),
        attempts=1,
        expires_at=NOON + seconds(600),
    )
    order = an_order(intent_id=EXIT, order_hash=EXIT_ORDER, side=Side.SELL)
    await verdicts.record(sale, exit_)
    await orders.record(order, sale)
    await orders.save(
        replace(order, state=OrderState.CONFIRMED, shares=shares(4), reason="a part"), now=NOON
    )
    await verdicts.record(a_refused_retry(), replace(exit_, attempts=2, sold_shares=shares(4)))


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    settings = patient_settings(migrated_database_url)
    follows = [
        a_follow(proxy=proxy, follow_id=follow_id(leader=LEADER, proxy=proxy))
        for proxy in (PROXY, OTHER_PROXY)
    ]
    async with engine_scope(settings) as engine:
        await save_follows(engine, follows, by="test", change="follow")
        await record_leader_trades(engine)
        await record_copies(engine)
        yield engine


async def ask(engine: AsyncEngine, text: str, *, follower: str | None = None) -> Answer:
    return await load(engine, parse_identifier(text), follower=follower)


async def find_copies(
    engine: AsyncEngine, text: str, *, follower: str | None = None
) -> Sequence[Copy]:
    answer = await ask(engine, text, follower=follower)
    assert not isinstance(answer, UncopiedTrade)
    return answer


def render(parts: Sequence[Group | Text]) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()


def chosen_ids(copies: Sequence[Copy]) -> list[str]:
    return sorted(copy.chosen.row.intent_id for copy in copies)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ENTRY, [ENTRY]),
        (REFUSED[:8], [REFUSED]),
        (ORDER_HASH, [ENTRY]),
        (SETTLEMENT, [ENTRY]),
        (TRANSACTION, [ENTRY, REFUSED]),
        (EXIT, [EXIT]),
        (RETRY, [RETRY]),
        (EXIT_ORDER, [EXIT]),
        (SALE, [RETRY]),
    ],
    ids=[
        "intent",
        "prefix",
        "order",
        "settlement",
        "leader's transaction",
        "first attempt",
        "later attempt",
        "order of an attempt",
        "leader's sale",
    ],
)
async def test_each_kind_of_id_finds_its_copies(
    engine: AsyncEngine, text: str, found: list[str]
) -> None:
    assert chosen_ids(await find_copies(engine, text)) == found


async def test_a_copy_has_what_every_service_recorded_of_it(engine: AsyncEngine) -> None:
    [copy] = await find_copies(engine, ENTRY)

    assert [fill.source for fill in copy.fills] == ["rtds", "chain"]
    assert copy.chosen.verdict == approved(build_intent(PROXY, intent_id=ENTRY))
    assert copy.chosen.order is not None
    assert (copy.chosen.order.state, copy.chosen.order.shares) == ("matched", shares(10))
    assert not hasattr(copy.chosen.order, "body")
    assert [trade.transaction_hash for trade in copy.chosen.trades] == [SETTLEMENT]
    assert copy.exit is None


async def test_an_exit_has_all_its_attempts_in_order(engine: AsyncEngine) -> None:
    [copy] = await find_copies(engine, SALE)

    assert [attempt.row.intent_id for attempt in copy.attempts] == [EXIT, RETRY]
    assert [attempt.order is not None for attempt in copy.attempts] == [True, False]
    assert copy.exit is not None
    assert (copy.exit.attempts, copy.exit.sold_shares) == (2, shares(4))
    assert [fill.side for fill in copy.fills] == ["SELL"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ENTRY, "order matched"),
        (REFUSED, "refused: slippage_too_high"),
        (EXIT, "approved: FAK 10 shares"),
        (SALE, "refused: empty_book"),
        (TRANSACTION, "2 copies"),
    ],
)
async def test_what_is_loaded_can_be_shown(engine: AsyncEngine, text: str, shown: str) -> None:
    assert shown in render(build_copies(await find_copies(engine, text)))


async def test_a_counter_copy_is_found_by_the_leaders_transaction(engine: AsyncEngine) -> None:
    """Its intent has the complementary token, which ingest has kept."""
    counter = "3a" * 16
    intent = build_intent(
        OTHER_PROXY, intent_id=counter, token_id="7", leader_token_id=an_intent().token_id
    )
    await PostgresVerdicts(engine).record(refused(intent))
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                "insert into ingest.complements (token_id, complement_id, outcome) "
                "values (:token_id, '7', 'No')"
            ),
            {"token_id": an_intent().token_id},
        )

    copies = await find_copies(engine, TRANSACTION)

    assert chosen_ids(copies) == sorted([ENTRY, REFUSED, counter])
    assert {len(copy.fills) for copy in copies} == {2}


async def test_one_follower_can_be_chosen(engine: AsyncEngine) -> None:
    assert chosen_ids(await find_copies(engine, TRANSACTION, follower=OTHER_PROXY)) == [REFUSED]
    with pytest.raises(CommandError, match=f"follower {LEADER} has no copy of it, others have"):
        await ask(engine, TRANSACTION, follower=LEADER)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("f" * 32, "no verdict is recorded about an intent"),
        ("0x" + "f0" * 32, "is no order of ours, no settlement of one and no trade of a leader"),
    ],
)
async def test_what_is_not_recorded_is_an_error(engine: AsyncEngine, text: str, error: str) -> None:
    with pytest.raises(CommandError, match=error):
        await ask(engine, text)


async def test_a_prefix_of_several_intents_is_an_error_that_lists_them(
    engine: AsyncEngine,
) -> None:
    twin = ENTRY[:-1] + "b"
    await PostgresVerdicts(engine).record(refused(an_intent(intent_id=twin)))

    with pytest.raises(CommandError, match=f"give more digits: {ENTRY}, {twin}"):
        await ask(engine, ENTRY[:8])
    assert chosen_ids(await find_copies(engine, ENTRY)) == [ENTRY]


async def test_an_entry_that_waits_for_its_rate_says_so(engine: AsyncEngine) -> None:
    intent = build_intent(PROXY, intent_id="d" * 32)
    delayed = DelayedEntry(
        intent=intent,
        due_at=NOON + seconds(7),
        expires_at=NOON + seconds(59),
        reason=Refusal.TOO_MANY_ENTRIES,
    )
    await PostgresVerdicts(engine).delay(delayed)

    with pytest.raises(CommandError, match=f"{PROXY} has no verdict yet: it waits until .*:07"):
        await ask(engine, "d" * 8)


async def test_a_reported_trade_without_copies_is_found(engine: AsyncEngine) -> None:
    await record_fill(PostgresTrades(engine), a_fill(transaction_hash=UNCOPIED), awaits=True)

    answer = await ask(engine, UNCOPIED)

    assert isinstance(answer, UncopiedTrade)
    assert "It awaits confirmation" in render(build_uncopied(answer))
    assert [fill.awaits_confirmation for fill in answer.fills] == [True]
    assert (list(answer.slices), answer.controls_version) == ([], 1)
    assert answer.followers == [PROXY, OTHER_PROXY]


async def test_a_resent_trade_names_the_transaction_that_was_copied(engine: AsyncEngine) -> None:
    resent = a_fill(transaction_hash=UNCOPIED, source=FillSource.CHAIN)
    await record_fill(PostgresTrades(engine), resent, a_slice(resent, resent_of=a_fill().trade_id))

    answer = await ask(engine, UNCOPIED)

    assert isinstance(answer, UncopiedTrade)
    assert f"`slipstream why {TRANSACTION}`" in render(build_uncopied(answer))
