"""A gateway with the limits of a small provider in front of a real chain: everything is read as
from the chain itself.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.paper_venue.chain.deployment import Deployment
from shared.chain.addresses import EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.chain.orders import BUY, SELL
from shared.chain.rpc import NodeRefused
from shared.domain.errors import Transient
from tests.builders import shares, usdc
from tests.integration.chain.market import PaperMarket
from tests.nodes import Call, LimitedNode, error, serve_node

pytestmark = pytest.mark.integration

MAX_BATCH, MAX_MAKERS, MAX_BLOCKS = 3, 1, 2
TRADES = 4


@pytest.fixture
def gateway(deployment: Deployment) -> LimitedNode:
    async def forward(call: Call) -> Any:
        (answer,) = await deployment.rpc.call_each([(call["method"], call["params"])])
        if isinstance(answer, NodeRefused):
            return error(answer.code, answer.text)
        return {"result": answer}

    return LimitedNode(
        answer=forward, max_batch=MAX_BATCH, max_makers=MAX_MAKERS, max_blocks=MAX_BLOCKS
    )


@pytest.fixture
async def limited(gateway: LimitedNode) -> AsyncIterator[ChainClient]:
    async with serve_node(gateway) as rpc:
        yield ChainClient(rpc)


async def trade(market: PaperMarket, salt: int) -> str:
    bought = market.order(0, BUY, gives=usdc(5), wants=shares(10), salt=salt)
    sold = market.order(1, SELL, gives=shares(10), wants=usdc(5), salt=salt)
    return (await market.settle(market.match(bought, sold))).tx_hash


async def test_everything_is_read_through_a_small_providers_gateway(
    deployment: Deployment, chain: ChainClient, limited: ChainClient, gateway: LimitedNode
) -> None:
    market = await PaperMarket.open(deployment, exchange=EXCHANGE_V2)
    first = (await chain.fetch_latest_block()).number + 1
    hashes = [await trade(market, salt) for salt in range(1, TRADES + 1)]
    last = (await chain.fetch_latest_block()).number
    wallets = [trader.address for trader in market.traders]
    numbers = list(range(first, last + 1))

    fills = await limited.fetch_order_fills(first, last, wallets)
    receipts = await limited.fetch_receipts(hashes)

    assert len(fills) == 2 * TRADES
    assert fills == await chain.fetch_order_fills(first, last, wallets)
    assert receipts == await chain.fetch_receipts(hashes)
    assert await limited.fetch_blocks(numbers) == await chain.fetch_blocks(numbers)
    assert await limited.fetch_block_hashes(numbers) == await chain.fetch_block_hashes(numbers)
    for wallet in wallets:
        query: dict[str, Any] = {"block_number": last, "tx_hashes": hashes}
        token_id = fills[0].token_id
        assert await limited.fetch_shares_and_receipts(
            wallet, token_id, **query
        ) == await chain.fetch_shares_and_receipts(wallet, token_id, **query)
    assert max(gateway.batch_sizes) <= MAX_BATCH
    assert max(end - start + 1 for start, end in gateway.spans) <= MAX_BLOCKS
    assert gateway.refusals > 0


async def test_a_block_that_the_chain_has_not_seen_is_transient_in_every_part(
    chain: ChainClient, limited: ChainClient
) -> None:
    not_seen = (await chain.fetch_latest_block()).number + 100

    with pytest.raises(Transient, match="before"):
        await limited.fetch_shares_and_receipts(
            "0x" + "11" * 20, 10**70, block_number=not_seen, tx_hashes=["0x" + "22" * 32] * 7
        )
    with pytest.raises(Transient, match="before"):
        await limited.fetch_shares_at([("0x" + "11" * 20, 10**70)], block_number=not_seen)
