"""Balances of many wallets and tokens at one block, on a real chain."""

import pytest

from services.paper_venue.chain.deployment import Deployment
from shared.chain import wallet_balances
from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3
from shared.chain.client import ChainClient
from shared.chain.orders import BUY, SELL
from shared.domain.errors import Transient
from tests.integration.chain.market import SHARES, PaperMarket

pytestmark = pytest.mark.integration

SOLD = 1_000_000


async def test_leaders_of_both_market_versions_are_read_as_of_one_block(
    deployment: Deployment, chain: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In as many calls as it takes, in the order of the questions; a later trade does not show."""
    monkeypatch.setattr(wallet_balances, "MAX_TOKENS_PER_CALL", 2)
    old = await PaperMarket.open(deployment, traders=3)
    new = await PaperMarket.open(deployment, exchange=EXCHANGE_V3)
    queries = [
        (market.traders[number].address, market.condition.yes_token)
        for market, number in ((old, 0), (new, 0), (old, 1), (old, 2), (new, 1))
    ]
    block = await chain.fetch_latest_block()

    taker = old.order(0, BUY, gives=SOLD // 2, wants=SOLD, salt=1)
    maker = old.order(1, SELL, gives=SOLD, wants=SOLD // 2, salt=1)
    traded = await old.settle(old.match(taker, maker))

    before = await chain.fetch_shares_at(queries, block_number=block.number)
    after = await chain.fetch_shares_at(queries, block_number=traded.block_number)
    assert before == [SHARES] * 5
    assert after == [SHARES + SOLD, SHARES, SHARES - SOLD, SHARES, SHARES]


@pytest.mark.parametrize("exchange", [EXCHANGE_V2, EXCHANGE_V3])
async def test_a_block_that_the_node_has_not_seen_is_an_error_and_not_its_latest(
    deployment: Deployment, chain: ChainClient, exchange: str
) -> None:
    market = await PaperMarket.open(deployment, exchange=exchange)
    head = (await chain.fetch_latest_block()).number

    with pytest.raises(Transient):
        await chain.fetch_shares_at(
            [(market.traders[0].address, market.condition.yes_token)], block_number=head + 1000
        )
