"""The calls that move pUSD or shares between two wallets, and the events that show it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from shared.chain.addresses import PUSD, positions_contract
from shared.chain.answers import describe, parse_data
from shared.chain.blocks import Receipt
from shared.domain.errors import Transient

CANCEL_GAS: Final = 21_000
"""Of a transaction that sends nothing to its own wallet."""
MAX_COLLATERAL_GAS: Final = 120_000
"""Measured: up to 52,000 for a plain token; pUSD is behind a proxy contract."""
MAX_SHARES_GAS: Final = 250_000
"""Measured: 68,000, to a Safe. A wallet's code may do more where it receives shares."""

_TRANSFER: Final = keccak(text="transfer(address,uint256)")[:4]
_TRANSFER_FROM: Final = keccak(text="transferFrom(address,address,uint256)")[:4]
_SAFE_TRANSFER_FROM: Final = keccak(text="safeTransferFrom(address,address,uint256,uint256,bytes)")[
    :4
]
_COLLATERAL_MOVED: Final = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
_SHARES_MOVED: Final = (
    "0x" + keccak(text="TransferSingle(address,address,address,uint256,uint256)").hex()
)
_WORD: Final = 32


class MalformedMovement(Transient):
    """An event of a token has another shape than its standard: node or contract differ from what we
    expect. Transient: such an event must be neither counted nor overlooked.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """pUSD or shares of one token that go from one wallet to another."""

    operator: str
    """Signs the transaction. Addresses are checksummed."""
    proxy: str
    to_proxy: bool
    """Whether the operator wallet gives."""
    token_id: int | None
    """None: pUSD."""
    amount: int
    """Micro-USDC or micro-shares."""

    @property
    def contract(self) -> str:
        return PUSD if self.token_id is None else positions_contract(self.token_id)

    @property
    def giver(self) -> str:
        return self.operator if self.to_proxy else self.proxy

    @property
    def receiver(self) -> str:
        return self.proxy if self.to_proxy else self.operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a transaction calls."""

    to: str
    data: bytes


def build_call(movement: Movement) -> Call:
    """Return the call that the operator wallet makes to move this; it takes from a proxy by the
    approval that the proxy gave it.
    """
    giver, receiver, amount = movement.giver, movement.receiver, movement.amount
    if movement.token_id is not None:
        data = _SAFE_TRANSFER_FROM + encode(
            ["address", "address", "uint256", "uint256", "bytes"],
            [giver, receiver, movement.token_id, amount, b""],
        )
    elif movement.to_proxy:
        data = _TRANSFER + encode(["address", "uint256"], [receiver, amount])
    else:
        data = _TRANSFER_FROM + encode(["address", "address", "uint256"], [giver, receiver, amount])
    return Call(to=movement.contract, data=data)


def max_gas(movement: Movement) -> int:
    """Return the most gas that such a movement may be given."""
    return MAX_COLLATERAL_GAS if movement.token_id is None else MAX_SHARES_GAS


def shows_movement(receipt: Receipt, movement: Movement) -> bool:
    """Whether the transaction succeeded and its receipt has exactly one event of the token's own
    contract about exactly this: from, to, id and amount.

    Raises: MalformedMovement, Transient.
    """
    if not receipt.succeeded:
        return False
    return sum(_is_about(log, movement) for log in receipt.logs) == 1


def _is_about(log: Mapping[str, Any], movement: Movement) -> bool:
    """Whether the log is the movement's event."""
    address, topics = log.get("address"), log.get("topics")
    if not isinstance(address, str) or not isinstance(topics, list):
        raise MalformedMovement(f"a log has no address or no topics: {describe(address)}")
    if not all(isinstance(topic, str) for topic in topics):
        raise MalformedMovement(f"a log of {describe(address)} has topics that are no texts")
    if address.lower() != movement.contract.lower():
        return False
    if [topic.lower() for topic in topics] != _list_topics(movement):
        return False
    return _read_words(log) == (
        [movement.amount] if movement.token_id is None else [movement.token_id, movement.amount]
    )


def _list_topics(movement: Movement) -> list[str]:
    """The topics of the movement's event; ERC-1155 names first who moved it."""
    wallets = [movement.giver, movement.receiver]
    event = _COLLATERAL_MOVED
    if movement.token_id is not None:
        wallets.insert(0, movement.operator)
        event = _SHARES_MOVED
    return [event, *(f"0x{wallet[2:].lower():0>64}" for wallet in wallets)]


def _read_words(log: Mapping[str, Any]) -> list[int]:
    """The numbers in the data of a token's event. Raises: MalformedMovement, Transient."""
    data = parse_data(log.get("data"), "log's data")
    if len(data) % _WORD or not data:
        raise MalformedMovement(f"an event of a token with {len(data)} bytes of data")
    return [int.from_bytes(data[start : start + _WORD]) for start in range(0, len(data), _WORD)]
