"""What is below the venue's minimum is carried to later trades of the leader and token, and is
spent once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decisions import CopySize, SizeState, sum_lots
from services.ingest.decisions.carrying import MAX_LOTS
from services.ingest.decisions.trades import RESENT_WITHIN, row_key
from services.ingest.handler import Handler
from shared.domain.follows import Follow
from shared.domain.ids import follow_id
from shared.domain.money import MIN_BUY_USDC, Side
from shared.messages.intents import CopyIntended, Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen
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

HOUR = timedelta(hours=1)
FOLLOW_ID = follow_id(leader=LEADER, proxy=PROXY)
HUNDREDTH = a_follow(follow_id=FOLLOW_ID, percent=Decimal(1), min_usdc=0)
OFF = timedelta(0)


def a_trade(number: int, worth: str = "10", **overrides: Any) -> LeaderFillSeen:
    """A trade of the leader at 0.50 in a transaction of its own. ``worth``: USDC."""
    fields = {
        "transaction_hash": f"0x{number:064x}",
        "row_id": f"row-{number}",
        "shares": 2 * usdc(worth),
        "price": Decimal("0.50"),
        "filled_at": NOON + number * (RESENT_WITHIN + seconds(1)),
    }
    return a_fill(**fields | overrides)


@dataclass
class Copies:
    """Ingest on a store in memory, and the intents that it has made."""

    follows: Sequence[Follow] = (HUNDREDTH,)
    carry_for: timedelta = HOUR
    equities: FakeEquities = field(default_factory=FakeEquities)
    trades: FakeTrades = field(default_factory=FakeTrades)
    clock: Clock = field(default_factory=lambda: Clock(NOON))
    intents: dict[str, Intent] = field(default_factory=dict)

    async def handle(self, *fills: LeaderFillSeen) -> list[tuple[int, int]]:
        """The micro-USDC of each new intent of the first follow, and how much was carried."""
        handler = Handler(
            trades=self.trades,
            holdings=FakeHoldings(),
            complements=FakeComplements(),
            controls=FixedControls(controls(*self.follows)),
            equities=self.equities,
            now=self.clock,
            carry_for=self.carry_for,
        )
        new = []
        for fill in fills:
            for message in await handler.on_leader_fill_seen(fill):
                if not isinstance(message, CopyIntended):
                    continue
                intent = message.intent
                if intent.intent_id not in self.intents and intent.side is Side.BUY:
                    new.append(intent)
                assert self.intents.setdefault(intent.intent_id, intent) == intent
        proxy = self.follows[0].proxy
        return [(each.usdc, each.carried_usdc) for each in new if each.proxy == proxy]

    @property
    def intended(self) -> list[Intent]:
        """Those that the venue takes."""
        return [
            intent
            for intent in self.intents.values()
            if intent.side is Side.BUY and intent.usdc >= MIN_BUY_USDC
        ]

    @property
    def carried_usdc(self) -> int:
        latest: dict[tuple[str, str], CopySize] = {}
        for size in sorted(self.trades.sizes, key=lambda size: size.number):
            latest[size.follow_id, size.token_id] = size
        return sum(sum_lots(size.lots) for size in latest.values())

    @property
    def let_go_usdc(self) -> int:
        return sum(size.let_go_usdc for size in self.trades.sizes)


async def test_ten_trades_of_which_ten_cents_are_copied_buy_for_a_dollar_once() -> None:
    copies = Copies()

    handled = await copies.handle(*map(a_trade, range(1, 11)))

    assert handled == [(usdc("0.1") * n, usdc("0.1") * (n - 1)) for n in range(1, 11)]
    assert [intent.usdc for intent in copies.intended] == [usdc(1)]
    assert copies.carried_usdc == 0


async def test_the_eleventh_begins_anew() -> None:
    copies = Copies()
    await copies.handle(*map(a_trade, range(1, 11)))

    assert await copies.handle(a_trade(11)) == [(usdc("0.1"), 0)]


async def test_with_a_minimum_of_a_dollar_each_trade_is_raised_once() -> None:
    copies = Copies(follows=[replace(HUNDREDTH, min_usdc=usdc(1))])

    assert await copies.handle(*map(a_trade, range(1, 11))) == [(usdc(1), 0)] * 10


async def test_each_trade_below_the_minimum_has_an_intent_so_that_its_refusal_is_seen() -> None:
    copies = Copies()

    await copies.handle(a_trade(1), a_trade(1, row_id="more"), a_trade(2))

    assert [(intent.usdc, intent.carried_usdc) for intent in copies.intents.values()] == [
        (usdc("0.1"), 0),
        (usdc("0.3"), usdc("0.2")),
    ]
    assert [size.state for size in copies.trades.sizes] == [
        SizeState.BELOW_MINIMUM,
        SizeState.CARRIED,
        SizeState.BELOW_MINIMUM,
    ]


async def test_a_copy_that_suffices_takes_what_is_carried_with_it() -> None:
    copies = Copies()
    await copies.handle(a_trade(1, "30"), a_trade(2, "20"))

    assert await copies.handle(a_trade(3, "700")) == [(usdc("7.5"), usdc("0.5"))]


async def test_what_was_spent_with_another_trade_is_not_spent_by_a_later_row_of_its_own() -> None:
    copies = Copies()
    await copies.handle(a_trade(1, "60"), a_trade(2, "60"))

    assert await copies.handle(a_trade(1, "60", row_id="more")) == []
    assert await copies.handle(a_trade(1, "60", row_id="yet more")) == [(usdc("1.2"), 0)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (HOUR - timedelta(microseconds=1), (usdc("1.2"), usdc("0.6"))),
        (HOUR, (usdc("0.6"), 0)),
        (2 * HOUR, (usdc("0.6"), 0)),
    ],
)
async def test_what_is_not_spent_in_time_is_let_go(
    after: timedelta, expected: tuple[int, int]
) -> None:
    copies = Copies()
    await copies.handle(a_trade(1, "60"))
    copies.clock.now += after

    assert await copies.handle(a_trade(2, "60")) == [expected]


async def test_what_was_let_go_is_recorded_with_the_next_slice() -> None:
    copies = Copies()
    await copies.handle(a_trade(1, "60"))
    copies.clock.now += 2 * HOUR
    await copies.handle(a_trade(2, "60"))

    assert (copies.let_go_usdc, copies.carried_usdc) == (usdc("0.6"), usdc("0.6"))


async def test_without_carrying_nothing_passes_from_one_trade_to_another() -> None:
    copies = Copies(carry_for=OFF)

    handled = await copies.handle(*(a_trade(number, "60") for number in range(1, 6)))

    assert handled == [(usdc("0.6"), 0)] * 5
    assert copies.intended == []


@pytest.mark.parametrize("carry_for", [OFF, HOUR])
async def test_rows_of_two_trades_that_come_mixed_count_with_their_own_trade(
    carry_for: timedelta,
) -> None:
    copies = Copies(carry_for=carry_for)

    await copies.handle(a_trade(1, "30"), a_trade(2, "30"))
    (total,) = await copies.handle(a_trade(1, "80", row_id="more"))

    assert total == ((usdc("1.1"), 0) if carry_for is OFF else (usdc("1.4"), usdc("0.3")))


async def test_when_the_leader_sells_the_token_nothing_is_carried_any_more() -> None:
    copies = Copies()
    await copies.handle(a_trade(1, "60"))

    await copies.handle(a_trade(2, "10", side=Side.SELL))
    assert (copies.carried_usdc, copies.let_go_usdc) == (0, usdc("0.6"))
    assert await copies.handle(a_trade(1, "60", row_id="more"), a_trade(3, "30")) == [
        (usdc("0.9"), usdc("0.6"))
    ]


async def test_a_sale_of_another_token_lets_nothing_go() -> None:
    copies = Copies()
    await copies.handle(a_trade(1, "60"), a_trade(2, side=Side.SELL, token_id="77"))

    assert await copies.handle(a_trade(3, "60")) == [(usdc("1.2"), usdc("0.6"))]


@pytest.mark.parametrize("changed", [{}, {"counter": True}, {"percent": Decimal("0.9")}])
async def test_what_is_carried_is_let_go_when_the_follow_is_changed_or_made_anew(
    changed: dict[str, Any],
) -> None:
    """Between two versions the follow may have ended, and the leader have sold what he bought."""
    copies = Copies()
    await copies.handle(a_trade(1, "90"))
    copies.follows = [replace(HUNDREDTH, version=3, **changed)]

    ((sized, carried),) = await copies.handle(a_trade(2, "60"))

    assert (sized < MIN_BUY_USDC, carried) == (True, 0)
    assert copies.let_go_usdc == usdc("0.9")
    assert copies.carried_usdc == sized


async def test_what_was_let_go_is_not_sized_again_by_a_later_row_of_its_trade() -> None:
    copies = Copies()
    await copies.handle(a_trade(1, "90"))
    copies.follows = [replace(HUNDREDTH, version=3)]

    assert await copies.handle(a_trade(1, "90", row_id="more")) == []
    assert (copies.let_go_usdc, copies.carried_usdc) == (usdc("0.9"), usdc("0.9"))


async def test_each_follow_and_token_carries_for_itself() -> None:
    other = replace(HUNDREDTH, proxy=OTHER_PROXY, follow_id="follow-2", percent=Decimal("0.5"))
    copies = Copies(follows=[HUNDREDTH, other])

    await copies.handle(a_trade(1, "60"), a_trade(2, "60", token_id="77"))
    await copies.handle(a_trade(3, "60"))

    assert [(each.proxy, each.usdc, each.carried_usdc) for each in copies.intended] == [
        (PROXY, usdc("1.2"), usdc("0.6"))
    ]
    assert copies.carried_usdc == usdc("0.6") + usdc("0.6") + usdc("0.3")


async def test_with_what_is_carried_a_trade_is_still_cut_to_the_maximum() -> None:
    copies = Copies(follows=[replace(HUNDREDTH, max_usdc=usdc("1.2"))])

    handled = await copies.handle(a_trade(1, "90"), a_trade(2, "90"), a_trade(3, "60"))

    assert handled == [(usdc("0.9"), 0), (usdc("1.2"), usdc("0.3")), (usdc("1.2"), usdc("0.6"))]
    assert copies.carried_usdc == 0


async def test_a_trade_that_has_reached_its_maximum_takes_nothing_that_is_carried() -> None:
    copies = Copies(follows=[replace(HUNDREDTH, max_usdc=usdc(5))])
    await copies.handle(a_trade(1, "90"))
    assert await copies.handle(a_trade(2, "420")) == [(usdc(5), usdc("0.8"))]
    await copies.handle(a_trade(3, "85"))

    assert await copies.handle(a_trade(2, "100", row_id="more")) == []
    assert copies.carried_usdc == usdc("0.1") + usdc("0.85") + usdc("0.8")


@pytest.mark.parametrize("carry_for", [OFF, HOUR])
async def test_a_later_row_counts_with_its_trade_however_long_others_are_carried(
    carry_for: timedelta,
) -> None:
    copies = Copies(carry_for=carry_for)
    await copies.handle(a_trade(1, "60"))
    copies.clock.now += RESENT_WITHIN

    assert await copies.handle(a_trade(1, "60", row_id="more")) == [(usdc("1.2"), 0)]


async def test_a_maximum_below_the_venues_minimum_copies_nothing() -> None:
    copies = Copies(follows=[replace(HUNDREDTH, max_usdc=usdc("0.5"))])

    await copies.handle(*(a_trade(number, "100") for number in range(1, 9)))

    assert copies.intended == []


async def test_of_many_small_trades_the_oldest_are_carried_as_one() -> None:
    copies = Copies()

    await copies.handle(*(a_trade(number, "1") for number in range(1, 60)))

    assert len(copies.trades.sizes[-1].lots) == MAX_LOTS
    assert copies.carried_usdc == 59 * usdc("0.01")
    assert copies.trades.sizes[-1].lots[0].trade_id == ""


async def test_what_is_carried_of_a_trade_counts_with_the_one_as_which_it_was_resent() -> None:
    """Also where nothing is carried between different trades."""
    copies = Copies(carry_for=OFF)
    await copies.handle(a_trade(1, "60", filled_at=NOON))
    settled = a_trade(2, "60", filled_at=NOON + seconds(3), source=FillSource.CHAIN)

    await copies.handle(settled, settled.model_copy(update={"row_id": "more"}))

    assert [intent.usdc for intent in copies.intended] == [usdc("1.2")]


async def test_a_follow_of_terms_that_fall_intends_no_less_than_it_has() -> None:
    """A second tier that copies less: 0.8 are sized first, then 0.5."""
    follow = replace(HUNDREDTH, percent=Decimal("0.8"))
    copies = Copies(follows=[follow])
    await copies.handle(a_trade(1, "100"))
    copies.follows = [replace(follow, percent=Decimal("0.25"))]

    await copies.handle(a_trade(1, "100", row_id="more"))

    assert copies.carried_usdc == usdc("0.5")


TERMS = st.builds(
    lambda percent, fixed, bounds: replace(
        HUNDREDTH,
        percent=None if fixed else percent,
        fixed_usdc=fixed,
        min_usdc=bounds[0],
        max_usdc=bounds[1],
    ),
    st.decimals("0.1", "20", places=1),
    st.none() | st.integers(1, usdc(3)),
    st.tuples(st.just(0) | st.integers(0, usdc(2)), st.integers(0, usdc(5))).map(sorted),
)
ROWS = st.lists(
    st.builds(
        lambda number, source, row_id, worth, side: a_trade(
            number,
            source=source,
            row_id=row_id,
            shares=worth,
            side=side,
        ),
        st.integers(1, 4),
        st.sampled_from(FillSource),
        st.sampled_from("abc"),
        st.integers(shares(1), shares(60)),
        st.sampled_from([Side.BUY] * 9 + [Side.SELL]),
    ),
    min_size=1,
    max_size=16,
    unique_by=lambda row: (row.trade_id, row_key(row)),
)
PAUSES = st.sampled_from([seconds(0), seconds(1), timedelta(minutes=20), 2 * HOUR])


@given(
    follow=TERMS,
    rows=ROWS,
    carry_for=st.sampled_from([OFF, timedelta(minutes=30), HOUR]),
    data=st.data(),
    shuffle=st.randoms(use_true_random=False),
)
async def test_what_is_sized_is_intended_or_carried_or_let_go(
    follow: Follow,
    rows: list[LeaderFillSeen],
    carry_for: timedelta,
    data: st.DataObject,
    shuffle: Random,
) -> None:
    """Exactly, however the trades are split, mixed and repeated."""
    delivered = [*rows, *data.draw(st.lists(st.sampled_from(rows), max_size=6))]
    shuffle.shuffle(delivered)
    copies = Copies(follows=[follow], carry_for=carry_for)
    for row in delivered:
        copies.clock.now += data.draw(PAUSES)
        await copies.handle(row)

    buys = {row.trade_id for row in rows if row.side is Side.BUY}
    sized = {
        trade_id: follow.copy_usdc(
            sum(each.leader_usdc or 0 for each in copies.trades.slices_by_trade[trade_id])
        )
        for trade_id in buys
    }
    intended = sum(intent.usdc for intent in copies.intended)
    assert intended + copies.carried_usdc + copies.let_go_usdc == sum(sized.values())
    for intents in _group_by_transaction(copies.intended).values():
        assert sum(intent.usdc for intent in intents) <= follow.max_usdc
    assert [size.number for size in copies.trades.sizes] == list(range(len(copies.trades.sizes)))


def _group_by_transaction(intents: Sequence[Intent]) -> dict[str, list[Intent]]:
    grouped: dict[str, list[Intent]] = {}
    for intent in intents:
        grouped.setdefault(intent.transaction_hash, []).append(intent)
    return grouped


@given(rows=ROWS, together=st.randoms(use_true_random=False))
async def test_trades_that_may_be_one_resent_intend_no_more_than_all_of_them_are_sized_to(
    rows: list[LeaderFillSeen], together: Random
) -> None:
    follow = replace(HUNDREDTH, percent=Decimal(2))
    rows = [
        row.model_copy(update={"filled_at": NOON + seconds(together.randint(0, 3))})
        for row in rows
        if row.side is Side.BUY
    ]
    copies = Copies(follows=[follow])
    await copies.handle(*rows, *rows)

    total = sum(
        follow.copy_usdc(sum(each.leader_usdc or 0 for each in slices if not each.resent_of))
        for slices in copies.trades.slices_by_trade.values()
    )
    # A trade of which a part was resent rounds its whole down, and not its new part.
    tolerance = sum(map(len, copies.trades.slices_by_trade.values()))
    intended = sum(intent.usdc for intent in copies.intended)
    assert intended <= total + tolerance
