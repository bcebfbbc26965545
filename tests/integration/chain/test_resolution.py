"""Redemption: shares of a resolved condition become the pUSD behind them, on every exchange."""

import pytest
from eth_utils.crypto import keccak

from services.paper_venue.chain.conditions import (
    build_redeem_call,
    distribute_shares,
    prepare_conditions,
    report_payouts,
)
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import TransactionReverted, local_account, send_and_mine
from services.paper_venue.chain.wallets import WalletKind, create_wallets, paper_key
from shared.chain.addresses import LIVE_EXCHANGES, NEG_RISK_EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.chain.orders import BUY, SELL
from tests.integration.chain.market import DOLLARS, SHARES, Holdings, PaperMarket

pytestmark = pytest.mark.integration

all_exchanges = pytest.mark.parametrize("exchange", LIVE_EXCHANGES)
MOVED = 10_000_000


async def redeem_all(market: PaperMarket) -> None:
    calls = [
        (local_account(trader.key), build_redeem_call(market.condition))
        for trader in market.traders
    ]
    await send_and_mine(market.deployment.rpc, calls)


@all_exchanges
@pytest.mark.parametrize(
    ("yes", "no"),
    [(1, 0), (0, 1), (1, 1), (1, 3)],
    ids=["yes wins", "no wins", "split", "a quarter"],
)
async def test_bought_and_sold_shares_pay_out_as_resolved(
    deployment: Deployment, exchange: str, yes: int, no: int
) -> None:
    market = await PaperMarket.open(deployment, exchange=exchange)
    buy = market.order(0, BUY, gives=MOVED // 2, wants=MOVED)
    sell = market.order(1, SELL, gives=MOVED, wants=MOVED // 2)
    assert (await market.settle(market.match(buy, sell))).succeeded
    total = await market.fetch_totals()

    await report_payouts(deployment, market.condition, yes=yes, no=no)
    await redeem_all(market)

    buyer, seller = await market.fetch_holdings()
    buyer_payout = (SHARES + MOVED) * yes // (yes + no) + SHARES * no // (yes + no)
    seller_payout = (SHARES - MOVED) * yes // (yes + no) + SHARES * no // (yes + no)
    assert buyer == Holdings(usd=DOLLARS - MOVED // 2 + buyer_payout, yes=0, no=0)
    assert seller == Holdings(usd=DOLLARS + MOVED // 2 + seller_payout, yes=0, no=0)
    assert (await market.fetch_totals()).usd == total.usd


@all_exchanges
async def test_redemption_needs_a_resolution_and_neither_happens_twice(
    deployment: Deployment, exchange: str
) -> None:
    market = await PaperMarket.open(deployment, exchange=exchange)

    with pytest.raises(TransactionReverted):
        await redeem_all(market)
    await report_payouts(deployment, market.condition, yes=1, no=0)
    await redeem_all(market)
    once = await market.fetch_holdings()
    await redeem_all(market)

    assert (
        await market.fetch_holdings() == once == [Holdings(usd=DOLLARS + SHARES, yes=0, no=0)] * 2
    )
    with pytest.raises(TransactionReverted):
        await report_payouts(deployment, market.condition, yes=0, no=1)


async def test_one_outcome_of_a_neg_risk_event_wins_and_all_others_lose(
    deployment: Deployment,
) -> None:
    questions = ["0x" + keccak(text=f"event outcome {index}").hex() for index in range(3)]
    event = await prepare_conditions(deployment, dict.fromkeys(questions, NEG_RISK_EXCHANGE_V2))
    (holder,) = await create_wallets(
        deployment, WalletKind.EOA, [paper_key("event holder", 0)], collateral=DOLLARS
    )
    await distribute_shares(deployment, event, [holder.address], SHARES)
    no_tokens = [condition.no_token for condition in event]

    for condition in event:
        wins = condition == event[1]
        await report_payouts(deployment, condition, yes=int(wins), no=int(not wins))
    await send_and_mine(
        deployment.rpc,
        [(local_account(holder.key), build_redeem_call(condition)) for condition in event[:2]],
    )

    read = await ChainClient(deployment.rpc).fetch_balances(holder.address, no_tokens)
    assert read.collateral == DOLLARS + 2 * SHARES  # the first one's NO and the second one's YES
    assert list(read.shares_by_token.values()) == [0, 0, SHARES]
