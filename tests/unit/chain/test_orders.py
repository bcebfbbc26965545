"""Our order hash and signature check, compared with both client libraries."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from polymarket._internal.actions.orders.typed_data import build_order_typed_data
from polymarket._internal.actions.orders.types import UnsignedOrder

from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2, POLYGON_CHAIN_ID
from shared.chain.orders import (
    DEPOSIT_WALLET,
    DOMAIN_VERSION_BY_EXCHANGE,
    EOA,
    POLY_PROXY,
    SAFE,
    InvalidSignature,
    SignedOrder,
    counter_amount,
    order_hash,
    verify_order,
)
from shared.chain.proxy_wallets import proxy_wallet_address
from tests.unit.chain.orders import sign_by_clob_client, sign_by_polymarket_client

KEY = "0x" + "11" * 32
OWNER = Account.from_key(KEY).address
STRANGER = "0x" + "22" * 32
WALLET = "0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5"
WALLET_BY_TYPE = {
    EOA: OWNER,
    POLY_PROXY: proxy_wallet_address(OWNER),
    SAFE: WALLET,
    DEPOSIT_WALLET: WALLET,
}
Signing = Callable[..., SignedOrder]
both_clients = pytest.mark.parametrize("sign", [sign_by_polymarket_client, sign_by_clob_client])
both_exchanges = pytest.mark.parametrize(
    "exchange", [EXCHANGE_V2, NEG_RISK_EXCHANGE_V2, EXCHANGE_V3]
)

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
words = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
uint256 = st.integers(0, 2**256 - 1)


@both_clients
@both_exchanges
@pytest.mark.parametrize("signature_type", [EOA, POLY_PROXY, SAFE, DEPOSIT_WALLET])
def test_an_order_of_either_client_is_verified_for_its_wallet(
    sign: Signing, exchange: str, signature_type: int
) -> None:
    order = sign(
        KEY, maker=WALLET_BY_TYPE[signature_type], signature_type=signature_type, exchange=exchange
    )

    verified = verify_order(order, exchange, DOMAIN_VERSION_BY_EXCHANGE[exchange], owner=OWNER)

    assert verified == order_hash(order, exchange, DOMAIN_VERSION_BY_EXCHANGE[exchange])


@given(
    salt=st.integers(0, 2**53),
    maker=addresses,
    signer=addresses,
    token_id=uint256,
    maker_amount=uint256,
    taker_amount=uint256,
    side=st.integers(0, 1),
    signature_type=st.integers(0, 2),
    timestamp=st.integers(0, 2**64),
    metadata=words,
    builder=words,
    exchange=st.sampled_from(list(DOMAIN_VERSION_BY_EXCHANGE)),
)
def test_the_hash_is_the_digest_of_polymarket_clients_typed_data(
    exchange: str, **fields: object
) -> None:
    order = SignedOrder(signature="0x", **fields)  # type: ignore[arg-type]
    unsigned = UnsignedOrder(
        chain_id=POLYGON_CHAIN_ID,
        exchange_address=exchange,  # type: ignore[arg-type]
        expiration=0,
        order_type="GTC",
        protocol_version=DOMAIN_VERSION_BY_EXCHANGE[exchange],  # type: ignore[arg-type]
        **{**fields, "side": "SELL" if fields["side"] else "BUY"},  # type: ignore[arg-type]
    )

    signable = encode_typed_data(full_message=build_order_typed_data(unsigned))
    expected = keccak(b"\x19" + signable.version + signable.header + signable.body)

    assert (
        order_hash(order, exchange, DOMAIN_VERSION_BY_EXCHANGE[exchange]) == "0x" + expected.hex()
    )


@both_clients
@pytest.mark.parametrize("signature_type", [EOA, POLY_PROXY, SAFE, DEPOSIT_WALLET])
@pytest.mark.parametrize(
    "change",
    [
        {"salt": 1},
        {"token_id": 7},
        {"maker_amount": 1},
        {"taker_amount": 99},
        {"side": 1},
        {"timestamp": 5},
        {"metadata": "0x" + "01" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_order_is_refused(
    sign: Signing, signature_type: int, change: dict[str, int]
) -> None:
    order = sign(KEY, maker=WALLET_BY_TYPE[signature_type], signature_type=signature_type)

    with pytest.raises(InvalidSignature):
        verify_order(replace(order, **change), EXCHANGE_V2, "2", owner=OWNER)  # type: ignore[arg-type]


@both_clients
@pytest.mark.parametrize("signature_type", [EOA, POLY_PROXY, SAFE, DEPOSIT_WALLET])
@pytest.mark.parametrize(
    ("exchange", "version", "chain_id"),
    [
        (EXCHANGE_V3, "2", 137),
        (NEG_RISK_EXCHANGE_V2, "2", 137),
        (EXCHANGE_V2, "3", 137),
        (EXCHANGE_V2, "2", 80002),
    ],
)
def test_an_order_for_another_exchange_version_or_chain_is_refused(
    sign: Signing, signature_type: int, exchange: str, version: str, chain_id: int
) -> None:
    order = sign(KEY, maker=WALLET_BY_TYPE[signature_type], signature_type=signature_type)

    with pytest.raises(InvalidSignature):
        verify_order(order, exchange, version, chain_id, owner=OWNER)


@both_clients
@pytest.mark.parametrize("signature_type", [SAFE, DEPOSIT_WALLET])
@pytest.mark.parametrize("owner", [None, Account.from_key(STRANGER).address])
def test_an_order_of_a_safe_or_deposit_wallet_needs_its_known_owner(
    sign: Signing, signature_type: int, owner: str | None
) -> None:
    order = sign(KEY, maker=WALLET, signature_type=signature_type)

    with pytest.raises(InvalidSignature):
        verify_order(order, EXCHANGE_V2, "2", owner=owner)


def test_an_account_cannot_sign_for_another_account() -> None:
    order = sign_by_polymarket_client(KEY, maker=WALLET, signature_type=EOA)

    with pytest.raises(InvalidSignature, match="not the maker"):
        verify_order(order, EXCHANGE_V2, "2")


@both_clients
def test_an_order_of_a_proxy_wallet_needs_the_key_that_its_address_is_derived_from(
    sign: Signing,
) -> None:
    order = sign(STRANGER, maker=proxy_wallet_address(OWNER), signature_type=POLY_PROXY)

    with pytest.raises(InvalidSignature, match="not the signer's proxy wallet"):
        verify_order(order, EXCHANGE_V2, "2", owner=OWNER)


def test_an_unknown_signature_type_is_refused() -> None:
    order = sign_by_polymarket_client(KEY)
    digest = bytes.fromhex(order_hash(replace(order, signature_type=4), EXCHANGE_V2, "2")[2:])
    signature = Account.unsafe_sign_hash(digest, KEY).signature.to_0x_hex()

    with pytest.raises(InvalidSignature, match="unknown signature type 4"):
        verify_order(replace(order, signature_type=4, signature=signature), EXCHANGE_V2, "2")


def test_a_malleable_signature_is_refused() -> None:
    order = sign_by_polymarket_client(KEY)
    raw = bytes.fromhex(order.signature[2:])
    curve_order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    mirrored = (
        raw[:32]
        + (curve_order - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
        + bytes([55 - raw[64]])
    )

    with pytest.raises(InvalidSignature, match="malleable"):
        verify_order(replace(order, signature="0x" + mirrored.hex()), EXCHANGE_V2, "2")


@given(
    signature=st.one_of(
        st.binary(max_size=400).map(lambda raw: "0x" + raw.hex()), st.text(max_size=140)
    ),
    kind=st.sampled_from([0, 1, 2, 3]),
)
def test_arbitrary_signatures_are_refused_without_another_error(signature: str, kind: int) -> None:
    order = replace(
        sign_by_polymarket_client(KEY, maker=OWNER), signature_type=kind, signature=signature
    )

    with pytest.raises(InvalidSignature):
        verify_order(order, EXCHANGE_V2, "2", owner=OWNER)


@given(r=uint256, s=uint256, v=st.sampled_from([27, 28]))
def test_arbitrary_signatures_of_65_bytes_are_refused(r: int, s: int, v: int) -> None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v])
    order = replace(sign_by_polymarket_client(KEY), signature="0x" + signature.hex())

    with pytest.raises(InvalidSignature):
        verify_order(order, EXCHANGE_V2, "2")


@given(maker_amount=st.integers(1, 10**15), taker_amount=st.integers(1, 10**15), data=st.data())
def test_a_fill_never_receives_more_than_the_orders_price_allows(
    maker_amount: int, taker_amount: int, data: st.DataObject
) -> None:
    order = replace(
        sign_by_polymarket_client(KEY), maker_amount=maker_amount, taker_amount=taker_amount
    )
    fill = data.draw(st.integers(0, maker_amount))
    rest = maker_amount - fill

    received, received_later = counter_amount(order, fill), counter_amount(order, rest)

    assert received * maker_amount <= fill * taker_amount < (received + 1) * maker_amount
    assert taker_amount - 1 <= received + received_later <= taker_amount
    assert counter_amount(order, maker_amount) == taker_amount
