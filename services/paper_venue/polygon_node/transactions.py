"""Raw transactions, decoded, with their recovered sender. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account._utils.legacy_transactions import Transaction as LegacyTransaction
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from services.paper_venue.polygon_node import refusals
from services.paper_venue.polygon_node.refusals import Refused

Json = dict[str, Any]

LEGACY, ACCESS_LIST, DYNAMIC_FEE, SET_CODE = 0, 1, 2, 4
_FIRST_LEGACY_BYTE = 0xC0
_BASE_GAS = 21_000
_CREATION_GAS = 32_000
_ZERO_BYTE_GAS, _BYTE_GAS = 4, 16
_WORD_GAS = 2
"""Of each 32 bytes of init code (EIP-3860)."""
_ADDRESS_GAS, _STORAGE_KEY_GAS = 2_400, 1_900
_AUTHORIZATION_GAS = 25_000
_TOKEN_FLOOR_GAS = 10
"""EIP-7623: of each token of calldata; a byte is four tokens, a zero one."""
_UNREADABLE = (RLPException, ValueError, TypeError, IndexError)
"""What eth-account raises for bytes that are no transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A signed transaction. Fees in wei per gas; of a legacy one both are its gas price."""

    raw: str
    """0x hex."""
    hash: str
    sender: str
    """Checksummed."""
    kind: int
    chain_id: int | None
    """None: signed for any chain."""
    nonce: int
    to: str | None
    """Checksummed; None: it creates a contract."""
    data: bytes
    value: int
    """In wei."""
    gas: int
    """Its gas limit."""
    max_fee: int
    tip: int
    access_list: tuple[tuple[str, tuple[str, ...]], ...]
    authorizations: int
    signature: tuple[int, int, int]
    """v (of a typed transaction: the parity), r and s."""

    @property
    def cost(self) -> int:
        """What its sender has to have, in wei."""
        return self.gas * self.max_fee + self.value

    @property
    def intrinsic_gas(self) -> int:
        """The gas that it uses before anything is executed."""
        zeros = self.data.count(0)
        used = _BASE_GAS + _ZERO_BYTE_GAS * zeros + _BYTE_GAS * (len(self.data) - zeros)
        if self.to is None:
            used += _CREATION_GAS + _WORD_GAS * ((len(self.data) + 31) // 32)
        used += _ADDRESS_GAS * len(self.access_list) + _AUTHORIZATION_GAS * self.authorizations
        return used + _STORAGE_KEY_GAS * sum(len(keys) for _, keys in self.access_list)

    @property
    def floor_data_gas(self) -> int:
        """The least that it is charged, because of its calldata (EIP-7623)."""
        tokens = 4 * len(self.data) - 3 * self.data.count(0)
        return _BASE_GAS + _TOKEN_FLOOR_GAS * tokens

    def compute_tip(self, base_fee: int) -> int:
        """What the producer earns per gas in a block with this base fee; negative: it cannot be in
        one.
        """
        return min(self.tip, self.max_fee - base_fee)

    def build_json(self) -> Json:
        """The answer of eth_getTransactionByHash while it is in no block."""
        v, r, s = self.signature
        fields: Json = {
            "blockHash": None,
            "blockNumber": None,
            "transactionIndex": None,
            "hash": self.hash,
            "from": self.sender,
            "to": self.to,
            "nonce": hex(self.nonce),
            "input": "0x" + self.data.hex(),
            "value": hex(self.value),
            "gas": hex(self.gas),
            "gasPrice": hex(self.max_fee),
            "type": hex(self.kind),
            "v": hex(v),
            "r": hex(r),
            "s": hex(s),
        }
        if self.chain_id is not None:
            fields["chainId"] = hex(self.chain_id)
        if self.kind != LEGACY:
            fields["accessList"] = [
                {"address": address, "storageKeys": list(keys)}
                for address, keys in self.access_list
            ]
            fields["yParity"] = hex(v)
        if self.kind in (DYNAMIC_FEE, SET_CODE):
            fields |= {"maxFeePerGas": hex(self.max_fee), "maxPriorityFeePerGas": hex(self.tip)}
        return fields


def parse_transaction(raw: object) -> Transaction:
    """Decode a raw transaction, 0x hex, and recover its sender.

    Raises: Refused where it cannot be decoded, its type is not accepted (blobs), or its signature
    has no sender.
    """
    if not isinstance(raw, str) or not raw.startswith("0x"):
        raise Refused(refusals.NO_TRANSACTION)
    try:
        encoded = HexBytes(raw)
        fields, kind = _decode(encoded)
    except _UNREADABLE as error:
        raise Refused(refusals.NO_TRANSACTION) from error
    try:
        sender = Account.recover_transaction(encoded)
    except (*_UNREADABLE, BadSignature, ValidationError) as error:
        raise Refused(refusals.INVALID_SIGNATURE) from error
    return _build(encoded, fields, kind=kind, sender=sender)


def _decode(encoded: HexBytes) -> tuple[Mapping[str, Any], int]:
    """Its fields as eth-account names them, and its type."""
    if encoded[0] >= _FIRST_LEGACY_BYTE:
        return LegacyTransaction.from_bytes(encoded).as_dict(), LEGACY
    kind = encoded[0]
    if kind not in (ACCESS_LIST, DYNAMIC_FEE, SET_CODE):
        raise Refused(refusals.TYPE_NOT_SUPPORTED)
    return TypedTransaction.from_bytes(encoded).as_dict(), kind


def _build(encoded: HexBytes, fields: Mapping[str, Any], *, kind: int, sender: str) -> Transaction:
    price = fields.get("gasPrice")
    to = bytes(fields["to"])
    return Transaction(
        raw=encoded.to_0x_hex(),
        hash="0x" + keccak(bytes(encoded)).hex(),
        sender=sender,
        kind=kind,
        chain_id=_find_chain(fields, kind=kind),
        nonce=fields["nonce"],
        to=to_checksum_address(to) if to else None,
        data=bytes(fields["data"]),
        value=fields["value"],
        gas=fields["gas"],
        max_fee=fields["maxFeePerGas"] if price is None else price,
        tip=fields["maxPriorityFeePerGas"] if price is None else price,
        access_list=tuple(
            (
                to_checksum_address(bytes(each["address"])),
                tuple(f"0x{key:064x}" for key in each["storageKeys"]),
            )
            for each in fields.get("accessList", ())
        ),
        authorizations=len(fields.get("authorizationList", ())),
        signature=(fields["v"], fields["r"], fields["s"]),
    )


def _find_chain(fields: Mapping[str, Any], *, kind: int) -> int | None:
    """EIP-155: the chain that a legacy transaction was signed for is in its v."""
    if kind != LEGACY:
        return int(fields["chainId"])
    return (fields["v"] - 35) // 2 if fields["v"] >= 35 else None
