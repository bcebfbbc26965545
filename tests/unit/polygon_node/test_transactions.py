"""Raw transactions of each type are decoded with their sender."""

from typing import Any

import pytest

from services.paper_venue.polygon_node.refusals import Refused
from services.paper_venue.polygon_node.transactions import parse_transaction
from tests.signed_transactions import GWEI, create_account, sign_transfer

ACCOUNT = create_account(1)
OTHER = create_account(2).address
KEY = "0x" + "11" * 32


def sign(**fields: Any) -> Any:
    values: dict[str, Any] = {
        "nonce": 7,
        "to": OTHER,
        "value": 3,
        "gas": 50_000,
        "data": b"\1\0",
        "chainId": 137,
    }
    return ACCOUNT.sign_transaction(values | fields)


def parse(signed: Any) -> Any:
    return parse_transaction(signed.raw_transaction.to_0x_hex())


@pytest.mark.parametrize(
    ("fields", "kind", "fees"),
    [
        ({"gasPrice": 40 * GWEI}, 0, (40 * GWEI, 40 * GWEI)),
        ({"gasPrice": 40 * GWEI, "type": 1, "accessList": []}, 1, (40 * GWEI, 40 * GWEI)),
        (
            {"maxFeePerGas": 90 * GWEI, "maxPriorityFeePerGas": 30 * GWEI, "type": 2},
            2,
            (90 * GWEI, 30 * GWEI),
        ),
    ],
)
def test_each_type_is_decoded(fields: dict[str, Any], kind: int, fees: tuple[int, int]) -> None:
    signed = sign(**fields)

    transaction = parse(signed)

    assert transaction.hash == signed.hash.to_0x_hex()
    assert transaction.sender == ACCOUNT.address
    assert (transaction.kind, transaction.chain_id, transaction.nonce) == (kind, 137, 7)
    assert (transaction.to, transaction.data, transaction.value) == (OTHER, b"\1\0", 3)
    assert (transaction.max_fee, transaction.tip) == fees
    assert transaction.cost == 50_000 * fees[0] + 3


def test_gas_before_execution_counts_data_accounts_and_storage_keys() -> None:
    transaction = parse(
        sign(
            maxFeePerGas=90 * GWEI,
            maxPriorityFeePerGas=30 * GWEI,
            type=2,
            accessList=[{"address": OTHER, "storageKeys": [KEY, KEY]}],
        )
    )

    assert transaction.intrinsic_gas == 21_000 + 16 + 4 + 2_400 + 2 * 1_900
    assert transaction.floor_data_gas == 21_000 + 10 * 5
    assert transaction.build_json()["accessList"] == [{"address": OTHER, "storageKeys": [KEY, KEY]}]


def test_a_creation_pays_for_its_code() -> None:
    transaction = parse(sign(to="", data=b"\1" * 33, gasPrice=GWEI))

    assert transaction.to is None
    assert transaction.intrinsic_gas == 21_000 + 33 * 16 + 32_000 + 2 * 2


def test_a_legacy_transaction_for_any_chain_has_none() -> None:
    assert parse(sign(gasPrice=GWEI, chainId=None)).chain_id is None


def test_a_pooled_transaction_is_in_no_block() -> None:
    answer = sign_transfer(ACCOUNT, 3, max_fee=90, tip=30).build_json()

    assert answer["blockNumber"] is None
    assert answer["blockHash"] is None
    assert (answer["from"], answer["nonce"]) == (ACCOUNT.address, "0x3")
    assert (answer["maxFeePerGas"], answer["maxPriorityFeePerGas"]) == (
        hex(90 * GWEI),
        hex(30 * GWEI),
    )


@pytest.mark.parametrize("raw", [None, "", "0x", "no hex", "0xc0", "0x02c0", "0x02ff", "0xf8"])
def test_what_is_no_transaction_is_refused(raw: object) -> None:
    with pytest.raises(Refused, match="rlp: cannot decode"):
        parse_transaction(raw)


def test_a_blob_transaction_is_not_supported() -> None:
    with pytest.raises(Refused, match="transaction type not supported"):
        parse_transaction("0x03c0")


def test_a_signature_without_a_signer_is_refused() -> None:
    raw = bytearray(bytes.fromhex(sign_transfer(ACCOUNT, 0).raw[2:]))
    raw[-32:] = b"\xff" * 32

    with pytest.raises(Refused, match="invalid sender"):
        parse_transaction("0x" + raw.hex())
