"""What a leader held before a sale, read on a real chain, before and after it is mined."""

import pytest

from services.ingest.adapters import ChainHoldings
from services.ingest.decisions import OtherTrade
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.lifecycle.settlement import SignedTransaction
from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, LIVE_EXCHANGES
from shared.chain.orders import BUY, SELL
from shared.domain.money import Side
from shared.messages.leader_fills import LeaderFillSeen
from tests.builders import NOON, a_fill, seconds, shares
from tests.integration.chain.market import SHARES, PaperMarket, wait_until_mined

pytestmark = pytest.mark.integration

LEADER = 1
"""His number among the traders."""
TRADED = shares(100)


@pytest.fixture(params=[EXCHANGE_V2, EXCHANGE_V3], ids=["V2", "V3"])
async def market(request: pytest.FixtureRequest, deployment: Deployment) -> PaperMarket:
    return await PaperMarket.open(deployment, exchange=request.param)


def sign(market: PaperMarket, side: Side, *, salt: int) -> SignedTransaction:
    """The leader trades 100 shares; the transaction is not sent yet."""
    leader, other = (SELL, BUY) if side is Side.SELL else (BUY, SELL)
    orders = [
        market.order(
            trader,
            order_side,
            gives=TRADED // 2 if order_side == BUY else TRADED,
            wants=TRADED if order_side == BUY else TRADED // 2,
            salt=salt,
        )
        for trader, order_side in ((LEADER, leader), (0, other))
    ]
    return market.settler.sign(market.match(*orders))


async def mine(market: PaperMarket, *transactions: SignedTransaction) -> None:
    """All in one block."""
    await market.deployment.rpc.call("evm_setAutomine", False)
    try:
        for transaction in transactions:
            await market.settler.send(transaction)
        await market.deployment.rpc.call("evm_mine")
    finally:
        await market.deployment.rpc.call("evm_setAutomine", True)
    for transaction in transactions:
        await wait_until_mined(market.settler, transaction)


def sale(market: PaperMarket, transaction: SignedTransaction) -> LeaderFillSeen:
    return a_fill(
        leader=market.traders[LEADER].address,
        token_id=str(market.condition.yes_token),
        transaction_hash=transaction.hash,
        side=Side.SELL,
        shares=TRADED,
    )


def earlier(transaction: SignedTransaction, side: Side = Side.SELL) -> OtherTrade:
    return OtherTrade(
        trade_id=transaction.hash,
        transaction_hash=transaction.hash,
        side=side,
        shares=TRADED,
        matched_at=NOON - seconds(1),
        first_seen_at=NOON,
        confirmed_at=None,
    )


async def test_before_and_after_it_is_mined_the_same_is_read(market: PaperMarket) -> None:
    holdings = ChainHoldings(market.chain, exchanges=LIVE_EXCHANGES)
    transaction = sign(market, Side.SELL, salt=1)

    before = await holdings.fetch_held_before(sale(market, transaction), [])
    await mine(market, transaction)
    after = await holdings.fetch_held_before(sale(market, transaction), [])

    assert before == after == SHARES


async def test_of_two_sales_in_a_row_the_second_is_of_what_the_first_left(
    market: PaperMarket,
) -> None:
    holdings = ChainHoldings(market.chain, exchanges=LIVE_EXCHANGES)
    first, second = (sign(market, Side.SELL, salt=salt) for salt in (1, 2))

    unmined = await holdings.fetch_held_before(sale(market, second), [earlier(first)])
    await mine(market, first)
    first_mined = await holdings.fetch_held_before(sale(market, second), [earlier(first)])
    await mine(market, second)
    both_mined = await holdings.fetch_held_before(sale(market, second), [earlier(first)])

    assert unmined == first_mined == both_mined == SHARES - TRADED
    assert await holdings.fetch_held_before(sale(market, first), []) == SHARES


async def test_two_sales_in_one_block_are_taken_one_after_the_other(market: PaperMarket) -> None:
    holdings = ChainHoldings(market.chain, exchanges=LIVE_EXCHANGES)
    first, second = (sign(market, Side.SELL, salt=salt) for salt in (1, 2))

    await mine(market, first, second)

    assert await holdings.fetch_held_before(sale(market, first), []) == SHARES
    assert (
        await holdings.fetch_held_before(sale(market, second), [earlier(first)]) == SHARES - TRADED
    )


async def test_what_was_bought_just_before_is_held(market: PaperMarket) -> None:
    holdings = ChainHoldings(market.chain, exchanges=LIVE_EXCHANGES)
    bought, sold = sign(market, Side.BUY, salt=1), sign(market, Side.SELL, salt=2)
    before = [earlier(bought, Side.BUY)]

    unmined = await holdings.fetch_held_before(sale(market, sold), before)
    await mine(market, bought, sold)
    mined = await holdings.fetch_held_before(sale(market, sold), before)

    assert unmined == mined == SHARES + TRADED
