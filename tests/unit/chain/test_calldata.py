"""The hand-written encoding of matchOrders, compared with eth-abi and py-clob-client-v2's ABI."""

from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from py_clob_client_v2.order_utils.abi.abis import exchange_v2_abi

from services.paper_venue.chain.artifacts import COMPILED_FOLDER
from services.paper_venue.chain.calldata import (
    MATCH_ORDERS_SELECTOR,
    encode_call,
    encode_match_orders,
)
from services.paper_venue.lifecycle.settlement import Settlement
from shared.chain.orders import SignedOrder
from tests.unit.chain.abis import load_abi, parse_signatures

_ORDER = (
    "(uint256,address,address,uint256,uint256,uint256,uint8,uint8,uint256,bytes32,bytes32,bytes)"
)
_TYPES = ["bytes32", _ORDER, f"{_ORDER}[]", "uint256", "uint256[]", "uint256", "uint256[]"]

uint256 = st.integers(0, 2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
words = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
orders = st.builds(
    SignedOrder,
    salt=uint256,
    maker=addresses,
    signer=addresses,
    token_id=uint256,
    maker_amount=uint256,
    taker_amount=uint256,
    side=st.integers(0, 1),
    signature_type=st.integers(0, 3),
    timestamp=uint256,
    metadata=words,
    builder=words,
    signature=st.binary(max_size=300).map(lambda raw: "0x" + raw.hex()),
)


@st.composite
def settlements(draw: st.DrawFn) -> Settlement:
    makers = draw(st.lists(orders, min_size=1, max_size=4))
    amounts = st.lists(uint256, min_size=len(makers), max_size=len(makers)).map(tuple)
    return Settlement(
        condition_id=draw(words),
        exchange=draw(addresses),
        taker=draw(orders),
        makers=tuple(makers),
        taker_fill=draw(uint256),
        maker_fills=draw(amounts),
        taker_fee=draw(uint256),
        maker_fees=draw(amounts),
    )


def as_tuple(order: SignedOrder) -> tuple[Any, ...]:
    return (
        order.salt,
        order.maker,
        order.signer,
        order.token_id,
        order.maker_amount,
        order.taker_amount,
        order.side,
        order.signature_type,
        order.timestamp,
        bytes.fromhex(order.metadata[2:]),
        bytes.fromhex(order.builder[2:]),
        bytes.fromhex(order.signature[2:]),
    )


@given(settlements())
def test_a_settlement_is_encoded_as_eth_abi_does(settlement: Settlement) -> None:
    expected = encode(
        _TYPES,
        [
            bytes.fromhex(settlement.condition_id[2:]),
            as_tuple(settlement.taker),
            [as_tuple(maker) for maker in settlement.makers],
            settlement.taker_fill,
            settlement.maker_fills,
            settlement.taker_fee,
            settlement.maker_fees,
        ],
    )

    assert encode_match_orders(settlement) == MATCH_ORDERS_SELECTOR + expected


def test_our_exchange_has_the_calls_events_and_errors_that_clients_know() -> None:
    ours = parse_signatures(load_abi(COMPILED_FOLDER / "Exchange.json"))
    theirs = parse_signatures(exchange_v2_abi)
    own_additions = {
        "initialize(string,address,address,address,address)",
        "domainSeparator()",
        "feeReceiver()",
        "AlreadyInitialized()",
        "TransferFailed()",
    }

    assert ours - theirs == own_additions
    assert "matchOrders" in {signature.partition("(")[0] for signature in ours & theirs}
    assert (
        keccak(text=next(each for each in ours if each.startswith("matchOrders(")))[:4]
        == MATCH_ORDERS_SELECTOR
    )


def test_a_call_with_a_tuple_is_split_at_its_outer_commas() -> None:
    call = encode_call("f((uint256,address)[],bool)", [(1, "0x" + "aa" * 20)], True)

    assert call == keccak(text="f((uint256,address)[],bool)")[:4] + encode(
        ["(uint256,address)[]", "bool"], [[(1, "0x" + "aa" * 20)], True]
    )
