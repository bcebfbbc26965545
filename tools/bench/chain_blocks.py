"""The blocks of the benchmark's chain: the fills of the orders that its venue matched. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from eth_abi.abi import encode

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.logs import ORDER_FILLED
from shared.chain.orders import SignedOrder, order_hash

BLOCK_SECONDS = 2
FINAL_AFTER_BLOCKS = 2
"""The finalized block is so many behind the newest: 4 seconds (the chain's own: 2 to 5)."""
KEPT_BLOCKS = 150
"""Fills of older blocks are forgotten: five minutes."""
FEE_BPS = 400
"""The venue's taker fee: shares x 0.04 x price x (1 - price)."""
BPS = 10_000
TOPIC_DIGITS = 64

Topics = Sequence[str | Sequence[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """A matched order's settlement, in a transaction of its own."""

    maker_topic: str
    transaction_hash: str
    log: bytes
    """As JSON, the way eth_getLogs gives it."""


@dataclass(slots=True)
class Block:
    fills_by_maker: dict[str, list[Fill]] = field(default_factory=dict)
    fills: int = 0


class BenchChain:
    """A block every two seconds. Each order is settled in the block after its match, completely."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._log_by_transaction: dict[str, tuple[int, bytes]] = {}

    def settle(self, order: Mapping[str, Any], *, second: int) -> None:
        """Settle an order, as it was posted, that was matched in this second (Unix time)."""
        number = second // BLOCK_SECONDS + 1
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = Block()
            self._forget(before=number - KEPT_BLOCKS)
        fill = build_fill(order, block_number=number, log_index=block.fills)
        block.fills += 1
        block.fills_by_maker.setdefault(fill.maker_topic, []).append(fill)
        self._log_by_transaction[fill.transaction_hash] = number, fill.log

    def find_logs(
        self, first: int, last: int, *, addresses: Collection[str], topics: Topics
    ) -> list[bytes]:
        """The logs of these blocks, both included, that the filter of eth_getLogs selects, each as
        JSON; those of one wallet in chain order. A block counts even if it is not mined yet.
        ``addresses``: in lower case; empty: any.
        """
        if addresses and EXCHANGE_V2.lower() not in addresses:
            return []
        padded = [*topics, None, None, None]
        if not _selects(padded[0], ORDER_FILLED) or padded[1] or padded[3]:
            return []
        numbers = sorted(number for number in self._blocks if first <= number <= last)
        return [fill.log for number in numbers for fill in _select(self._blocks[number], padded[2])]

    def find_receipt(self, transaction_hash: str, *, newest: int) -> bytes | None:
        """The receipt as JSON. None while its block is not mined, and once it is forgotten."""
        number, log = self._log_by_transaction.get(transaction_hash.lower(), (newest + 1, b""))
        if number > newest:
            return None
        header = build_header(number)
        receipt = {
            "transactionHash": transaction_hash,
            "blockNumber": header["number"],
            "blockHash": header["hash"],
            "status": "0x1",
            "gasUsed": hex(200_000),
            "logs": [orjson.Fragment(log)],
        }
        return orjson.dumps(receipt)

    def _forget(self, *, before: int) -> None:
        for number in [each for each in self._blocks if each < before]:
            for fills in self._blocks.pop(number).fills_by_maker.values():
                for fill in fills:
                    self._log_by_transaction.pop(fill.transaction_hash, None)


def newest_block(second: int) -> int:
    return second // BLOCK_SECONDS


def finalized_block(second: int) -> int:
    return newest_block(second) - FINAL_AFTER_BLOCKS


def build_header(number: int) -> dict[str, str]:
    """A block as eth_getBlockByNumber gives it; its time is twice its number."""
    return {
        "number": hex(number),
        "hash": _block_hash(number),
        "parentHash": _block_hash(number - 1),
        "timestamp": hex(number * BLOCK_SECONDS),
    }


def build_fill(order: Mapping[str, Any], *, block_number: int, log_index: int) -> Fill:
    """The OrderFilled of an order's match, as its taker, for its whole amounts."""
    signed = parse_order(order)
    transaction_hash = settlement_transaction(signed.salt)
    maker_topic = _address_topic(signed.maker)
    is_buy = signed.side == 0
    usdc, shares = (
        (signed.maker_amount, signed.taker_amount)
        if is_buy
        else (signed.taker_amount, signed.maker_amount)
    )
    amounts = (signed.maker_amount, signed.taker_amount, taker_fee(usdc=usdc, shares=shares))
    data = encode(["uint256"] * 5, [signed.side, signed.token_id, *amounts]) + bytes(64)
    log = {
        "address": EXCHANGE_V2.lower(),
        "topics": [
            ORDER_FILLED,
            order_hash(signed, EXCHANGE_V2, "2"),
            maker_topic,
            _address_topic(EXCHANGE_V2),
        ],
        "data": f"0x{data.hex()}",
        "transactionHash": transaction_hash,
        "blockNumber": hex(block_number),
        "blockHash": _block_hash(block_number),
        "logIndex": hex(log_index),
        "transactionIndex": hex(log_index),
        "removed": False,
    }
    return Fill(maker_topic=maker_topic, transaction_hash=transaction_hash, log=orjson.dumps(log))


def taker_fee(*, usdc: int, shares: int) -> int:
    """Micro-USDC, for micro-USDC and micro-shares of one match at one price."""
    return usdc * (shares - usdc) * FEE_BPS // (shares * BPS) if 0 < usdc < shares else 0


def settlement_transaction(salt: int) -> str:
    """The transaction that settles the order with this salt, also in the venue's list of trades."""
    return f"0x{salt:064x}"


def parse_order(order: Mapping[str, Any]) -> SignedOrder:
    """The order of a POST /order."""
    return SignedOrder(
        salt=int(order["salt"]),
        maker=order["maker"],
        signer=order["signer"],
        token_id=int(order["tokenId"]),
        maker_amount=int(order["makerAmount"]),
        taker_amount=int(order["takerAmount"]),
        side=0 if order["side"] in ("BUY", 0) else 1,
        signature_type=order["signatureType"],
        timestamp=int(order["timestamp"]),
        metadata=order["metadata"],
        builder=order["builder"],
        signature=order["signature"],
    )


def _select(block: Block, makers: str | Sequence[str] | None) -> list[Fill]:
    if makers is None:
        wanted = list(block.fills_by_maker)
    else:
        asked = {makers} if isinstance(makers, str) else set(makers)
        wanted = [maker for maker in block.fills_by_maker if maker in asked]
    return [fill for maker in wanted for fill in block.fills_by_maker[maker]]


def _selects(topic: str | Sequence[str] | None, value: str) -> bool:
    return topic is None or topic == value or (not isinstance(topic, str) and value in topic)


def _address_topic(address: str) -> str:
    return "0x" + address.removeprefix("0x").lower().rjust(TOPIC_DIGITS, "0")


def _block_hash(number: int) -> str:
    return f"0x{number:064x}"
