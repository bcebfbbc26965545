"""The benchmark's node: what services read from it is what they expect of a chain's node."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3
from shared.chain.blocks import parse_block, parse_receipt
from shared.chain.logs import OrderFilledLog, decode_order_fills, maker_topics
from shared.chain.orders import order_hash
from shared.domain.money import Side
from tools.bench.chain_blocks import (
    BLOCK_SECONDS,
    FINAL_AFTER_BLOCKS,
    KEPT_BLOCKS,
    parse_order,
    settlement_transaction,
    taker_fee,
)
from tools.bench.followers import build_wallets
from tools.bench.node import BenchNode

MAKER, OTHER = (proxy for proxy, _ in build_wallets(2))
SECOND = 1_790_000_001
BLOCK = SECOND // BLOCK_SECONDS + 1
"""In which an order is settled that is matched in that second."""


class Clock:
    def __init__(self, second: int) -> None:
        self.second = second

    def __call__(self) -> int:
        return self.second

    def pass_blocks(self, count: int) -> None:
        self.second += count * BLOCK_SECONDS


def build_order(*, salt: int = 7, maker: str = MAKER, side: str = "BUY") -> dict[str, Any]:
    return {
        "salt": salt,
        "maker": maker,
        "signer": maker,
        "tokenId": str(10**76),
        "makerAmount": "5000000",
        "takerAmount": "9615384",
        "side": side,
        "signatureType": 0,
        "timestamp": "1790000000000",
        "metadata": "0x" + "00" * 32,
        "builder": "0x" + "00" * 32,
        "signature": "0x",
    }


def settle(node: BenchNode, *orders: Mapping[str, Any]) -> None:
    node.settle(orjson.dumps([{"order": order} for order in orders]))


def ask(node: BenchNode, method: str, *params: object) -> Any:
    return ask_many(node, (method, params))[0]


def ask_many(node: BenchNode, *calls: tuple[str, tuple[object, ...]]) -> list[Any]:
    requests = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in enumerate(calls)
    ]
    answers = orjson.loads(node.answer(orjson.dumps(requests)))
    assert [answer["id"] for answer in answers] == list(range(len(calls)))
    return [answer["result"] if "result" in answer else answer["error"] for answer in answers]


def read_fills(
    node: BenchNode,
    *,
    first: int = BLOCK,
    last: int = BLOCK,
    makers: tuple[str, ...] = (MAKER,),
    exchange: str = EXCHANGE_V2,
) -> list[OrderFilledLog]:
    log_filter = {
        "fromBlock": hex(first),
        "toBlock": hex(last),
        "address": [exchange],
        "topics": maker_topics(makers),
    }
    return decode_order_fills(ask(node, "eth_getLogs", log_filter))


def test_a_matched_order_is_an_order_filled_of_its_hash_and_amounts() -> None:
    clock = Clock(SECOND)
    node, order = BenchNode(clock), build_order()
    settle(node, order)
    clock.pass_blocks(1)

    (fill,) = read_fills(node)

    assert fill.order_hash == order_hash(parse_order(order), EXCHANGE_V2, "2")
    assert (fill.maker, fill.exchange, fill.is_taker_order) == (MAKER, EXCHANGE_V2, True)
    assert (fill.side, fill.token_id) == (Side.BUY, 10**76)
    assert (fill.usdc, fill.shares) == (5_000_000, 9_615_384)
    assert fill.tx_hash == settlement_transaction(7)
    assert (fill.block_number, fill.log_index) == (BLOCK, 0)
    assert fill.fee == taker_fee(usdc=5_000_000, shares=9_615_384) > 0


def test_a_sale_gives_shares_and_gets_money() -> None:
    clock = Clock(SECOND)
    node = BenchNode(clock)
    settle(node, build_order(side="SELL"))
    clock.pass_blocks(1)

    (fill,) = read_fills(node)

    assert (fill.side, fill.shares, fill.usdc) == (Side.SELL, 5_000_000, 9_615_384)


def test_only_the_fills_of_the_asked_wallets_and_blocks_are_found() -> None:
    clock = Clock(SECOND)
    node = BenchNode(clock)
    settle(node, build_order(salt=1), build_order(salt=2, maker=OTHER), build_order(salt=3))
    clock.pass_blocks(1)
    settle(node, build_order(salt=4))
    clock.pass_blocks(1)

    def found(**asked: Any) -> list[int]:
        return sorted(int(fill.tx_hash, 16) for fill in read_fills(node, **asked))

    assert found() == [1, 3]
    assert found(makers=(OTHER,)) == [2]
    assert found(makers=(MAKER, OTHER), last=BLOCK + 1) == [1, 2, 3, 4]
    assert found(first=BLOCK + 1, last=BLOCK + 1) == [4]
    assert found(exchange=EXCHANGE_V3) == []
    assert {fill.log_index for fill in read_fills(node, makers=(MAKER, OTHER))} == {0, 1, 2}


def test_what_is_not_mined_yet_is_not_served() -> None:
    clock = Clock(SECOND)
    node = BenchNode(clock)
    settle(node, build_order())

    assert read_fills(node, last=BLOCK + 10) == []
    assert ask(node, "eth_getTransactionReceipt", settlement_transaction(7)) is None
    assert ask(node, "eth_getBlockByNumber", hex(BLOCK), False) is None


def test_blocks_follow_one_another_and_the_finalized_one_is_behind() -> None:
    node = BenchNode(Clock(SECOND))
    latest, finalized, before, number = ask_many(
        node,
        ("eth_getBlockByNumber", ("latest", False)),
        ("eth_getBlockByNumber", ("finalized", False)),
        ("eth_getBlockByNumber", (hex(SECOND // BLOCK_SECONDS - 1), False)),
        ("eth_blockNumber", ()),
    )

    assert parse_block(latest).number == int(number, 16) == SECOND // BLOCK_SECONDS
    assert parse_block(latest).parent_hash == parse_block(before).hash
    assert parse_block(finalized).number == parse_block(latest).number - FINAL_AFTER_BLOCKS
    assert 0 <= SECOND - parse_block(latest).timestamp < BLOCK_SECONDS


def test_a_receipt_has_the_fill_of_its_transaction() -> None:
    clock = Clock(SECOND)
    node = BenchNode(clock)
    settle(node, build_order())
    clock.pass_blocks(1)
    tx_hash = settlement_transaction(7)

    receipt = parse_receipt(ask(node, "eth_getTransactionReceipt", tx_hash), tx_hash=tx_hash)

    assert receipt is not None
    assert (receipt.block_number, receipt.succeeded) == (BLOCK, True)
    assert decode_order_fills(receipt.logs) == read_fills(node)


def test_fills_are_forgotten_after_some_minutes() -> None:
    clock = Clock(SECOND)
    node = BenchNode(clock)
    settle(node, build_order(salt=1))
    clock.pass_blocks(KEPT_BLOCKS + 1)
    settle(node, build_order(salt=2))
    clock.pass_blocks(1)

    assert [fill.tx_hash for fill in read_fills(node, last=BLOCK + 2 * KEPT_BLOCKS)] == [
        settlement_transaction(2)
    ]
    assert ask(node, "eth_getTransactionReceipt", settlement_transaction(1)) is None


@pytest.mark.parametrize(
    ("method", "params"),
    [("eth_gasPrice", ()), ("eth_call", ({"data": "0x1234"}, "latest"))],
)
def test_what_it_does_not_know_is_refused(method: str, params: tuple[object, ...]) -> None:
    known, refused = ask_many(BenchNode(Clock(SECOND)), ("eth_chainId", ()), (method, params))

    assert known == "0x89"
    assert refused["code"] < 0


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_a_fee_is_never_negative_nor_more_than_the_price(usdc: int, shares: int) -> None:
    assert 0 <= taker_fee(usdc=usdc, shares=shares) <= usdc
