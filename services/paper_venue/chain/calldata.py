"""Encodes contract calls.

`encode_call` is general. `encode_match_orders` is written out because it runs once per match:
eth-abi takes a millisecond for it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from services.paper_venue.lifecycle.settlement import Settlement
from shared.chain.orders import SignedOrder

MATCH_ORDERS_SELECTOR = bytes.fromhex("3c2b4399")
_ORDER_HEAD_WORDS = 12


def encode_call(signature: str, *arguments: Any) -> bytes:
    """Encode a call such as ``encode_call("mint(address,uint256)", wallet, 1)``; tuples nest in the
    signature as types.
    """
    name, _, types = signature.partition("(")
    return _selector(f"{name}({types}") + encode(_split_types(types[:-1]), arguments)


def encode_match_orders(settlement: Settlement) -> bytes:
    """Encode the exchange's matchOrders: seven head words, then the taker, the makers, their fills
    and their fees.
    """
    taker = _order(settlement.taker)
    makers = _order_array(settlement.makers)
    fills = _word_array(settlement.maker_fills)
    fees = _word_array(settlement.maker_fees)
    head_size = 7 * 32
    at_makers = head_size + len(taker)
    at_fills = at_makers + len(makers)
    head = (
        bytes.fromhex(settlement.condition_id.removeprefix("0x")),
        _word(head_size),
        _word(at_makers),
        _word(settlement.taker_fill),
        _word(at_fills),
        _word(settlement.taker_fee),
        _word(at_fills + len(fills)),
    )
    return MATCH_ORDERS_SELECTOR + b"".join(head) + taker + makers + fills + fees


def _order(order: SignedOrder) -> bytes:
    signature = bytes.fromhex(order.signature.removeprefix("0x"))
    return b"".join(
        (
            _word(order.salt),
            _address(order.maker),
            _address(order.signer),
            _word(order.token_id),
            _word(order.maker_amount),
            _word(order.taker_amount),
            _word(order.side),
            _word(order.signature_type),
            _word(order.timestamp),
            bytes.fromhex(order.metadata.removeprefix("0x")),
            bytes.fromhex(order.builder.removeprefix("0x")),
            _word(_ORDER_HEAD_WORDS * 32),
            _word(len(signature)),
            signature + bytes(-len(signature) % 32),
        )
    )


def _order_array(orders: Sequence[SignedOrder]) -> bytes:
    encoded = [_order(order) for order in orders]
    offsets, offset = [], 32 * len(orders)
    for each in encoded:
        offsets.append(_word(offset))
        offset += len(each)
    return _word(len(orders)) + b"".join(offsets) + b"".join(encoded)


def _word_array(values: Sequence[int]) -> bytes:
    return _word(len(values)) + b"".join(_word(value) for value in values)


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x")).rjust(32, b"\0")


@lru_cache(maxsize=64)
def _selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


def _split_types(types: str) -> list[str]:
    """Split at the commas outside tuples."""
    parts, depth = [""], 0
    for character in types:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]
