"""Every subset, order and repetition of what the sources tell, from their raw bytes on, gives the
same intents.

What no rule can make equal is said here as it is: where a trade of several fills becomes known bit
by bit, the bits are copied as they come. Then not the single intents are the same, but what they
add up to: from the first share on, without a gap or an overlap, up to what the source that saw most
has seen, and never beyond.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations, permutations, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decisions import DUST, CopySlice
from services.ingest.handler import Handler
from shared.domain.ids import intent_id, trade_id
from shared.domain.money import Side
from shared.messages.intents import CopyIntended, Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, a_follow, controls, shares
from tests.fakes import Clock, FakeTrades, FixedControls
from tests.unit.ingest.source_reports import (
    NO,
    YES,
    Fill,
    SourceReport,
    data_api_report,
    chain_report,
    socket_report,
)

FOLLOWS = (a_follow(), a_follow(follow_id="follow-2", proxy=OTHER_PROXY))
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
"""Few different values: equal fills, of one order or of two, are the rule here."""


class Ingest:
    """The service's own parsers and decisions, on books that a test can look into, and the topic
    that its feeds write.
    """

    def __init__(self, *, crashes: Callable[[], bool] = lambda: False) -> None:
        """``crashes`` is asked after each commit: what was said then is lost, and the message comes
        again.
        """
        self._crashes = crashes
        self.trades = FakeTrades()
        self.handler = Handler(
            trades=self.trades, controls=FixedControls(controls(*FOLLOWS)), now=Clock(NOON)
        )
        self.topic: list[LeaderFillSeen] = []
        self.intents: dict[str, Intent] = {}
        self._handled = 0

    async def receive(self, sightings: Iterable[SourceReport]) -> None:
        for sighting in sightings:
            self.topic += await sighting.read_by_feed()
        await self.handle_all()

    async def handle_all(self) -> None:
        """What is told again goes to the end of the topic. An intent that is told again says what
        it said before.
        """
        while self._handled < len(self.topic):
            fill = self.topic[self._handled]
            said = await self.handler.on_leader_fill_seen(fill)
            if self._crashes():
                continue
            self._handled += 1
            for message in said:
                if isinstance(message, CopyIntended):
                    assert (
                        self.intents.setdefault(message.intent.intent_id, message.intent)
                        == message.intent
                    )
                else:
                    assert isinstance(message, LeaderFillSeen)
                    self.topic.append(message)

    async def replay(self, prefix: int) -> None:
        """The messages from the topic's beginning come once more."""
        self.topic += self.topic[:prefix]
        await self.handle_all()

    def copied_slices(self, trade: str) -> tuple[CopySlice, ...]:
        """What is copied of the trade."""
        return tuple(
            part for part in self.trades.slices_by_trade.get(trade, ()) if not part.resent_of
        )


def all_reports(fills: Sequence[Fill]) -> list[SourceReport]:
    """Each row of the socket by itself and as often as it comes, the Data API's page, the logs of
    one block and after a reorg.
    """
    socket = [
        socket_report(fill, kind, as_text=as_text)
        for fill in fills
        for kind, as_text in product(KINDS, (False, True))
    ]
    return [
        *socket,
        data_api_report(fills),
        chain_report(fills, block=100),
        chain_report(fills, block=101),
    ]


def shares_seen_by(source: FillSource, fills: Sequence[Fill]) -> int:
    """Micro-shares: the chain tells twins apart, the other two take them for one row."""
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
    "told",
    [
        order
        for n in range(1, 5)
        for chosen in combinations(REPORTS_OF_ONE_FILL, n)
        for order in permutations(chosen)
    ],
)
async def test_every_subset_of_the_sources_in_every_order_gives_the_very_same_intents(
    told: tuple[SourceReport, ...],
) -> None:
    ingest, fill = Ingest(), a_settled_fill()

    await ingest.receive([*told, *told])

    assert set(ingest.intents) == {
        intent_id(trade=fill.trade_id, from_shares=0, follow_id=follow.follow_id)
        for follow in FOLLOWS
    }
    assert {
        (intent.leader_shares, intent.usdc, intent.leader_price)
        for intent in ingest.intents.values()
    } == {(fill.shares, FOLLOWS[0].sized(fill.usdc), Decimal("0.5"))}


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_trades_of_one_fill_give_the_very_same_intents_beside_whatever_else_is_in_the_settlement(
    fills: list[Fill], repeated: st.DataObject, shuffle: Random
) -> None:
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(all_reports(fills), repeated, shuffle))

    for trade, gathered in by_trade(fills).items():
        if len(gathered) == 1:
            assert [(part.from_shares, part.to_shares) for part in ingest.copied_slices(trade)] == [
                (0, gathered[0].shares)
            ]


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_all_sources_in_any_order_copy_each_trade_from_its_first_to_its_last_share_once(
    fills: list[Fill], repeated: st.DataObject, shuffle: Random
) -> None:
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(all_reports(fills), repeated, shuffle))

    for trade, gathered in by_trade(fills).items():
        assert_copied_once(
            ingest, trade, expected_shares=shares_seen_by(FillSource.CHAIN, gathered)
        )


@given(fills=FILLS, subset=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_any_subset_of_what_the_sources_tell_is_copied_as_far_as_the_best_of_them_has_seen(
    fills: list[Fill], subset: st.DataObject, shuffle: Random
) -> None:
    """Rows of the socket may be missing one by one, the other two sources altogether."""
    rows = [fill for fill in fills if subset.draw(st.booleans())]
    told = [
        socket_report(row, subset.draw(st.sampled_from(KINDS)), as_text=subset.draw(st.booleans()))
        for row in rows
    ]
    seen: dict[FillSource, list[Fill]] = {FillSource.RTDS: rows}
    for source, sighting in (
        (FillSource.DATA, data_api_report(fills)),
        (FillSource.CHAIN, chain_report(fills, block=100)),
    ):
        if subset.draw(st.booleans()):
            told.append(sighting)
            seen[source] = fills
    ingest = Ingest()

    await ingest.receive(shuffled_with_repeats(told, subset, shuffle))

    for trade in by_trade(fills):
        known = [
            shares_seen_by(source, [fill for fill in some if fill.trade_id == trade])
            for source, some in seen.items()
        ]
        assert_copied_once(ingest, trade, expected_shares=max(known))


async def test_two_equal_fills_are_copied_as_one_until_the_chain_tells_them_apart() -> None:
    ingest, twins = Ingest(), [a_settled_fill(1), a_settled_fill(1)]

    await ingest.receive([socket_report(twins[0], "trades", as_text=False), data_api_report(twins)])
    known_before = ingest.copied_slices(twins[0].trade_id)
    await ingest.receive([chain_report(twins, block=100)])

    assert [(part.from_shares, part.to_shares) for part in known_before] == [(0, shares(10))]
    assert [
        (part.from_shares, part.to_shares) for part in ingest.copied_slices(twins[0].trade_id)
    ] == [
        (0, shares(10)),
        (shares(10), shares(20)),
    ]


async def test_the_two_outcomes_of_a_market_are_two_trades_of_one_settlement() -> None:
    """The leader takes YES from himself, or has a resting NO beside it: each token is copied by
    itself.
    """
    ingest, both = (
        Ingest(),
        [
            a_settled_fill(1, token=YES, cents=40),
            a_settled_fill(2, token=NO, cents=60, took_liquidity=False),
        ],
    )

    await ingest.receive([chain_report(both, block=100), data_api_report(both)])

    assert sorted(
        (intent.token_id, intent.leader_shares) for intent in ingest.intents.values()
    ) == [(token, shares(10)) for token in (YES, NO) for _ in FOLLOWS]


async def test_an_old_exchange_tells_the_same_trade_as_the_new_ones_do() -> None:
    for side in Side:
        ingest, fill = Ingest(), a_settled_fill(side=side)

        await ingest.receive(
            [chain_report([fill], block=100, v1=True), socket_report(fill, "trades", as_text=False)]
        )

        assert [
            (part.from_shares, part.to_shares) for part in ingest.copied_slices(fill.trade_id)
        ] == [(0, fill.shares)]


@pytest.mark.parametrize(
    ("shares_given", "usdc_given"), [(10**18 + 1, 5), (7, 0), (5, 5), (2**255, 2**254)]
)
async def test_a_log_that_gives_nothing_or_more_than_there_can_be_is_no_trade(
    shares_given: int, usdc_given: int
) -> None:
    fill = replace(a_settled_fill(), shares=shares_given, usdc=usdc_given)

    assert await chain_report([fill], block=100).read_by_feed() == []


def shuffled_with_repeats(
    told: Sequence[SourceReport], draw: st.DataObject, shuffle: Random
) -> list[SourceReport]:
    """All of them in some order, some of them again."""
    heard = [*told, *(draw.draw(st.lists(st.sampled_from(told), max_size=5)) if told else [])]
    shuffle.shuffle(heard)
    return heard


def assert_copied_once(ingest: Ingest, trade: str, *, expected_shares: int) -> None:
    """The parts follow one another from the first share on, and end where the best source's sight
    ends; each has one intent per follow.
    """
    parts = ingest.copied_slices(trade)
    assert [part.from_shares for part in parts] == [0, *(part.to_shares for part in parts)][
        : len(parts)
    ]
    assert 0 <= expected_shares - sum(part.shares for part in parts) <= DUST
    expected = {
        intent_id(trade=trade, from_shares=part.from_shares, follow_id=follow.follow_id)
        for part in parts
        for follow in FOLLOWS
    }
    assert {
        known for known, intent in ingest.intents.items() if trade_id_for(intent) == trade
    } == expected


def trade_id_for(intent: Intent) -> str:
    return trade_id(
        transaction_hash=intent.transaction_hash,
        leader=intent.leader,
        token_id=intent.token_id,
        side=intent.side,
    )
