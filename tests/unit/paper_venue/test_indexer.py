"""The index tells what the chain did: rows, holdings and what they cost, and nothing that did not
happen.
"""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.data_api.activity_index import Activity, ActivityIndex, ActivityType
from services.paper_venue.data_api.chain_events import ZERO_ADDRESS, decode_transactions
from services.paper_venue.data_api.holdings_ledger import Holding
from services.paper_venue.data_api.indexer import Indexer
from services.paper_venue.faults.catalogue import Fault, Faults, Strike
from shared.chain.addresses import EXCHANGE_V2
from shared.domain.errors import Transient
from shared.domain.money import Side
from tests.unit.paper_venue import chain_logs as chain
from tests.unit.paper_venue.builders import MARKET, NO, SHARE, USDC, YES

LEADER, MAKER, ADAPTER = chain.LEADER, chain.MAKER, chain.ADAPTER
MARKETS = {YES: MARKET, NO: MARKET}


def indexed(*transactions: list[chain.Log]) -> ActivityIndex:
    index = ActivityIndex(MARKETS)
    for transaction in decode_transactions(chain.mined(*transactions)):
        index.apply(transaction)
    return index


def row_facts(index: ActivityIndex, wallet: str = LEADER) -> list[tuple[ActivityType, int, int]]:
    return [(row.type, row.shares, row.usdc) for row in index.rows(wallet)]


def find_holding(index: ActivityIndex, token: str = YES, wallet: str = LEADER) -> Holding:
    (found,) = [each for each in index.holdings(wallet) if each.token_id == token]
    return found


def test_a_match_is_a_row_for_each_order_and_only_one_is_the_takers() -> None:
    index = indexed(chain.bought(LEADER, shares=100 * SHARE, usdc=50 * USDC, fee=1))

    assert [(row.wallet, row.side, row.is_taker) for row in index.rows()] == [
        (MAKER, Side.SELL, False),
        (LEADER, Side.BUY, True),
    ]
    assert row_facts(index) == [(ActivityType.TRADE, 100 * SHARE, 50 * USDC)]


def test_two_equal_orders_of_one_wallet_in_one_match_are_two_rows() -> None:
    twins = [
        chain.filled(
            MAKER, shares=10 * SHARE, usdc=5 * USDC, side="SELL", taker=LEADER, order=order
        )
        for order in (2, 3)
    ]
    match = [chain.moved(MAKER, LEADER, 20 * SHARE), *twins]

    index = indexed([*match, chain.filled(LEADER, shares=20 * SHARE, usdc=10 * USDC)])

    first, second = index.rows(MAKER)
    assert (first.shares, first.usdc, first.transaction_hash) == (
        second.shares,
        second.usdc,
        second.transaction_hash,
    )
    assert first.key < second.key


def test_a_match_that_mints_is_no_split() -> None:
    """The exchange splits for both buyers: each has bought, and nobody has split."""
    exchange = EXCHANGE_V2
    made = [chain.moved(ZERO_ADDRESS, exchange, 10 * SHARE, token=token) for token in (YES, NO)]
    handed = [
        chain.moved(exchange, MAKER, 10 * SHARE, token=NO),
        chain.moved(exchange, LEADER, 10 * SHARE),
    ]
    fills = [
        chain.filled(MAKER, shares=10 * SHARE, usdc=4 * USDC, token=NO, taker=LEADER),
        chain.filled(LEADER, shares=10 * SHARE, usdc=6 * USDC),
    ]

    index = indexed([*made, *handed, *fills])

    assert {row.type for row in index.rows()} == {ActivityType.TRADE}
    assert find_holding(index, NO, MAKER).held == 10 * SHARE


def test_pairs_that_an_adapter_makes_are_the_split_of_who_gets_them() -> None:
    made = [chain.moved(ZERO_ADDRESS, ADAPTER, 5 * SHARE, token=token) for token in (YES, NO)]
    handed = [chain.moved(ADAPTER, LEADER, 5 * SHARE, token=token) for token in (YES, NO)]

    index = indexed([*made, *handed])

    assert row_facts(index) == [(ActivityType.SPLIT, 5 * SHARE, 5 * USDC)]
    assert not index.rows(ADAPTER)


def test_a_merge_gives_back_what_the_split_cost() -> None:
    index = indexed(chain.split(LEADER, 7 * SHARE), chain.merged(LEADER, 7 * SHARE))

    assert row_facts(index) == [
        (ActivityType.SPLIT, 7 * SHARE, 7 * USDC),
        (ActivityType.MERGE, 7 * SHARE, 7 * USDC),
    ]
    assert [(each.held, each.cost, each.realized) for each in index.holdings(LEADER)] == [
        (0, 0, 0),
        (0, 0, 0),
    ]


@pytest.mark.parametrize(
    ("payouts", "yes", "no"),
    [((1, 0), 9_000_000, 0), ((0, 1), 0, 9_000_000), ((1, 1), 4_500_000, 4_500_000)],
)
def test_a_redemption_is_one_row_for_each_outcome_the_losing_one_with_nothing(
    payouts: tuple[int, int], yes: int, no: int
) -> None:
    redemption = chain.redeemed(LEADER, yes=9 * SHARE, no=9 * SHARE, payout=9 * USDC)
    index = indexed(chain.split(LEADER, 9 * SHARE), [chain.resolved(*payouts)], redemption)

    assert row_facts(index)[1:] == [
        (ActivityType.REDEEM, 9 * SHARE, yes),
        (ActivityType.REDEEM, 9 * SHARE, no),
    ]


def test_shares_that_are_sent_are_held_but_neither_cost_nor_earn() -> None:
    index = indexed(
        [chain.moved(MAKER, LEADER, 5 * SHARE)], [chain.moved(LEADER, MAKER, 2 * SHARE)]
    )

    assert not index.rows(LEADER)
    assert (find_holding(index).held, find_holding(index).cost, find_holding(index).realized) == (
        3 * SHARE,
        0,
        0,
    )


def test_money_that_moves_by_itself_is_a_deposit_and_a_withdrawal() -> None:
    index = indexed(
        [chain.paid(ZERO_ADDRESS, LEADER, 5 * USDC)], [chain.paid(LEADER, MAKER, 2 * USDC)]
    )

    assert row_facts(index) == [
        (ActivityType.DEPOSIT, 0, 5 * USDC),
        (ActivityType.WITHDRAWAL, 0, 2 * USDC),
    ]


def test_a_sale_realizes_against_the_average_cost() -> None:
    index = indexed(
        chain.bought(LEADER, shares=100 * SHARE, usdc=40 * USDC),
        chain.bought(LEADER, shares=100 * SHARE, usdc=60 * USDC),
        chain.sold(LEADER, shares=50 * SHARE, usdc=30 * USDC, fee=USDC),
    )

    position = find_holding(index)
    assert (position.held, position.cost, position.bought, position.spent) == (
        150 * SHARE,
        75 * USDC,
        200 * SHARE,
        100 * USDC,
    )
    assert position.realized == 30 * USDC - 25 * USDC - USDC


TRADES = st.lists(
    st.tuples(
        st.sampled_from(["bought", "sold"]),
        st.integers(1, 10**9),
        st.integers(1, 10**9),
        st.integers(0, 10**6),
    ),
    max_size=15,
)


@given(TRADES)
def test_no_money_is_lost_in_the_books_of_a_holding(
    trades: list[tuple[str, int, int, int]],
) -> None:
    """What came in less what went out is what was realized less what still stands at cost, to the
    last unit.
    """
    position = Holding(wallet=LEADER, token_id=YES, number=1, first_at=0, last_at=0)
    received = spent = 0
    for way, shares, usdc, fee in trades:
        if way == "bought":
            position.buy(shares, usdc, fee)
            spent += usdc + fee
        elif shares <= position.priced:
            position.sell(shares, usdc, fee)
            received += usdc - fee

    assert position.realized - position.cost == received - spent
    assert position.cost >= 0
    assert position.priced or not position.cost


class FakeNode:
    """A chain that grows when a test says so."""

    def __init__(self) -> None:
        self.logs: list[chain.Log] = []
        self.head = 0
        self.is_away = False
        self.called: list[str] = []

    def mine(self, *transactions: list[chain.Log]) -> None:
        self.logs += chain.mined(*transactions, first_block=self.head + 1)
        self.head += len(transactions)

    async def call(self, method: str, *params: Any) -> Any:
        self.called.append(method)
        if self.is_away:
            raise Transient("the node is away")
        if method == "eth_blockNumber":
            return hex(self.head)
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        return [log for log in self.logs if first <= int(log["blockNumber"], 16) <= last]


class IndexerUnderTest:
    """An indexer over a node, with a clock that a test turns; it begins right after the block time."""

    def __init__(self, *, lag_s: float = 0, faults: Faults | None = None) -> None:
        self.node, self.index = FakeNode(), ActivityIndex(MARKETS)
        self.now_ms = chain.BLOCK_TIME * 1000
        self.indexer = Indexer(
            self.node,
            self.index,
            faults=faults or Faults(),
            lag_s=lag_s,
            now_ms=lambda: self.now_ms,
        )

    async def rows(self, *, after_s: float = 0) -> list[Activity]:
        self.now_ms += int(after_s * 1000)
        await self.indexer.poll()
        return list(self.index.rows(LEADER))


A_TRADE = chain.bought(LEADER, shares=SHARE, usdc=SHARE // 2)


async def test_a_block_is_read_once() -> None:
    following = IndexerUnderTest()
    following.node.mine(A_TRADE)

    assert len(await following.rows()) == 1
    assert len(await following.rows()) == 1
    assert following.node.called == ["eth_blockNumber", "eth_getLogs", "eth_blockNumber"]


async def test_rows_come_after_the_lag_and_not_before() -> None:
    following = IndexerUnderTest(lag_s=4)
    following.node.mine(A_TRADE)

    assert not await following.rows()
    assert not await following.rows(after_s=3.9)
    assert len(await following.rows(after_s=0.1)) == 1


async def test_a_late_row_holds_up_those_behind_it_and_none_is_missing() -> None:
    faults = Faults()
    following = IndexerUnderTest(faults=faults)
    faults.set({Fault.ROWS_LATE: Strike(times=1, seconds=Decimal(10))})
    following.node.mine(A_TRADE, A_TRADE)

    assert not await following.rows(after_s=9)
    assert len(await following.rows(after_s=2)) == 2


async def test_what_the_venues_own_leaders_do_is_late_too() -> None:
    faults = Faults()
    following = IndexerUnderTest(faults=faults)
    faults.set({Fault.ROWS_LATE: Strike(seconds=Decimal(10))})
    following.node.mine(A_TRADE)
    faults.spare(
        wallet for each in decode_transactions(chain.mined(A_TRADE)) for wallet in each.wallets
    )

    assert not await following.rows(after_s=9)
    assert len(await following.rows(after_s=2)) == 1


async def test_a_node_that_was_away_is_read_on_where_it_stopped() -> None:
    following = IndexerUnderTest()
    following.node.mine(A_TRADE)
    following.node.is_away = True
    with pytest.raises(Transient):
        await following.rows()
    following.node.is_away = False
    following.node.mine(A_TRADE)

    assert len(await following.rows()) == 2


async def test_nothing_is_read_before_somebody_asks() -> None:
    following = IndexerUnderTest()
    running = asyncio.create_task(following.indexer.run())
    await asyncio.sleep(0)
    assert following.node.called == []

    await following.indexer.wait_until_ready()

    assert following.node.called == ["eth_blockNumber", "eth_getLogs"]
    running.cancel()
