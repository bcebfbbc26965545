"""Signed transactions, for tests of what nodes do with them."""

from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from services.paper_venue.polygon_node.transactions import (
    DYNAMIC_FEE,
    Transaction,
    parse_transaction,
)

GWEI = 10**9
POL = 10**18
CHAIN_ID = 137


def sign_transfer(account: LocalAccount, nonce: int, **fields: Any) -> Transaction:
    """A signed transfer of 1 wei to the sender himself; fees in gwei by ``max_fee`` and ``tip``."""
    fees = {
        "maxFeePerGas": int(fields.pop("max_fee", 200) * GWEI),
        "maxPriorityFeePerGas": int(fields.pop("tip", 30) * GWEI),
    }
    transaction: dict[str, Any] = {
        "chainId": CHAIN_ID,
        "type": 2,
        "nonce": nonce,
        "to": account.address,
        "value": 1,
        "gas": 21_000,
        **fees,
    }
    signed = account.sign_transaction(transaction | fields)
    return parse_transaction(signed.raw_transaction.to_0x_hex())


def create_account(number: int) -> LocalAccount:
    """The account with this number, always the same."""
    account: LocalAccount = Account.from_key(f"0x{number + 10**6:064x}")
    return account


def a_transaction(
    nonce: int = 0, *, sender: str = "0xA", max_fee: int = 200, tip: int = 30, **fields: Any
) -> Transaction:
    """A transaction that nobody has signed; fees in gwei. The same values have the same hash."""
    values: dict[str, Any] = {
        "kind": DYNAMIC_FEE,
        "chain_id": CHAIN_ID,
        "nonce": nonce,
        "to": "0x" + "11" * 20,
        "data": b"",
        "value": 0,
        "gas": 21_000,
        "max_fee": max_fee * GWEI,
        "tip": tip * GWEI,
        "access_list": (),
        "authorizations": 0,
        "signature": (0, 1, 1),
        **fields,
    }
    named = f"{sender} {sorted((key, str(value)) for key, value in values.items())}"
    return Transaction(raw="0x", hash="0x" + keccak(text=named).hex(), sender=sender, **values)
