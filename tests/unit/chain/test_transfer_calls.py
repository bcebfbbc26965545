"""Calls and events of a transfer are what the tokens' own interfaces say, and nothing else is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from shared.chain.addresses import CONDITIONAL_TOKENS, POSITION_MANAGER, PUSD
from shared.chain.blocks import Receipt
from shared.chain.transfer_calls import (
    CANCEL_GAS,
    MAX_COLLATERAL_GAS,
    MAX_SHARES_GAS,
    Movement,
    build_call,
    max_gas,
    shows_movement,
)
from shared.domain.errors import Transient

OPERATOR, PROXY, OTHER = (Web3.to_checksum_address(f"0x{each * 20}") for each in ("a1", "b2", "c3"))
TOKEN, V3_TOKEN = 10**70, 5 << 104 | 7
ABI: list[dict[str, Any]] = [
    {"type": kind, "name": name, "stateMutability": "nonpayable", "outputs": [], "inputs": inputs}
    for kind, name, inputs in [
        (
            "function",
            name,
            [{"name": f"p{position}", "type": each} for position, each in enumerate(types.split())],
        )
        for name, types in [
            ("transfer", "address uint256"),
            ("transferFrom", "address address uint256"),
            ("safeTransferFrom", "address address uint256 uint256 bytes"),
        ]
    ]
]
ENCODER = Web3().eth.contract(address=Web3.to_checksum_address(PUSD), abi=ABI)
TOPICS = {
    signature: "0x" + Web3.keccak(text=signature).hex().removeprefix("0x")
    for signature in [
        "Transfer(address,address,uint256)",
        "TransferSingle(address,address,address,uint256,uint256)",
        "TransferBatch(address,address,address,uint256[],uint256[])",
        "Approval(address,address,uint256)",
    ]
}


def build_movement(token_id: int | None = None, **changes: Any) -> Movement:
    values = {"operator": OPERATOR, "proxy": PROXY, "to_proxy": True, "amount": 5}
    return Movement(token_id=token_id, **{**values, **changes})


def build_log(signature: str, contract: str, wallets: list[str], words: list[int]) -> Any:
    return {
        "address": contract,
        "topics": [TOPICS[signature], *("0x" + each[2:].rjust(64, "0") for each in wallets)],
        "data": "0x" + "".join(f"{each:064x}" for each in words),
    }


def moved(contract: str = PUSD, giver: str = OPERATOR, to: str = PROXY, amount: int = 5) -> Any:
    return build_log("Transfer(address,address,uint256)", contract, [giver, to], [amount])


def moved_shares(
    contract: str = CONDITIONAL_TOKENS,
    wallets: tuple[str, str, str] = (OPERATOR, OPERATOR, PROXY),
    token_id: int = TOKEN,
    amount: int = 5,
) -> Any:
    signature = "TransferSingle(address,address,address,uint256,uint256)"
    return build_log(signature, contract, list(wallets), [token_id, amount])


def build_receipt(*logs: Any, succeeded: bool = True) -> Receipt:
    block, tx = f"0x{1:064x}", f"0x{2:064x}"
    return Receipt(
        tx_hash=tx,
        block_number=1,
        block_hash=block,
        succeeded=succeeded,
        gas_used=1,
        logs=tuple(logs),
    )


APPROVAL = build_log("Approval(address,address,uint256)", PUSD, [OPERATOR, PROXY], [5])
BATCH = build_log(
    "TransferBatch(address,address,address,uint256[],uint256[])",
    CONDITIONAL_TOKENS,
    [OPERATOR, OPERATOR, PROXY],
    [64, 128, 1, TOKEN, 1, 5],
)


@given(
    to_proxy=st.booleans(),
    token_id=st.none() | st.integers(0, 2**256 - 1),
    amount=st.integers(1, 2**256 - 1),
)
def test_calls_are_encoded_as_web3_does(to_proxy: bool, token_id: int | None, amount: int) -> None:
    movement = build_movement(token_id, to_proxy=to_proxy, amount=amount)
    giver, receiver = (OPERATOR, PROXY) if to_proxy else (PROXY, OPERATOR)
    if token_id is not None:
        name, arguments = "safeTransferFrom", [giver, receiver, token_id, amount, b""]
    elif to_proxy:
        name, arguments = "transfer", [receiver, amount]
    else:
        name, arguments = "transferFrom", [giver, receiver, amount]

    assert "0x" + build_call(movement).data.hex() == ENCODER.encode_abi(name, args=arguments)


@pytest.mark.parametrize(
    ("token_id", "contract", "gas"),
    [
        (None, PUSD, MAX_COLLATERAL_GAS),
        (TOKEN, CONDITIONAL_TOKENS, MAX_SHARES_GAS),
        (V3_TOKEN, POSITION_MANAGER, MAX_SHARES_GAS),
    ],
)
def test_each_token_is_moved_by_its_own_contract(
    token_id: int | None, contract: str, gas: int
) -> None:
    movement = build_movement(token_id)

    assert build_call(movement).to == movement.contract == contract
    assert max_gas(movement) == gas > CANCEL_GAS


@pytest.mark.parametrize(
    ("logs", "token_id", "to_proxy"),
    [
        ([moved()], None, True),
        ([moved(giver=PROXY, to=OPERATOR)], None, False),
        ([APPROVAL, moved(), moved(OTHER), moved(amount=4)], None, True),
        ([moved_shares()], TOKEN, True),
        ([moved_shares(wallets=(OPERATOR, PROXY, OPERATOR))], TOKEN, False),
        ([moved_shares(POSITION_MANAGER, token_id=V3_TOKEN)], V3_TOKEN, True),
        ([{**moved(), "address": PUSD.lower()}], None, True),
    ],
)
def test_exactly_the_event_shows_the_movement(
    logs: list[Any], token_id: int | None, to_proxy: bool
) -> None:
    movement = build_movement(token_id, to_proxy=to_proxy)

    assert shows_movement(build_receipt(*logs), movement)
    assert not shows_movement(build_receipt(*logs, succeeded=False), movement)


@pytest.mark.parametrize(
    ("logs", "token_id"),
    [
        ([], None),
        ([APPROVAL], None),
        ([moved(OTHER)], None),
        ([moved(CONDITIONAL_TOKENS)], None),
        ([moved(amount=4)], None),
        ([moved(amount=6)], None),
        ([moved(), moved()], None),
        ([moved(giver=PROXY, to=OPERATOR)], None),
        ([moved(giver=OTHER)], None),
        ([moved(to=OTHER)], None),
        ([moved_shares()], None),
        ([{**moved(), "topics": moved()["topics"][:2]}], None),
        ([{**moved(), "data": moved()["data"] + "00" * 32}], None),
        ([{**moved(), "topics": []}], None),
        ([moved()], TOKEN),
        ([moved_shares(OTHER)], TOKEN),
        ([moved_shares(POSITION_MANAGER)], TOKEN),
        ([moved_shares(token_id=TOKEN + 1)], TOKEN),
        ([moved_shares(amount=6)], TOKEN),
        ([moved_shares(), moved_shares()], TOKEN),
        ([moved_shares(wallets=(OPERATOR, PROXY, OPERATOR))], TOKEN),
        ([moved_shares(wallets=(OTHER, OPERATOR, PROXY))], TOKEN),
        ([moved_shares(wallets=(OPERATOR, OTHER, PROXY))], TOKEN),
        ([moved_shares(wallets=(OPERATOR, OPERATOR, OTHER))], TOKEN),
        ([BATCH], TOKEN),
    ],
)
def test_a_decoy_shows_nothing(logs: list[Any], token_id: int | None) -> None:
    """Invariant I10."""
    assert not shows_movement(build_receipt(*logs), build_movement(token_id))


@pytest.mark.parametrize(
    "malformed",
    [
        {"address": None},
        {"address": 5},
        {"topics": None},
        {"topics": [5]},
        {"data": "0x"},
        {"data": "0x00"},
        {"data": None},
    ],
)
def test_an_event_that_cannot_be_read_is_neither_shown_nor_missing(malformed: Any) -> None:
    """Else a faulty node could turn a transfer into none."""
    with pytest.raises(Transient):
        shows_movement(build_receipt({**moved(), **malformed}), build_movement())
