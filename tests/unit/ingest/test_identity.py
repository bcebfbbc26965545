"""Every subset, order and repetition of the sources' reports, from their raw bytes on, leads to the
same copies.

A trade of several fills may become known fill by fill, and is then copied fill by fill. The single
intents then depend on the order of the reports, but their sum does not: together they cover the
trade from its first share on, without a gap or an overlap, up to the total of the source that saw
most, and never beyond it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations, permutations, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decisions import CopySlice, RepeatedRows, ShareRange
from services.ingest.handler import Handler
from shared.domain.follows import Follow
from shared.domain.ids import intent_id, trade_id
from shared.domain.money import ROUNDING_TOLERANCE_SHARES, Side
from shared.messages.intents import CopyIntended, Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, PROXY, a_follow, controls, shares, usdc
from tests.fakes import Clock, FakeComplements, FakeHoldings, FakeTrades, FixedControls
from tests.unit.ingest.source_reports import (
    NO,
    YES,
    Fill,
    SourceReport,
    chain_report,
    data_api_report,
    socket_report,
)

FOLLOWS = tuple(
    a_follow(
        follow_id=f"follow-{proxy}",
        proxy=proxy,
        percent=Decimal(1000),
        min_usdc=0,
        max_usdc=usdc(10_000),
    )
    for proxy in (PROXY, OTHER_PROXY)
)
"""By their terms no slice is below the venue's minimum, so that each makes intents."""
KINDS = ("trades", "orders_matched")


def a_settled_fill(
    order: int = 1,
    *,
    token: str = YES,
    side: Side = Side.BUY,
    size: int = 10,
    cents: int = 50,
    took_liquidity: bool = True,
) -> Fill:
    return Fill(
        order=order,
        token_id=token,
        side=side,
        shares=shares(size),
        usdc=shares(size) * cents // 100,
        took_liquidity=took_liquidity,
    )


FILLS = st.lists(
    st.builds(
        a_settled_fill,
        st.integers(1, 3),
        token=st.sampled_from([YES, NO]),
        side=st.sampled_from(Side),
        size=st.integers(1, 4),
        cents=st.sampled_from([25, 50]),
        took_liquidity=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
"""Few different values, so that equal fills, of one order or of two, are frequent."""


class Ingest:
    """Ingest's own parsers, decisions and handler, on a store in memory, with the topic that its
    feeds write.
    """

    def __init__(
        self,
        *,
        crashes: Callable[[], bool] = lambda: False,
        repeated_rows: RepeatedRows = RepeatedRows.SPEED,
        follows: Sequence[Follow] = FOLLOWS,
    ) -> None:
        """``crashes``: whether the process dies after a commit. Its messages are lost then, and the
        record is redelivered.
        """
        self._crashes = crashes
        self.trades = FakeTrades()
        self.handler = Handler(
            trades=self.trades,
            holdings=FakeHoldings(),
            complements=FakeComplements(),
            controls=FixedControls(controls(*follows)),
            now=Clock(NOON),
            repeated_rows=repeated_rows,
        )
        self.topic: list[LeaderFillSeen] = []
        self.intents: dict[str, Intent] = {}
        self._handled = 0

    async def receive(self, reports: Iterable[SourceReport]) -> None:
        for report in reports:
            self.topic += await report.read_by_feed()
        await self.handle_all()

    async def handle_all(self) -> None:
        """Handle the rest of the topic, with the rows that are published again meanwhile. An intent
        that is published again must be the same as before.
        """
        while self._handled < len(self.topic):
            fill = self.topic[self._handled]
            messages = await self.handler.on_leader_fill_seen(fill)
            if self._crashes():
                continue
            self._handled += 1
            for message in messages:
                if isinstance(message, CopyIntended):
                    intent = message.intent
                    assert self.intents.setdefault(intent.intent_id, intent) == intent
                else:
                    assert isinstance(message, LeaderFillSeen)
                    self.topic.append(message)

    async def replay(self, count: int) -> None:
        """Deliver the first messages of the topic again."""
        self.topic += self.topic[:count]
        await self.handle_all()

    def copied_slices(self, trade_id: str) -> tuple[CopySlice, ...]:
        """The slices of the trade that made intents."""
        return tuple(
            each for each in self.trades.slices_by_trade.get(trade_id, ()) if not each.resent_of
        )

    def copied_ranges(self, trade_id: str) -> list[ShareRange]:
        return [(each.from_shares, each.to_shares) for each in self.copied_slices(trade_id)]


def all_reports(fills: Sequence[Fill]) -> list[SourceReport]:
    """Each row of the socket in every form that it comes in, the Data API's page, and the logs of
    the settlement's block, before and after a reorg.
    """
    rows = [
        socket_report(fill, kind, as_text=as_text)
        for fill in fills
        for kind, as_text in product(KINDS, (False, True))
    ]
    return [
        *rows,
        data_api_report(fills),
        chain_report(fills, block=100),
        chain_report(fills, block=101),
    ]


def shares_seen_by(source: FillSource, fills: Sequence[Fill]) -> int:
    """Micro-shares. The chain has two logs for two equal fills, the other sources one row."""
    return (
        sum(fill.shares for fill in fills)
        if source is FillSource.CHAIN
        else sum(_distinct(fills).values())
    )


def _distinct(fills: Sequence[Fill]) -> dict[tuple[int, str], int]:
    return {(fill.shares, fill.price): fill.shares for fill in fills}


def by_trade(fills: Sequence[Fill]) -> dict[str, list[Fill]]:
    trades: dict[str, list[Fill]] = {}
    for fill in fills:
        trades.setdefault(fill.trade_id, []).append(fill)
    return trades


REPORTS_OF_ONE_FILL = [
    socket_report(a_settled_fill(), "trades", as_text=False),
    socket_report(a_settled_fill(), "orders_matched", as_text=True),
    data_api_report([a_settled_fill()]),
    chain_report([a_settled_fill()], block=100),
]


@pytest.mark.parametrize(
    "reports",
    [
        order
        for n in range(1, 5)
        for chosen in combinations(REPORTS_OF_ONE_FILL, n)
        for order in permutations(chosen)
    ],
)
async def test_every_subset_of_the_reports_in_every_order_leads_to_the_same_intents(
    reports: tuple[SourceReport, ...],
) -> None:
    ingest, fill = Ingest(), a_settled_fill()

    await ingest.receive([*reports, *reports])

    assert set(ingest.intents) == {
        intent_id(trade=fill.trade_id, from_shares=0, follow_id=follow.follow_id, intended_at=NOON)
        for follow in FOLLOWS
    }
    assert {
        (intent.leader_shares, intent.usdc, intent.leader_price)
        for intent in ingest.intents.values()
    } == {(fill.shares, FOLLOWS[0].copy_usdc(fill.usdc), Decimal("0.5"))}


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_a_trade_of_one_fill_is_copied_whole_whatever_else_is_in_its_settlement(
    fills: list[Fill], repeated: st.DataObject, shuffle: Random
) -> None:
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(all_reports(fills), repeated, shuffle))

    for trade, fills_of_trade in by_trade(fills).items():
        if len(fills_of_trade) == 1:
            assert ingest.copied_ranges(trade) == [(0, fills_of_trade[0].shares)]


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_reports_of_all_sources_in_any_order_copy_each_share_of_a_trade_once(
    fills: list[Fill], repeated: st.DataObject, shuffle: Random
) -> None:
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(all_reports(fills), repeated, shuffle))

    for trade, fills_of_trade in by_trade(fills).items():
        assert_copied_once(
            ingest, trade, expected_shares=shares_seen_by(FillSource.CHAIN, fills_of_trade)
        )


@given(fills=FILLS, subset=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_any_subset_of_the_reports_is_copied_up_to_the_largest_total_of_a_source(
    fills: list[Fill], subset: st.DataObject, shuffle: Random
) -> None:
    """Single rows of each of the socket's types may be missing, and each of the other two sources
    as a whole.
    """
    seen: list[tuple[FillSource, list[Fill]]] = []
    reports = []
    for kind in KINDS:
        socket_fills = [fill for fill in fills if subset.draw(st.booleans())]
        seen.append((FillSource.RTDS, socket_fills))
        reports += [
            socket_report(fill, kind, as_text=subset.draw(st.booleans())) for fill in socket_fills
        ]
    for source, report in (
        (FillSource.DATA, data_api_report(fills)),
        (FillSource.CHAIN, chain_report(fills, block=100)),
    ):
        if subset.draw(st.booleans()):
            reports.append(report)
            seen.append((source, fills))
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(reports, subset, shuffle))

    for trade in by_trade(fills):
        totals = [
            shares_seen_by(source, [fill for fill in seen_fills if fill.trade_id == trade])
            for source, seen_fills in seen
        ]
        assert_copied_once(ingest, trade, expected_shares=max(totals))


async def test_two_equal_fills_are_copied_as_one_until_the_chain_reports_both() -> None:
    ingest, equal = Ingest(), [a_settled_fill(1), a_settled_fill(1)]
    trade = equal[0].trade_id

    await ingest.receive([socket_report(equal[0], "trades", as_text=False), data_api_report(equal)])
    before = ingest.copied_ranges(trade)
    await ingest.receive([chain_report(equal, block=100)])

    assert before == [(0, shares(10))]
    assert ingest.copied_ranges(trade) == [(0, shares(10)), (shares(10), shares(20))]


@pytest.mark.parametrize("other_shares", [74_000_000, 74_000_001, 73_999_999])
async def test_a_fill_under_both_types_of_the_socket_with_other_digits_is_copied_once(
    other_shares: int,
) -> None:
    ingest, fill = Ingest(), a_settled_fill(size=74)
    other = replace(fill, shares=other_shares)

    await ingest.receive(
        [
            socket_report(fill, "trades", as_text=False),
            socket_report(other, "orders_matched", as_text=True),
        ]
    )

    assert ingest.copied_ranges(fill.trade_id) == [(0, fill.shares)]


async def test_the_two_outcomes_of_a_market_are_two_trades_of_one_settlement() -> None:
    """The leader takes YES from himself, or has a resting order for NO: each token is copied on its
    own.
    """
    yes = a_settled_fill(1, token=YES, cents=40)
    no = a_settled_fill(2, token=NO, cents=60, took_liquidity=False)
    ingest = Ingest()

    await ingest.receive([chain_report([yes, no], block=100), data_api_report([yes, no])])

    assert sorted(
        (intent.token_id, intent.leader_shares) for intent in ingest.intents.values()
    ) == [(token, shares(10)) for token in (YES, NO) for _ in FOLLOWS]


async def test_a_log_of_the_first_exchange_version_and_a_socket_row_are_the_same_trade() -> None:
    for side in Side:
        ingest, fill = Ingest(), a_settled_fill(side=side)

        await ingest.receive(
            [chain_report([fill], block=100, v1=True), socket_report(fill, "trades", as_text=False)]
        )

        assert ingest.copied_ranges(fill.trade_id) == [(0, fill.shares)]


@pytest.mark.parametrize(
    ("log_shares", "log_usdc"), [(10**18 + 1, 5), (7, 0), (5, 5), (2**255, 2**254)]
)
async def test_a_log_with_an_impossible_amount_or_price_is_no_trade(
    log_shares: int, log_usdc: int
) -> None:
    fill = replace(a_settled_fill(), shares=log_shares, usdc=log_usdc)

    assert await chain_report([fill], block=100).read_by_feed() == []


def shuffled_with_repeats(
    reports: Sequence[SourceReport], draw: st.DataObject, shuffle: Random
) -> list[SourceReport]:
    """All reports in some order, some of them repeated."""
    repeats = draw.draw(st.lists(st.sampled_from(reports), max_size=5)) if reports else []
    delivered = [*reports, *repeats]
    shuffle.shuffle(delivered)
    return delivered


def assert_copied_once(ingest: Ingest, trade: str, *, expected_shares: int) -> None:
    """The slices cover the expected shares without a gap, and each has one intent per follow."""
    slices = ingest.copied_slices(trade)
    ends = [each.to_shares for each in slices]
    assert [each.from_shares for each in slices] == [0, *ends][: len(slices)]
    assert 0 <= expected_shares - sum(each.shares for each in slices) <= ROUNDING_TOLERANCE_SHARES
    expected = {
        intent_id(
            trade=trade,
            from_shares=each.from_shares,
            follow_id=follow.follow_id,
            intended_at=each.intended_at,
        )
        for each in slices
        for follow in FOLLOWS
    }
    assert {
        each for each, intent in ingest.intents.items() if trade_id_for(intent) == trade
    } == expected


def trade_id_for(intent: Intent) -> str:
    return trade_id(
        transaction_hash=intent.transaction_hash,
        leader=intent.leader,
        token_id=intent.token_id,
        side=intent.side,
    )
