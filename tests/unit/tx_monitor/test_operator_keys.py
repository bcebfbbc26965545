"""The keys of operator wallets: what is refused, and that no text contains one."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from services.tx_monitor.adapters import load_operator_keys
from services.tx_monitor.decisions.transfers import Fees
from shared.chain.transfer_calls import Call
from shared.domain.errors import InvalidSettings
from tests.builders import PROXY

KEY = "0x" + "5e" * 32


def write(folder: Path, content: str) -> Path:
    file = folder / "keys.json"
    file.write_text(content)
    return file


def test_the_wallets_are_those_of_the_keys(tmp_path: Path) -> None:
    keys = load_operator_keys(write(tmp_path, json.dumps([{"private_key": KEY}])))

    assert keys.operators == (Account.from_key(KEY).address,)
    assert keys.holds(Account.from_key(KEY).address)
    assert not keys.holds(PROXY)


def test_without_a_file_there_are_none() -> None:
    assert load_operator_keys(None).operators == ()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "must be a list"),
        ("[]", "must be a list"),
        (json.dumps([{"private_key": KEY}, {}]), "entry 1 needs private_key"),
        (json.dumps([{"private_key": 5}]), "entry 0 needs private_key"),
        (json.dumps([{"private_key": KEY + "5e"}]), "entry 0: its private_key is no private key"),
        (json.dumps([{"private_key": KEY[:-1] + "z"}]), "entry 0: its private_key is no private"),
        (json.dumps([{"private_key": "0x" + "00" * 32}]), "entry 0: its private_key is no private"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_its_keys(
    tmp_path: Path, content: str, complaint: str
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load_operator_keys(write(tmp_path, content))

    assert complaint in str(refused.value)
    assert "5e5e5e" not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_a_signed_transaction_is_what_it_was_asked_to_be(tmp_path: Path) -> None:
    keys = load_operator_keys(write(tmp_path, json.dumps([{"private_key": KEY}])))
    (operator,) = keys.operators

    signed = keys.sign(
        operator,
        Call(to=PROXY, data=b"\x01\x02"),
        nonce=5,
        gas=60_000,
        fees=Fees(max_fee=200, tip=30),
    )

    assert Account.recover_transaction(signed.raw) == operator
    fields = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
    assert {
        name: fields[name]
        for name in ("chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas", "value")
    } == {
        "chainId": 137,
        "nonce": 5,
        "gas": 60_000,
        "maxFeePerGas": 200,
        "maxPriorityFeePerGas": 30,
        "value": 0,
    }
    assert (bytes(fields["to"]).hex(), bytes(fields["data"])) == (PROXY[2:].lower(), b"\x01\x02")
