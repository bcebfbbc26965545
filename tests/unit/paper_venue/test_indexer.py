"""The index has exactly what happened on the chain: rows, holdings and their cost."""

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
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
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


def test_a_match_has_a_row_for_each_order_and_only_one_is_the_takers() -> None:
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


def test_a_match_that_mints_is_not_a_split() -> None:
    """The exchange splits for both buyers: each of them has bought, and no wallet has split."""
    exchange = EXCHANGE_V2
    minted = [chain.moved(ZERO_ADDRESS, exchange, 10 * SHARE, token=token) for token in (YES, NO)]
    transferred = [
        chain.moved(exchange, MAKER, 10 * SHARE, token=NO),
        chain.moved(exchange, LEADER, 10 * SHARE),
    ]
    fills = [
        chain.filled(MAKER, shares=10 * SHARE, usdc=4 * USDC, token=NO, taker=LEADER),
        chain.filled(LEADER, shares=10 * SHARE, usdc=6 * USDC),
    ]

    index = indexed([*minted, *transferred, *fills])

    assert {row.type for row in index.rows()} == {ActivityType.TRADE}
    assert find_holding(index, NO, MAKER).held == 10 * SHARE


def test_pairs_that_an_adapter_mints_are_the_split_of_their_receiver() -> None:
    minted = [chain.moved(ZERO_ADDRESS, ADAPTER, 5 * SHARE, token=token) for token in (YES, NO)]
    transferred = [chain.moved(ADAPTER, LEADER, 5 * SHARE, token=token) for token in (YES, NO)]

    index = indexed([*minted, *transferred])

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
def test_a_redemption_has_a_row_for_each_outcome_and_the_losing_one_pays_nothing(
    payouts: tuple[int, int], yes: int, no: int
) -> None:
    redemption = chain.redeemed(LEADER, yes=9 * SHARE, no=9 * SHARE, payout=9 * USDC)
    index = indexed(chain.split(LEADER, 9 * SHARE), [chain.resolved(*payouts)], redemption)

    assert row_facts(index)[1:] == [
        (ActivityType.REDEEM, 9 * SHARE, yes),
        (ActivityType.REDEEM, 9 * SHARE, no),
    ]


def test_transferred_shares_are_held_but_have_neither_cost_nor_profit() -> None:
    index = indexed(
        [chain.moved(MAKER, LEADER, 5 * SHARE)], [chain.moved(LEADER, MAKER, 2 * SHARE)]
    )

    assert not index.rows(LEADER)
    assert (find_holding(index).held, find_holding(index).cost, find_holding(index).realized) == (
        3 * SHARE,
        0,
        0,
    )


def test_a_plain_pusd_transfer_is_a_deposit_and_a_withdrawal() -> None:
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
def test_a_holding_accounts_for_all_money(
    trades: list[tuple[str, int, int, int]],
) -> None:
    """Money received less money spent equals realized profit less the remaining cost, to the last
    unit.
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
    """A node whose chain grows when a test says so."""

    def __init__(self) -> None:
        self.logs: list[chain.Log] = []
        self.head = 0
        self.is_unreachable = False
        self.called: list[str] = []

    def mine(self, *transactions: list[chain.Log]) -> None:
        self.logs += chain.mined(*transactions, first_block=self.head + 1)
        self.head += len(transactions)

    async def call(self, method: str, *params: Any) -> Any:
        self.called.append(method)
        if self.is_unreachable:
            raise Transient("the node is unreachable")
        if method == "eth_blockNumber":
            return hex(self.head)
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        return [log for log in self.logs if first <= int(log["blockNumber"], 16) <= last]


class IndexerUnderTest:
    """An indexer over a node, with a clock that the test moves; it starts at the block time."""

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
    tested = IndexerUnderTest()
    tested.node.mine(A_TRADE)

    assert len(await tested.rows()) == 1
    assert len(await tested.rows()) == 1
    assert tested.node.called == ["eth_blockNumber", "eth_getLogs", "eth_blockNumber"]


async def test_rows_appear_after_the_lag_and_not_before() -> None:
    tested = IndexerUnderTest(lag_s=4)
    tested.node.mine(A_TRADE)

    assert not await tested.rows()
    assert not await tested.rows(after_s=3.9)
    assert len(await tested.rows(after_s=0.1)) == 1


async def test_a_late_row_delays_those_after_it_and_none_is_missing() -> None:
    faults = Faults()
    tested = IndexerUnderTest(faults=faults)
    faults.set({Fault.ROWS_LATE: FaultOptions(times=1, seconds=Decimal(10))})
    tested.node.mine(A_TRADE, A_TRADE)

    assert not await tested.rows(after_s=9)
    assert len(await tested.rows(after_s=2)) == 2


async def test_rows_of_simulated_leaders_are_late_too() -> None:
    faults = Faults()
    tested = IndexerUnderTest(faults=faults)
    faults.set({Fault.ROWS_LATE: FaultOptions(seconds=Decimal(10))})
    tested.node.mine(A_TRADE)
    faults.exempt(
        wallet for each in decode_transactions(chain.mined(A_TRADE)) for wallet in each.wallets
    )

    assert not await tested.rows(after_s=9)
    assert len(await tested.rows(after_s=2)) == 1


async def test_after_an_unreachable_node_reading_continues_where_it_stopped() -> None:
    tested = IndexerUnderTest()
    tested.node.mine(A_TRADE)
    tested.node.is_unreachable = True
    with pytest.raises(Transient):
        await tested.rows()
    tested.node.is_unreachable = False
    tested.node.mine(A_TRADE)

    assert len(await tested.rows()) == 2


async def test_nothing_is_read_before_the_first_request() -> None:
    tested = IndexerUnderTest()
    running = asyncio.create_task(tested.indexer.run())
    await asyncio.sleep(0)
    assert tested.node.called == []

    await tested.indexer.wait_until_ready()

    assert tested.node.called == ["eth_blockNumber", "eth_getLogs"]
    running.cancel()
