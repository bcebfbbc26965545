"""Blocks and receipts, as JSON-RPC gives them. Pure."""

from dataclasses import dataclass
from typing import Any

from shared.domain.errors import Transient


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    number: int
    hash: str
    parent_hash: str
    timestamp: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    tx_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    logs: tuple[dict[str, Any], ...]
    """As JSON-RPC gives them; `shared.chain.logs` decodes those of the exchanges."""


def parse_block(answer: dict[str, Any] | None) -> Block:
    """Parse an answer of eth_getBlockByNumber. Raises: Transient where the node has no block."""
    if answer is None:
        raise Transient("the chain node does not know the block")
    return Block(
        number=int(answer["number"], 16),
        hash=answer["hash"],
        parent_hash=answer["parentHash"],
        timestamp=int(answer["timestamp"], 16),
    )


def parse_receipt(answer: dict[str, Any]) -> Receipt:
    """Parse an answer of eth_getTransactionReceipt that is not null."""
    return Receipt(
        tx_hash=answer["transactionHash"],
        block_number=int(answer["blockNumber"], 16),
        block_hash=answer["blockHash"],
        succeeded=int(answer["status"], 16) == 1,
        gas_used=int(answer["gasUsed"], 16),
        logs=tuple(answer["logs"]),
    )
