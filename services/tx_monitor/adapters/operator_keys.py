"""The private keys of operator wallets, and what they sign."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.exceptions import ValidationError

from services.tx_monitor.decisions.transfers import Fees
from shared.chain.addresses import POLYGON_CHAIN_ID
from shared.chain.transfer_calls import Call
from shared.domain.errors import InvalidSettings
from shared.observe import logs

VARIABLE = "TX_MONITOR_OPERATOR_KEYS_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A transaction as it is sent."""

    tx_hash: str
    """0x and 64 digits."""
    raw: bytes


class OperatorKeys:
    """The keys by the checksummed addresses of their wallets."""

    def __init__(self, accounts: Mapping[str, LocalAccount]) -> None:
        self._accounts = dict(accounts)

    @property
    def operators(self) -> tuple[str, ...]:
        return tuple(self._accounts)

    def holds(self, operator: str) -> bool:
        return operator in self._accounts

    def sign(
        self, operator: str, call: Call, *, nonce: int, gas: int, fees: Fees
    ) -> SignedTransaction:
        """Sign a transaction that makes the call and sends no POL. The same arguments give the same
        bytes. Raises: KeyError where the wallet's key is not here.
        """
        signed = self._accounts[operator].sign_transaction(
            {
                "type": 2,
                "chainId": POLYGON_CHAIN_ID,
                "nonce": nonce,
                "to": bytes.fromhex(call.to.removeprefix("0x")),
                "value": 0,
                "data": call.data,
                "gas": gas,
                "maxFeePerGas": fees.max_fee,
                "maxPriorityFeePerGas": fees.tip,
            }
        )
        return SignedTransaction(
            tx_hash=f"0x{bytes(signed.hash).hex()}", raw=bytes(signed.raw_transaction)
        )


def load_operator_keys(keys_file: Path | None) -> OperatorKeys:
    """The keys of the file; none where there is no file.

    Raises: InvalidSettings, with the number of the entry that is wrong and never its key.
    """
    if keys_file is None:
        return OperatorKeys({})
    try:
        entries = json.loads(keys_file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidSettings(
            f"{VARIABLE} {keys_file} cannot be read as JSON: {type(error).__name__}"
        ) from None
    if not isinstance(entries, list) or not entries:
        raise InvalidSettings(f"{VARIABLE} {keys_file} must be a list of entries with private_key")
    accounts = [
        _read_account(entry, where=f"{VARIABLE} {keys_file}: entry {number}")
        for number, entry in enumerate(entries)
    ]
    return OperatorKeys({account.address: account for account in accounts})


def _read_account(entry: object, *, where: str) -> LocalAccount:
    """Raises: InvalidSettings."""
    key = entry.get("private_key") if isinstance(entry, dict) else None
    if not isinstance(key, str):
        raise InvalidSettings(f"{where} needs private_key, a text")
    logs.register_secret(key)
    try:
        account: LocalAccount = Account.from_key(key)
    except (ValueError, TypeError, ValidationError):
        # `from None`: the original's text may contain the key.
        raise InvalidSettings(
            f"{where}: its private_key is no private key: 0x and 64 hexadecimal digits are one"
        ) from None
    return account
