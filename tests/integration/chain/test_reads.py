"""Reads of a real chain: all values of one block, or an error.

An automining node that is also asked to mine adds an empty block later: the head may rise between
two reads.
"""

import pytest

from services.paper_venue.chain.deployment import Deployment
from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, EXCHANGE_V3, PUSD
from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.chain.orders import BUY, SELL
from shared.chain.rpc import NodeRefused, Rpc
from shared.domain.errors import Transient
from shared.testing.waiting import eventually
from tests.integration.chain.market import PaperMarket, decode_fills

pytestmark = pytest.mark.integration

NOBODY = "0x" + "99" * 20


async def _trade(market: PaperMarket, salt: int) -> list[OrderFilledLog]:
    taker = market.order(0, BUY, gives=500_000, wants=1_000_000, salt=salt)
    maker = market.order(1, SELL, gives=1_000_000, wants=500_000, salt=salt)
    return decode_fills(await market.settle(market.match(taker, maker)))


async def test_an_empty_wallet_is_read_as_zeros_at_the_head(
    deployment: Deployment, chain: ChainClient
) -> None:
    market = await PaperMarket.open(deployment)

    before = (await chain.fetch_latest_block()).number
    read = await chain.fetch_balances(NOBODY, [market.condition.yes_token])

    assert (read.collateral, read.shares_by_token) == (0, {market.condition.yes_token: 0})
    assert read.allowance_by_spender == {EXCHANGE_V2: 0, EXCHANGE_V3: 0}
    assert read.conditional_tokens_approved == read.position_manager_approved == frozenset()
    assert before <= read.block_number <= (await chain.fetch_latest_block()).number


async def test_tokens_of_both_market_versions_are_read_in_one_request(
    deployment: Deployment, chain: ChainClient
) -> None:
    old, new = (
        await PaperMarket.open(deployment),
        await PaperMarket.open(deployment, exchange=EXCHANGE_V3),
    )
    tokens = [
        new.condition.no_token,
        old.condition.yes_token,
        new.condition.yes_token,
        old.condition.no_token,
    ]

    read = await chain.fetch_balances(old.traders[0].address, tokens)

    assert [read.shares_by_token[token] for token in tokens] == [0, 500_000_000, 0, 500_000_000]


async def test_many_wallets_and_tokens_are_read_in_one_request(
    deployment: Deployment, chain: ChainClient
) -> None:
    market = await PaperMarket.open(deployment, traders=30)
    yes = market.condition.yes_token
    tokens = [yes, *(yes ^ bit for bit in range(1, 40))]

    read = await chain.fetch_balances_by_wallet(
        [wallet.address for wallet in market.traders], tokens
    )

    assert [each.wallet for each in read.values()] == [wallet.address for wallet in market.traders]
    assert all(
        each.shares_by_token == {token: 500_000_000 * (token == yes) for token in tokens}
        for each in read.values()
    )


async def test_a_call_without_a_contract_has_an_empty_answer_and_not_zero(
    chain: ChainClient,
) -> None:
    before = (await chain.fetch_latest_block()).number
    number, answers = await chain.fetch_snapshot(
        [
            (PUSD, bytes.fromhex("313ce567")),
            (NOBODY, bytes.fromhex("313ce567")),
            (PUSD, b"\x00" * 4),
        ]
    )

    assert int.from_bytes(answers[0], "big") == 6
    assert answers[1:] == [b"", b""]
    assert before <= number <= (await chain.fetch_latest_block()).number


async def test_a_missing_contract_is_an_error_and_not_a_zero_balance(
    deployment: Deployment, chain: ChainClient
) -> None:
    code = await deployment.rpc.call("eth_getCode", CONDITIONAL_TOKENS, "latest")
    await deployment.rpc.call("anvil_setCode", CONDITIONAL_TOKENS, "0x")
    try:
        with pytest.raises(Transient):
            await chain.fetch_balances(NOBODY, [1 << 255 | 1 << 60])
    finally:
        await deployment.rpc.call("anvil_setCode", CONDITIONAL_TOKENS, code)


async def test_a_missing_node_is_transient_and_the_error_does_not_contain_its_address() -> None:
    chain = ChainClient(Rpc("http://127.0.0.1:1/v2/a-secret-key"))

    for read in (
        chain.fetch_latest_block(),
        chain.fetch_balances(NOBODY),
        chain.fetch_receipt("0x" + "11" * 32),
        chain.fetch_order_fills(0, 1, [NOBODY]),
    ):
        with pytest.raises(Transient) as error:
            await read
        assert "secret" not in f"{error.value!r} {error.value.__cause__!r}"
        assert error.value.__suppress_context__
    await chain.close()


async def test_an_error_answer_keeps_its_code_and_text(deployment: Deployment) -> None:
    with pytest.raises(NodeRefused) as error:
        await deployment.rpc.call("eth_sendRawTransaction", "0x00")

    assert error.value.code != 0
    assert error.value.text


async def test_each_fill_of_a_wallet_is_returned_once_whatever_the_span(
    deployment: Deployment, chain: ChainClient
) -> None:
    market = await PaperMarket.open(deployment)
    first = (await chain.fetch_latest_block()).number + 1
    fills = [fill for salt in range(5) for fill in await _trade(market, salt)]
    last = (await chain.fetch_latest_block()).number
    buyer, seller = (wallet.address for wallet in market.traders)

    for span in (1, 2, 1000):
        client = ChainClient(deployment.rpc, block_span=span)
        assert await client.fetch_order_fills(first, last, [buyer, seller]) == fills
        assert await client.fetch_order_fills(first, last, [buyer.lower()]) == [
            fill for fill in fills if fill.maker == buyer
        ]
    assert await chain.fetch_order_fills(first, last, [NOBODY]) == []
    assert await chain.fetch_order_fills(first, last, []) == []
    elsewhere = ChainClient(deployment.rpc, exchanges=[EXCHANGE_V3])
    assert await elsewhere.fetch_order_fills(first, last, [buyer]) == []


async def test_a_block_above_the_head_is_an_error_and_not_an_empty_block(
    chain: ChainClient,
) -> None:
    head = (await chain.fetch_latest_block()).number
    not_seen = head + 100

    with pytest.raises(Transient):
        await chain.fetch_order_fills(head, not_seen, [NOBODY])
    assert await chain.fetch_block_hash(not_seen) is None


async def test_the_finalized_block_trails_the_head(
    deployment: Deployment, chain: ChainClient
) -> None:
    await deployment.rpc.call_batch([("evm_mine", [])] * 6)

    before, finalized, after = (
        await chain.fetch_latest_block(),
        await chain.fetch_finalized_block(),
        await chain.fetch_latest_block(),
    )

    assert before.number <= finalized.number + 4 <= after.number
    assert await chain.fetch_block_hash(finalized.number) == finalized.hash
    assert await chain.fetch_receipt("0x" + "11" * 32) is None


async def test_a_reorg_changes_the_block_hash_and_removes_the_receipt(
    deployment: Deployment, chain: ChainClient
) -> None:
    market = await PaperMarket.open(deployment)
    before = await market.fetch_holdings()
    (fill, _) = await _trade(market, salt=1)
    assert await chain.fetch_block_hash(fill.block_number) == fill.block_hash

    async def reorganized() -> bool:
        depth = (await chain.fetch_latest_block()).number - fill.block_number + 1
        await deployment.rpc.call("anvil_reorg", depth, [])
        return await chain.fetch_block_hash(fill.block_number) != fill.block_hash

    await eventually(
        reorganized, what="the fill's block was reorganized away despite a late empty block"
    )

    assert await chain.fetch_block_hash(fill.block_number) not in (fill.block_hash, None)
    assert await chain.fetch_receipt(fill.tx_hash) is None
    assert await market.fetch_holdings() == before
    assert await chain.fetch_order_fills(fill.block_number, fill.block_number, [fill.maker]) == []
