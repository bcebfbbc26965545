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

from services.ingest.decisions import CopySlice
from services.ingest.handler import Handler
from shared.domain.ids import intent_id, trade_id
from shared.domain.money import ROUNDING_TOLERANCE_SHARES, Side
from shared.messages.intents import CopyIntended, Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, a_follow, controls, shares
from tests.fakes import Clock, FakeTrades, FixedControls
from tests.unit.ingest.sightings import (
    NO,
    YES,
    Fill,
    Sighting,
    by_the_data_api,
    on_the_chain,
    on_the_socket,
)

FOLLOWS = (a_follow(), a_follow(follow_id="follow-2", proxy=OTHER_PROXY))
KINDS = ("trades", "orders_matched")


def a_whole_fill(
    order: int = 1,
    *,
    token: str = YES,
    side: Side = Side.BUY,
    size: int = 10,
    cents: int = 50,
    took: bool = True,
) -> Fill:
    return Fill(
        order=order,
        token_id=token,
        side=side,
        shares=shares(size),
        usdc=shares(size) * cents // 100,
        took=took,
    )


FILLS = st.lists(
    st.builds(
        a_whole_fill,
        st.integers(1, 3),
        token=st.sampled_from([YES, NO]),
        side=st.sampled_from(Side),
        size=st.integers(1, 4),
        cents=st.sampled_from([25, 50]),
        took=st.booleans(),
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
        self.books = FakeTrades()
        self.handler = Handler(
            trades=self.books, controls=FixedControls(controls(*FOLLOWS)), now=Clock(NOON)
        )
        self.topic: list[LeaderFillSeen] = []
        self.intents: dict[str, Intent] = {}
        self._handled = 0

    async def hears(self, sightings: Iterable[Sighting]) -> None:
        for sighting in sightings:
            self.topic += await sighting.heard()
        await self.works_off()

    async def works_off(self) -> None:
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

    async def replays(self, prefix: int) -> None:
        """The messages from the topic's beginning come once more."""
        self.topic += self.topic[:prefix]
        await self.works_off()

    def parts(self, trade: str) -> tuple[CopySlice, ...]:
        """What is copied of the trade."""
        return tuple(part for part in self.books.parts.get(trade, ()) if not part.resent_of)


def every_sighting(fills: Sequence[Fill]) -> list[Sighting]:
    """Each row of the socket by itself and as often as it comes, the Data API's page, the logs of
    one block and after a reorg.
    """
    socket = [
        on_the_socket(fill, kind, as_text=as_text)
        for fill in fills
        for kind, as_text in product(KINDS, (False, True))
    ]
    return [
        *socket,
        by_the_data_api(fills),
        on_the_chain(fills, block=100),
        on_the_chain(fills, block=101),
    ]


def seen_by(source: FillSource, fills: Sequence[Fill]) -> int:
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


ONE_OF_EACH = [
    on_the_socket(a_whole_fill(), "trades", as_text=False),
    on_the_socket(a_whole_fill(), "orders_matched", as_text=True),
    by_the_data_api([a_whole_fill()]),
    on_the_chain([a_whole_fill()], block=100),
]


@pytest.mark.parametrize(
    "told",
    [
        order
        for n in range(1, 5)
        for chosen in combinations(ONE_OF_EACH, n)
        for order in permutations(chosen)
    ],
)
async def test_every_subset_of_the_sources_in_every_order_gives_the_very_same_intents(
    told: tuple[Sighting, ...],
) -> None:
    ingest, fill = Ingest(), a_whole_fill()

    await ingest.hears([*told, *told])

    assert set(ingest.intents) == {
        intent_id(trade=fill.trade_id, from_shares=0, follow_id=follow.follow_id)
        for follow in FOLLOWS
    }
    assert {
        (intent.leader_shares, intent.usdc, intent.leader_price)
        for intent in ingest.intents.values()
    } == {(fill.shares, FOLLOWS[0].copy_usdc(fill.usdc), Decimal("0.5"))}


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_trades_of_one_fill_give_the_very_same_intents_beside_whatever_else_is_in_the_settlement(
    fills: list[Fill], repeated: st.DataObject, shuffle: Random
) -> None:
    ingest = Ingest()

    await ingest.hears(drawn(every_sighting(fills), repeated, shuffle))

    for trade, gathered in by_trade(fills).items():
        if len(gathered) == 1:
            assert [(part.from_shares, part.to_shares) for part in ingest.parts(trade)] == [
                (0, gathered[0].shares)
            ]


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_all_sources_in_any_order_copy_each_trade_from_its_first_to_its_last_share_once(
    fills: list[Fill], repeated: st.DataObject, shuffle: Random
) -> None:
    ingest = Ingest()

    await ingest.hears(drawn(every_sighting(fills), repeated, shuffle))

    for trade, gathered in by_trade(fills).items():
        assert_copied_once(ingest, trade, of=seen_by(FillSource.CHAIN, gathered))


@given(fills=FILLS, subset=st.data(), shuffle=st.randoms(use_true_random=False))
async def test_any_subset_of_what_the_sources_tell_is_copied_as_far_as_the_best_of_them_has_seen(
    fills: list[Fill], subset: st.DataObject, shuffle: Random
) -> None:
    """Rows of the socket may be missing one by one, the other two sources altogether."""
    rows = [fill for fill in fills if subset.draw(st.booleans())]
    told = [
        on_the_socket(row, subset.draw(st.sampled_from(KINDS)), as_text=subset.draw(st.booleans()))
        for row in rows
    ]
    seen: dict[FillSource, list[Fill]] = {FillSource.RTDS: rows}
    for source, sighting in (
        (FillSource.DATA, by_the_data_api(fills)),
        (FillSource.CHAIN, on_the_chain(fills, block=100)),
    ):
        if subset.draw(st.booleans()):
            told.append(sighting)
            seen[source] = fills
    ingest = Ingest()

    await ingest.hears(drawn(told, subset, shuffle))

    for trade in by_trade(fills):
        known = [
            seen_by(source, [fill for fill in some if fill.trade_id == trade])
            for source, some in seen.items()
        ]
        assert_copied_once(ingest, trade, of=max(known))


async def test_two_equal_fills_are_copied_as_one_until_the_chain_tells_them_apart() -> None:
    ingest, twins = Ingest(), [a_whole_fill(1), a_whole_fill(1)]

    await ingest.hears([on_the_socket(twins[0], "trades", as_text=False), by_the_data_api(twins)])
    known_before = ingest.parts(twins[0].trade_id)
    await ingest.hears([on_the_chain(twins, block=100)])

    assert [(part.from_shares, part.to_shares) for part in known_before] == [(0, shares(10))]
    assert [(part.from_shares, part.to_shares) for part in ingest.parts(twins[0].trade_id)] == [
        (0, shares(10)),
        (shares(10), shares(20)),
    ]


async def test_the_two_outcomes_of_a_market_are_two_trades_of_one_settlement() -> None:
    """The leader takes YES from himself, or has a resting NO beside it: each token is copied by
    itself.
    """
    ingest, both = (
        Ingest(),
        [a_whole_fill(1, token=YES, cents=40), a_whole_fill(2, token=NO, cents=60, took=False)],
    )

    await ingest.hears([on_the_chain(both, block=100), by_the_data_api(both)])

    assert sorted(
        (intent.token_id, intent.leader_shares) for intent in ingest.intents.values()
    ) == [(token, shares(10)) for token in (YES, NO) for _ in FOLLOWS]


async def test_an_old_exchange_tells_the_same_trade_as_the_new_ones_do() -> None:
    for side in Side:
        ingest, fill = Ingest(), a_whole_fill(side=side)

        await ingest.hears(
            [on_the_chain([fill], block=100, v1=True), on_the_socket(fill, "trades", as_text=False)]
        )

        assert [(part.from_shares, part.to_shares) for part in ingest.parts(fill.trade_id)] == [
            (0, fill.shares)
        ]


@pytest.mark.parametrize(
    ("shares_given", "usdc_given"), [(10**18 + 1, 5), (7, 0), (5, 5), (2**255, 2**254)]
)
async def test_a_log_that_gives_nothing_or_more_than_there_can_be_is_no_trade(
    shares_given: int, usdc_given: int
) -> None:
    fill = replace(a_whole_fill(), shares=shares_given, usdc=usdc_given)

    assert await on_the_chain([fill], block=100).heard() == []


def drawn(told: Sequence[Sighting], draw: st.DataObject, shuffle: Random) -> list[Sighting]:
    """All of them in some order, some of them again."""
    heard = [*told, *(draw.draw(st.lists(st.sampled_from(told), max_size=5)) if told else [])]
    shuffle.shuffle(heard)
    return heard


def assert_copied_once(ingest: Ingest, trade: str, *, of: int) -> None:
    """The parts follow one another from the first share on, and end where the best source's sight
    ends; each has one intent per follow.
    """
    parts = ingest.parts(trade)
    assert [part.from_shares for part in parts] == [0, *(part.to_shares for part in parts)][
        : len(parts)
    ]
    assert 0 <= of - sum(part.shares for part in parts) <= ROUNDING_TOLERANCE_SHARES
    expected = {
        intent_id(trade=trade, from_shares=part.from_shares, follow_id=follow.follow_id)
        for part in parts
        for follow in FOLLOWS
    }
    assert {
        known for known, intent in ingest.intents.items() if trade_of(intent) == trade
    } == expected


def trade_of(intent: Intent) -> str:
    return trade_id(
        transaction_hash=intent.transaction_hash,
        leader=intent.leader,
        token_id=intent.token_id,
        side=intent.side,
    )
