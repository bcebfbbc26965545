"""Blocks and receipts, as JSON-RPC gives them. Pure."""

from dataclasses import dataclass
from typing import Any

from shared.chain.answers import parse_hash, parse_object, parse_quantity
from shared.domain.errors import Transient

MAX_TIMESTAMP = 10**11
"""The year 5138: a larger number is no Unix time in seconds."""


class FinalityUnknown(Transient):
    """The node does not say which block is final."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the node names no finalized block ({reason}): until it does, nothing becomes final. "
            "The node of POLYGON_RPC_URL must know the block tag 'finalized': one that is still "
            "syncing, or that does not follow Heimdall, must be repaired or changed"
        )


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


def parse_block(answer: object, *, number: int | None = None) -> Block:
    """Parse an answer of eth_getBlockByNumber. ``number``: the height that was asked for; None
    where that was a tag.

    Raises: Transient, also where the node has no such block, or answers with another one.
    """
    if answer is None:
        raise Transient("the chain node does not know the block")
    block = parse_object(answer, "block")
    parsed = Block(
        number=parse_quantity(block.get("number"), "block's number"),
        hash=parse_hash(block.get("hash"), "block's hash"),
        parent_hash=parse_hash(block.get("parentHash"), "block's parentHash"),
        timestamp=parse_quantity(
            block.get("timestamp"), "block's timestamp", maximum=MAX_TIMESTAMP
        ),
    )
    if number is not None and parsed.number != number:
        raise Transient(f"the node answered with block {parsed.number} instead of {number}")
    return parsed


def parse_receipt(answer: object, *, tx_hash: str) -> Receipt | None:
    """Parse an answer of eth_getTransactionReceipt. None where the transaction is in no block:
    before that, some nodes answer with a receipt whose block or status is missing. ``tx_hash``: the
    transaction that was asked for.

    Raises: Transient, also where the node answers with the receipt of another one.
    """
    if answer is None:
        return None
    receipt = parse_object(answer, "receipt")
    if any(receipt.get(field) is None for field in ("blockNumber", "blockHash", "status")):
        return None
    found = parse_hash(receipt.get("transactionHash"), "receipt's transactionHash")
    if found.lower() != tx_hash.lower():
        raise Transient(f"the node answered with the receipt of {found} instead of {tx_hash}")
    logs = receipt.get("logs")
    if not isinstance(logs, list) or not all(isinstance(log, dict) for log in logs):
        raise Transient("the node's receipt has no list of logs")
    return Receipt(
        tx_hash=found,
        block_number=parse_quantity(receipt["blockNumber"], "receipt's blockNumber"),
        block_hash=parse_hash(receipt["blockHash"], "receipt's blockHash"),
        succeeded=parse_quantity(receipt["status"], "receipt's status", maximum=1) == 1,
        gas_used=parse_quantity(receipt.get("gasUsed"), "receipt's gasUsed"),
        logs=tuple(logs),
    )
