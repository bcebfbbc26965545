"""A share of the equity is copied by what was read of the wallets; what was not is not zero."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import cast

import pytest

from services.ingest.adapters import EquityFeed, PostgresEquities, list_wallets
from services.ingest.decisions import SizeState
from services.ingest.handler import Handler
from services.ingest.settings import Settings
from shared.domain.errors import InvalidMessage, InvalidSettings, Transient
from shared.domain.money import Side
from shared.messages.intents import CopyIntended, Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.observe.metrics import REGISTRY
from shared.settings import read
from tests.builders import (
    LEADER,
    NOON,
    OTHER_PROXY,
    PROXY,
    a_fill,
    a_follow,
    controls,
    seconds,
    shares,
    usdc,
)
from tests.fakes import (
    Clock,
    FakeComplements,
    FakeEquities,
    FakeHoldings,
    FakeTrades,
    FixedControls,
)

BY_EQUITY = a_follow(percent=None, equity_percent=Decimal(100), min_usdc=0, max_usdc=usdc(1000))
BY_PERCENT = a_follow(follow_id="follow-2", proxy=OTHER_PROXY)
FILL = a_fill(shares=shares(1000), price=Decimal("0.50"))
"""Of 500 USDC."""


def a_resent_row(row_id: str, bought: int) -> LeaderFillSeen:
    """In a block, of another transaction."""
    fields = {"transaction_hash": "0x" + "2" * 64, "row_id": row_id, "shares": bought}
    return FILL.model_copy(update=fields | {"source": FillSource.CHAIN})


RESENT = a_resent_row("first", shares(1100))


class Copies:
    """Ingest on stores in memory, with a follow by equity and one by percentage."""

    def __init__(self) -> None:
        self.equities, self.clock, self.trades = FakeEquities(), Clock(NOON), FakeTrades()
        self.handler = Handler(
            trades=self.trades,
            holdings=FakeHoldings(),
            complements=FakeComplements(),
            controls=FixedControls(controls(BY_EQUITY, BY_PERCENT)),
            equities=self.equities,
            now=self.clock,
        )

    def read(self, wallet: str, worth: str) -> None:
        """Twice, as it takes for the equity to be known."""
        for read_at in (self.clock.now - seconds(60), self.clock.now):
            self.equities.readings.append((wallet, read_at, usdc(worth)))

    async def handle(self, fill: LeaderFillSeen = FILL) -> dict[str, Intent]:
        """The intents by proxy."""
        return {
            message.intent.proxy: message.intent
            for message in await self.handler.on_leader_fill_seen(fill)
            if isinstance(message, CopyIntended)
        }

    async def handle_each(self, fill: LeaderFillSeen) -> list[Intent]:
        messages = await self.handler.on_leader_fill_seen(fill)
        return [message.intent for message in messages if isinstance(message, CopyIntended)]


async def test_a_copy_is_sized_by_the_equities_and_carries_them() -> None:
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")

    intents = await copies.handle()

    assert (intents[PROXY].usdc, intents[PROXY].shares) == (usdc(50), shares(100))
    assert (intents[PROXY].leader_equity_usdc, intents[PROXY].follower_equity_usdc) == (
        usdc(10_000),
        usdc(1000),
    )
    assert intents[PROXY].sized_by_equity
    assert not intents[OTHER_PROXY].sized_by_equity


async def test_a_leader_whose_purchase_is_not_valued_yet_is_not_taken_for_poor() -> None:
    """He has 10,000, and buys for 9,000: the next reading has his pUSD and not yet his shares."""
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    copies.clock.now += seconds(60)
    copies.equities.readings.append((LEADER, copies.clock.now, usdc(1000)))

    intents = await copies.handle()

    assert intents[PROXY].usdc == usdc(50)
    assert intents[PROXY].leader_equity_usdc == usdc(10_000)


async def test_a_follower_whose_sale_is_still_valued_is_not_taken_for_rich() -> None:
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    copies.clock.now += seconds(60)
    copies.equities.readings.append((PROXY, copies.clock.now, usdc(1900)))

    intents = await copies.handle()

    assert (intents[PROXY].usdc, intents[PROXY].follower_equity_usdc) == (usdc(50), usdc(1000))


async def test_a_wallet_that_was_read_once_is_not_known() -> None:
    copies = Copies()
    copies.read(PROXY, "1000")
    copies.equities.readings.append((LEADER, NOON, usdc(1000)))

    assert (await copies.handle())[PROXY].leader_equity_usdc is None


async def test_a_redelivery_is_sized_by_what_was_known_before() -> None:
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    first = await copies.handle()
    copies.clock.now += timedelta(hours=1)
    copies.read(LEADER, "20000")
    copies.equities.readings.append((LEADER, NOON - seconds(1), usdc(5)))

    assert await copies.handle() == first


@pytest.mark.parametrize(
    ("known", "leader_equity", "follower_equity"),
    [((), None, None), ((LEADER,), usdc(1000), None), ((PROXY,), None, usdc(1000))],
    ids=["none", "leader", "follower"],
)
async def test_a_copy_without_a_known_equity_is_intended_all_the_same_and_holds_up_nobody(
    known: tuple[str, ...], leader_equity: int | None, follower_equity: int | None
) -> None:
    copies = Copies()
    for wallet in known:
        copies.read(wallet, "1000")

    intents = await copies.handle()

    intent = intents[PROXY]
    assert (intent.usdc, intent.sized_by_equity) == (0, True)
    assert (intent.leader_equity_usdc, intent.follower_equity_usdc) == (
        leader_equity,
        follower_equity,
    )
    assert intents[OTHER_PROXY].usdc == usdc(50)
    assert await copies.handle() == intents


async def test_an_equity_that_was_read_too_long_ago_is_unknown() -> None:
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    copies.clock.now += timedelta(minutes=10, microseconds=1)

    assert (await copies.handle())[PROXY].leader_equity_usdc is None


async def test_the_next_row_of_a_trade_is_sized_with_what_was_not() -> None:
    copies = Copies()
    await copies.handle()
    copies.clock.now += seconds(1)
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")

    intents = await copies.handle(FILL.model_copy(update={"row_id": "more"}))

    assert intents[PROXY].usdc == usdc(100)
    assert [size.state for size in copies.trades.sizes] == [
        SizeState.EQUITY_UNKNOWN,
        SizeState.INTENDED,
    ]


async def test_what_was_intended_before_an_equity_was_unknown_is_not_intended_again() -> None:
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    assert (await copies.handle())[PROXY].usdc == usdc(50)
    copies.clock.now += timedelta(minutes=11)
    unknown = await copies.handle(FILL.model_copy(update={"row_id": "second"}))
    assert unknown[PROXY].leader_equity_usdc is None
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")

    intents = await copies.handle(FILL.model_copy(update={"row_id": "third"}))

    assert intents[PROXY].usdc == usdc(100)


async def test_a_row_is_sized_less_what_was_intended_by_other_equities() -> None:
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    await copies.handle()
    copies.clock.now += seconds(60)
    copies.read(LEADER, "12500")

    intents = await copies.handle(FILL.model_copy(update={"row_id": "more"}))

    assert intents[PROXY].usdc == usdc(30)


async def copy_and_resend(copies: Copies) -> None:
    """The socket reports 500 USDC, of which 50 are copied. Then another transaction is in a block,
    with these shares and 50 USDC more, while no equity is known.
    """
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    assert (await copies.handle())[PROXY].usdc == usdc(50)
    copies.clock.now += timedelta(minutes=11)
    assert (await copies.handle(RESENT))[PROXY].usdc == 0


async def test_shares_that_were_copied_as_another_trade_count_though_an_equity_was_unknown() -> (
    None
):
    copies = Copies()
    await copy_and_resend(copies)
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")

    intents = await copies.handle(a_resent_row("second", shares(10)))

    assert intents[PROXY].usdc == usdc("5.5")


@pytest.mark.parametrize(
    ("of_leader", "of_follower", "expected"),
    [
        ("10000", "1000", "5.5"),
        ("5000", "1000", "61"),
        ("10000", "2000", "61"),
        ("20000", "1000", "0"),
        ("10000", "500", "0"),
    ],
)
async def test_shares_that_were_copied_as_another_trade_count_with_what_was_copied(
    of_leader: str, of_follower: str, expected: str
) -> None:
    """Whatever the equities are by then."""
    copies = Copies()
    await copy_and_resend(copies)
    copies.read(LEADER, of_leader)
    copies.read(PROXY, of_follower)

    intents = await copies.handle(a_resent_row("second", shares(10)))

    assert (intents[PROXY].usdc if PROXY in intents else 0) == usdc(expected)


@pytest.mark.parametrize(
    ("of_leader", "of_follower", "expected"),
    [
        ("10000", "1000", "50"),
        ("5000", "1000", "105"),
        ("10000", "500", "22.5"),
        ("20000", "1000", "22.5"),
    ],
)
async def test_shares_that_turn_out_to_be_two_trades_are_sized_less_what_was_intended_for_each(
    of_leader: str, of_follower: str, expected: str
) -> None:
    """50 as the first, and 5 as the second, which is worth 550."""
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    await copies.handle()
    assert (await copies.handle(RESENT))[PROXY].usdc == usdc(5)
    await copies.handle(FILL.model_copy(update={"source": FillSource.CHAIN}))
    copies.clock.now += timedelta(minutes=11)
    copies.read(LEADER, of_leader)
    copies.read(PROXY, of_follower)

    intents = await copies.handle_each(RESENT)

    assert [each.usdc for each in intents if each.proxy == PROXY] == [usdc(5), usdc(expected)]
    assert await copies.handle_each(RESENT) == intents


async def test_a_part_of_what_was_copied_counts_with_its_share() -> None:
    """Of 1,000 shares copied as one trade, two other transactions settle 400 and 600."""
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    await copies.handle()
    await copies.handle(a_resent_row("first", shares(400)))
    copies.clock.now += seconds(1)
    other = a_resent_row("other", shares(700)).model_copy(
        update={"transaction_hash": "0x" + "3" * 64}
    )

    intents = await copies.handle(other)
    copies.clock.now += timedelta(minutes=12)
    copies.read(LEADER, "5000")
    copies.read(PROXY, "1000")
    more = await copies.handle(a_resent_row("more", shares(100)))

    assert intents[PROXY].usdc == usdc(5)
    assert more[PROXY].usdc == usdc(50) - usdc(20)


async def test_shares_that_were_copied_by_other_terms_count_as_those_of_now() -> None:
    copies = Copies()
    fixed = cast(FixedControls, copies.handler.controls)
    before = controls(replace(BY_EQUITY, equity_percent=None, percent=Decimal(2)), BY_PERCENT)
    now, fixed.controls = fixed.controls, before
    assert (await copies.handle())[PROXY].usdc == usdc(10)
    fixed.earlier[before.version] = before
    assert now is not None
    fixed.controls = replace(now, version=8)
    assert (await copies.handle(RESENT))[PROXY].usdc == 0
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")

    intents = await copies.handle(a_resent_row("second", shares(10)))

    assert intents[PROXY].usdc == usdc("5.5")


async def test_what_is_carried_stays_while_an_equity_is_unknown() -> None:
    copies = Copies()
    copies.read(LEADER, "1000000")
    copies.read(PROXY, "1000")
    await copies.handle()
    copies.clock.now += timedelta(minutes=20)
    unknown = FILL.model_copy(update={"transaction_hash": "0x" + "2" * 64, "row_id": "2"})
    later = {"filled_at": FILL.filled_at + timedelta(minutes=20)}
    await copies.handle(unknown.model_copy(update=later))
    copies.read(LEADER, "1000000")
    copies.read(PROXY, "1000")

    intents = await copies.handle(
        unknown.model_copy(update=later | {"transaction_hash": "0x" + "3" * 64, "row_id": "3"})
    )

    assert (intents[PROXY].usdc, intents[PROXY].carried_usdc) == (usdc(1), usdc("0.5"))


async def test_a_sale_needs_no_equity() -> None:
    copies = Copies()

    intents = await copies.handle(FILL.model_copy(update={"side": Side.SELL}))

    assert (intents[PROXY].shares, intents[PROXY].sized_by_equity) == (shares(1000), False)


def test_the_wallets_that_are_read_are_those_of_follows_by_equity() -> None:
    assert list_wallets(controls(BY_EQUITY, BY_PERCENT)) == {LEADER, PROXY}
    assert list_wallets(controls(BY_PERCENT)) == set()


class Wallets:
    """pUSD and values of positions by wallet, a feed that reads them, and what it has kept."""

    def __init__(self, *, has_data_api: bool = True) -> None:
        self.cash: dict[str, int | Transient] = {LEADER: usdc(10), PROXY: usdc(1)}
        self.values: dict[str, int | Exception] = {LEADER: usdc(30), PROXY: usdc(2)}
        self.wallets: set[str] = {LEADER, PROXY}
        self.node_fails = False
        self.clock, self.kept = Clock(NOON), FakeEquities()
        self.feed = EquityFeed(
            cast(PostgresEquities, self.kept),
            fetch_cash=self.fetch_cash,
            fetch_value=self.fetch_value if has_data_api else None,
            wallets=lambda: self.wallets,
            now=self.clock,
            interval=timedelta(minutes=1),
            max_age=timedelta(minutes=10),
        )

    async def fetch_cash(self, wallets: Sequence[str]) -> list[int | Transient]:
        if self.node_fails:
            raise Transient("the node does not reply")
        return [self.cash[wallet] for wallet in wallets]

    async def fetch_value(self, wallet: str) -> int:
        value = self.values[wallet]
        if isinstance(value, Exception):
            raise value
        return value


def unknown_equities() -> float | None:
    return REGISTRY.get_sample_value("slipstream_equities_unknown")


async def test_the_feed_keeps_what_each_wallet_is_worth() -> None:
    wallets = Wallets()

    await wallets.feed.read_all()

    assert sorted(wallets.kept.readings) == [(LEADER, NOON, usdc(40)), (PROXY, NOON, usdc(3))]
    assert unknown_equities() == 0


@pytest.mark.parametrize("error", [Transient("429"), InvalidMessage("no value")])
async def test_a_wallet_that_cannot_be_read_is_left_out_and_counted(error: Exception) -> None:
    wallets = Wallets()
    wallets.values[PROXY] = error

    await wallets.feed.read_all()

    assert wallets.kept.readings == [(LEADER, NOON, usdc(40))]
    assert unknown_equities() == 1


async def test_a_balance_that_cannot_be_read_is_not_zero() -> None:
    wallets = Wallets()
    wallets.cash[LEADER] = Transient("no balance")

    await wallets.feed.read_all()

    assert wallets.kept.readings == [(PROXY, NOON, usdc(3))]


async def test_while_the_node_fails_the_last_reading_counts_until_it_is_too_old() -> None:
    wallets = Wallets()
    await wallets.feed.read_all()
    wallets.node_fails = True

    wallets.clock.now += timedelta(minutes=10)
    await wallets.feed.read_all()
    assert unknown_equities() == 0

    wallets.clock.now += timedelta(microseconds=1)
    await wallets.feed.read_all()
    assert unknown_equities() == 2


async def test_without_a_data_api_an_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    wallets = Wallets(has_data_api=False)

    with caplog.at_level(logging.ERROR):
        await wallets.feed.read_all()

    assert "DATA_URL is not set" in caplog.text
    assert (wallets.kept.readings, unknown_equities()) == ([], 2)


async def test_where_no_follow_needs_an_equity_nothing_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wallets = Wallets(has_data_api=False)
    wallets.wallets = set()
    wallets.node_fails = True

    await wallets.feed.read_all()

    assert (caplog.text, unknown_equities()) == ("", 0)


async def test_many_wallets_are_read_in_groups() -> None:
    wallets = Wallets()
    many = {f"0x{number:040x}" for number in range(120)}
    wallets.wallets, wallets.cash = many, dict.fromkeys(many, 1)
    wallets.values = dict.fromkeys(many, 2)

    await wallets.feed.read_all()

    assert {(wallet, worth) for wallet, _, worth in wallets.kept.readings} == {
        (wallet, 3) for wallet in many
    }


async def test_terms_that_change_to_a_share_of_the_equity_count_what_was_intended() -> None:
    copies = Copies()
    copies.read(LEADER, "10000")
    copies.read(PROXY, "1000")
    before = controls(replace(BY_EQUITY, equity_percent=None, percent=Decimal(2)), BY_PERCENT)
    fixed = cast(FixedControls, copies.handler.controls)
    now, fixed.controls = fixed.controls, before
    assert (await copies.handle())[PROXY].usdc == usdc(10)
    fixed.earlier[before.version] = before
    assert now is not None
    fixed.controls = replace(now, version=8)

    intents = await copies.handle(FILL.model_copy(update={"row_id": "more"}))

    assert intents[PROXY].usdc == usdc(90)


@pytest.mark.parametrize("age", ["PT2M", "PT1M"])
def test_a_reading_must_count_for_more_than_two_intervals(
    monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("INGEST_MAX_EQUITY_AGE", age)
    with pytest.raises(InvalidSettings, match="INGEST_MAX_EQUITY_AGE must be more than twice"):
        read(Settings)

    monkeypatch.setenv("INGEST_MAX_EQUITY_AGE", "PT121S")
    assert read(Settings).max_equity_age.total_seconds() == 121
