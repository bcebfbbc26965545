"""Follows that mirror their leader, on PostgreSQL: each increase is one entry."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.mirror import MirrorFeed
from services.preflight.adapters.reconciliation import ChainLevels
from services.preflight.decisions import Verdict
from services.preflight.decisions.expectations import SETTLES_WITHIN
from shared.db.engine import open_engine
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.domain.terms import EntryMode
from shared.messages.intents import (
    CopyCause,
    Intent,
    IntentApproved,
    IntentRefused,
    Missing,
    NoQuote,
)
from shared.messages.refusals import Refusal
from tests.builders import TOKEN, a_fill, seconds, shares, usdc
from tests.integration.preflight.test_levels import ENTRY, SALE, Copying
from tests.patience import patient_settings
from tests.unit.ingest.test_sizing import handle_rows

pytestmark = pytest.mark.integration


class Mirroring(Copying):
    """The follow mirrors its leader; the Data API lists what he holds."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.is_api_away = False
        self.rows: list[dict[str, Any]] = [{"token_id": TOKEN, "current_price": 0}]
        self.list_at("0.5")
        self.follow(entries=EntryMode.MIRROR)
        self.mirror = MirrorFeed(
            self.engine,
            self.controls,
            ChainLevels(self.leaders),  # type: ignore[arg-type]
            self.fetch_positions,
            owns=lambda _: True,
            now=lambda: self.clock.now,
            interval=seconds(30),
            act_after=seconds(0),
        )

    def list_at(self, price: str) -> None:
        self.rows = [{"token_id": TOKEN, "current_price": Decimal(price)}]

    async def fetch_positions(self, _: str) -> list[dict[str, Any]]:
        if self.is_api_away:
            raise Transient("the Data API replied with status 503")
        return self.rows

    async def enter(self) -> list[Intent]:
        """What the feed publishes in a round, ten seconds later."""
        self.clock.now += seconds(10)
        before = len(self.published)
        await self.mirror.compare(self.publish)
        return self.published[before:]


@pytest.fixture
async def mirroring(migrated_database_url: str) -> AsyncIterator[Mirroring]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield Mirroring(engine)
    await engine.dispose()


def is_approved(verdict: Verdict, amount: int) -> bool:
    return isinstance(verdict, IntentApproved) and verdict.usdc == amount


async def test_what_he_holds_at_the_start_is_bought_once(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)

    assert await mirroring.enter() == []
    (intent,) = await mirroring.enter()
    verdict = await mirroring.judge(intent)

    assert intent.cause is CopyCause.MIRRORED
    assert is_approved(verdict, usdc(50))
    await mirroring.settle(verdict, shares(100))
    assert [await mirroring.enter(), await mirroring.round()] == [[], []]
    assert (await mirroring.level()).leader_shares == shares(1000)


async def test_a_mirrored_position_is_followed_out(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    await mirroring.enter()
    (entry,) = await mirroring.enter()
    await mirroring.settle(await mirroring.judge(entry), shares(100))
    mirroring.leaders.holds(250)

    (exit_,) = await mirroring.round()

    verdict = await mirroring.judge(exit_)
    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(75)


async def test_his_trade_that_is_seen_later_is_not_copied_again(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000, tx="0x" + "e1" * 32)
    late = mirroring.trade(Side.BUY, 1000, tx="0x" + "e1" * 32)
    await mirroring.enter()
    (intent,) = await mirroring.enter()
    await mirroring.settle(await mirroring.judge(intent), shares(100))

    verdict = await mirroring.judge(late)

    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is Refusal.ALREADY_RECONCILED
    assert [await mirroring.enter(), await mirroring.round()] == [[], []]


async def test_his_trade_that_was_copied_is_not_mirrored(mirroring: Mirroring) -> None:
    await mirroring.enter()
    await mirroring.buy()

    assert [await mirroring.enter() for _ in range(3)] == [[], [], []]


async def test_an_entry_that_was_refused_is_not_made_again(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    await mirroring.enter()
    (intent,) = await mirroring.enter()

    await mirroring.judge(intent, NoQuote(missing=Missing.EMPTY_BOOK))

    assert [await mirroring.enter() for _ in range(2)] == [[], []]


async def test_a_market_without_a_price_is_left_alone(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    for price in ("0", "1"):
        mirroring.list_at(price)
        assert [await mirroring.enter(), await mirroring.enter()] == [[], []]


async def test_a_row_that_cannot_be_read_is_left_out_alone(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    mirroring.rows.insert(0, {"token_id": None})

    await mirroring.enter()

    assert len(await mirroring.enter()) == 1


async def test_without_the_data_api_nothing_is_concluded(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    mirroring.is_api_away = True

    assert [await mirroring.enter(), await mirroring.enter()] == [[], []]


async def test_a_follow_that_does_not_mirror_buys_nothing(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    await mirroring.enter()
    (intent,) = await mirroring.enter()
    mirroring.follow()

    assert await mirroring.enter() == []
    verdict = await mirroring.judge(intent)
    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is Refusal.ENTRIES_NOT_COPIED


async def test_a_trade_that_waited_to_be_judged_is_not_bought_again(mirroring: Mirroring) -> None:
    await mirroring.enter()
    mirroring.leaders.holds(1000, tx=ENTRY)
    purchase = mirroring.trade(Side.BUY, 1000, tx=ENTRY)
    (by_level,) = await mirroring.enter()

    copied = await mirroring.judge(purchase)
    await mirroring.settle(copied, shares(100))
    verdict = await mirroring.judge(by_level)

    assert isinstance(copied, IntentApproved)
    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is Refusal.ALREADY_RECONCILED
    assert [await mirroring.enter(), await mirroring.round()] == [[], []]


async def test_a_trade_in_many_rows_is_known_as_a_whole(mirroring: Mirroring) -> None:
    """The second row adds nothing to a fixed amount; what he holds is explained all the same."""
    mirroring.follow(entries=EntryMode.MIRROR, percent=None, fixed_usdc=usdc(25), min_usdc=0)
    (follow,) = mirroring.controls.current().follows_that_sell()
    rows = [a_fill(row_id=f"row-{n}", shares=shares(500)) for n in range(2)]
    await mirroring.enter()
    mirroring.leaders.holds(1000, tx=rows[0].transaction_hash)

    for intent in await handle_rows(rows, follow):
        times = dict.fromkeys(("filled_at", "seen_at", "intended_at"), mirroring.clock.now)
        verdict = await mirroring.judge(intent.model_copy(update=times))
        await mirroring.settle(verdict, shares(50))

    assert [await mirroring.enter() for _ in range(3)] == [[], [], []]
    assert await mirroring.round() == []
    assert (await mirroring.level()).leader_shares == shares(1000)


async def test_a_purchase_that_settled_as_another_transaction_is_not_bought_again(
    mirroring: Mirroring,
) -> None:
    await mirroring.enter()
    copied = await mirroring.judge(mirroring.trade(Side.BUY, 1000, tx=ENTRY))
    await mirroring.settle(copied, shares(100))
    mirroring.leaders.holds(1000, tx="0x" + "e2" * 32)
    mirroring.clock.now += SETTLES_WITHIN

    rounds = [(await mirroring.enter(), await mirroring.round()) for _ in range(3)]

    assert rounds == [([], [])] * 3
    assert (await mirroring.level()).leader_shares == shares(1000)


async def test_a_sale_that_never_settled_is_not_bought_back(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    await mirroring.enter()
    (entry,) = await mirroring.enter()
    await mirroring.settle(await mirroring.judge(entry), shares(100))
    await mirroring.round()
    sold = await mirroring.judge(mirroring.trade(Side.SELL, 1000, tx=SALE))
    await mirroring.settle(sold, shares(100))
    mirroring.clock.now += SETTLES_WITHIN

    assert [await mirroring.enter() for _ in range(3)] == [[], [], []]


async def test_a_level_that_was_bought_accounts_for_the_trades_before_it(
    mirroring: Mirroring,
) -> None:
    """Of two trades that never settled, none counts against a later level."""
    mirroring.leaders.holds(1000)
    await mirroring.enter()
    (entry,) = await mirroring.enter()
    await mirroring.settle(await mirroring.judge(entry), shares(100))
    await mirroring.judge(mirroring.trade(Side.BUY, 100, tx=ENTRY))
    judged_at = mirroring.clock.now
    await mirroring.settle(await mirroring.judge(mirroring.trade(Side.BUY, 100, tx=ENTRY)), 0)
    mirroring.clock.now += SETTLES_WITHIN
    mirroring.leaders.holds(1500)
    (increase,) = await mirroring.enter()

    await mirroring.judge(increase)

    assert increase.leader_shares == shares(400)
    assert (await mirroring.level()).accounted_at == judged_at


async def test_a_purchase_that_was_seen_too_late_is_bought_by_the_level(
    mirroring: Mirroring,
) -> None:
    """After an outage its report is too old to be copied."""
    await mirroring.enter()
    mirroring.leaders.holds(1000, tx=ENTRY)
    purchase = mirroring.trade(Side.BUY, 1000, tx=ENTRY)
    mirroring.clock.now += seconds(1200)
    late = await mirroring.judge(purchase)
    assert isinstance(late, IntentRefused)
    assert late.reason is Refusal.TRADE_TOO_OLD

    (intent,) = await mirroring.enter()

    verdict = await mirroring.judge(intent)
    assert is_approved(verdict, usdc(50))
    await mirroring.settle(verdict, shares(100))
    assert [await mirroring.enter(), await mirroring.round()] == [[], []]


async def test_a_purchase_that_was_seen_too_late_is_bought_where_nothing_was_compared_before(
    mirroring: Mirroring,
) -> None:
    mirroring.leaders.holds(1000, tx=ENTRY)
    purchase = mirroring.trade(Side.BUY, 1000, tx=ENTRY)
    mirroring.clock.now += seconds(1200)
    await mirroring.judge(purchase)

    assert await mirroring.enter() == []
    (intent,) = await mirroring.enter()

    assert intent.leader_shares == shares(1000)


async def test_a_row_with_an_id_that_no_token_has_is_left_out_alone(mirroring: Mirroring) -> None:
    mirroring.leaders.holds(1000)
    for token_id in (str(2**256), "9" * 5000):
        mirroring.rows.insert(0, {"token_id": token_id, "current_price": Decimal("0.5")})

    await mirroring.enter()

    assert len(await mirroring.enter()) == 1
    assert mirroring.leaders.asked == {int(TOKEN)}
