"""Signed orders, checked against our own hash and both client libraries; secrets stay hidden."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st
from polymarket._internal.actions.orders.post import build_post_order_request
from polymarket._internal.actions.orders.typed_data import (
    build_order_signature,
    build_order_typed_data,
)
from polymarket.types import HexString
from py_clob_client_v2.order_utils.exchange_order_builder_v2 import ExchangeOrderBuilderV2
from py_clob_client_v2.order_utils.model.order_data_v2 import OrderV2
from py_clob_client_v2.order_utils.model.side import Side as ClobSide
from py_clob_client_v2.order_utils.model.signature_type_v2 import SignatureTypeV2
from py_clob_client_v2.signer import Signer

from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2, POLYGON_CHAIN_ID
from shared.chain.deposit_wallets import beacon_deposit_wallet_address
from shared.chain.orders import BUY, SELL, SignedOrder, order_hash, verify_order
from shared.chain.safes import safe_address
from shared.domain.errors import InvalidMessage, InvalidSettings
from shared.domain.money import Side
from shared.messages.intents import OrderType
from shared.polymarket.signing import (
    Credentials,
    OrderTerms,
    SignedBody,
    Wallet,
    _build_sdk_order,
    assert_fast_signing,
    derive_salt,
)
from tests.builders import TOKEN, shares, usdc

KEY = "0x" + "17" * 32
OWNER = Account.from_key(KEY).address
SAFE = safe_address(OWNER)
V3_TOKEN = str(5 << 104 | 7)
TERMS = OrderTerms(
    token_id=TOKEN,
    side=Side.BUY,
    order_type=OrderType.FOK,
    usdc=usdc(5),
    shares=0,
    limit_price=Decimal("0.51"),
    tick_size=Decimal("0.01"),
    neg_risk=False,
    salt=479249096354,
    timestamp_ms=1_790_000_000_000,
)
OF_EVERY_KIND = pytest.mark.parametrize(
    ("terms", "exchange", "version"),
    [
        (TERMS, EXCHANGE_V2, "2"),
        (replace(TERMS, neg_risk=True), NEG_RISK_EXCHANGE_V2, "2"),
        (replace(TERMS, token_id=V3_TOKEN), EXCHANGE_V3, "3"),
        (
            replace(TERMS, side=Side.SELL, order_type=OrderType.FAK, usdc=0, shares=shares(10)),
            EXCHANGE_V2,
            "2",
        ),
    ],
    ids=["V2", "negative risk", "V3", "exit"],
)
DEPOSIT_WALLET = beacon_deposit_wallet_address(OWNER)
OF_EVERY_WALLET = pytest.mark.parametrize(
    "proxy", [OWNER, SAFE, DEPOSIT_WALLET], ids=["EOA", "Safe", "deposit wallet"]
)


def sign(terms: OrderTerms = TERMS, *, proxy: str = OWNER) -> SignedBody:
    return Wallet(proxy=proxy, private_key=KEY).sign(terms, owner="api-key")


def parse_order(body: str) -> dict[str, Any]:
    order: dict[str, Any] = json.loads(body)["order"]
    return order


def parse_signed_order(body: str) -> SignedOrder:
    order = parse_order(body)
    return SignedOrder(
        salt=order["salt"],
        maker=order["maker"],
        signer=order["signer"],
        token_id=int(order["tokenId"]),
        maker_amount=int(order["makerAmount"]),
        taker_amount=int(order["takerAmount"]),
        side=BUY if order["side"] == "BUY" else SELL,
        signature_type=order["signatureType"],
        timestamp=int(order["timestamp"]),
        metadata=order["metadata"],
        builder=order["builder"],
        signature=order["signature"],
    )


def build_clob_order(order: SignedOrder) -> Any:
    return OrderV2(
        salt=str(order.salt),
        maker=order.maker,
        signer=order.signer,
        tokenId=str(order.token_id),
        makerAmount=str(order.maker_amount),
        takerAmount=str(order.taker_amount),
        side=ClobSide(order.side),
        signatureType=SignatureTypeV2(order.signature_type),
        timestamp=str(order.timestamp),
        metadata=order.metadata,
        builder=order.builder,
        expiration="0",
    )


@OF_EVERY_WALLET
@OF_EVERY_KIND
def test_an_orders_hash_is_the_exchanges_and_its_signature_is_valid(
    terms: OrderTerms, exchange: str, version: str, proxy: str
) -> None:
    result = sign(terms, proxy=proxy)
    order = parse_signed_order(result.body)

    assert result.order_hash == order_hash(order, exchange, version)
    assert verify_order(order, exchange, version, owner=OWNER) == result.order_hash
    assert order.maker == proxy
    assert order.signer == (proxy if proxy == DEPOSIT_WALLET else OWNER)


@OF_EVERY_WALLET
@OF_EVERY_KIND
def test_py_clob_client_v2_computes_the_same_order_hash(
    terms: OrderTerms, exchange: str, version: str, proxy: str
) -> None:
    result = sign(terms, proxy=proxy)
    order = parse_signed_order(result.body)
    builder = ExchangeOrderBuilderV2(
        exchange, POLYGON_CHAIN_ID, Signer(KEY, POLYGON_CHAIN_ID), domain_version=version
    )

    assert (
        builder.build_order_hash(builder.build_order_typed_data(build_clob_order(order)))
        == result.order_hash
    )


@OF_EVERY_WALLET
@OF_EVERY_KIND
def test_hash_and_body_are_byte_for_byte_those_of_the_official_sdk(
    terms: OrderTerms, exchange: str, version: str, proxy: str
) -> None:
    wallet = Wallet(proxy=proxy, private_key=KEY)
    result = wallet.sign(terms, owner="api-key")
    order = wallet._build_unsigned(terms)
    by_sdk = Account.sign_message(
        encode_typed_data(full_message=build_order_typed_data(order)), KEY
    )
    signature = build_order_signature(order, HexString("0x" + by_sdk.signature.hex()))
    _, payload = build_post_order_request(
        _build_sdk_order(order, signature), owner_api_key="api-key"
    )

    assert result.body == json.dumps(payload, separators=(",", ":"))
    if proxy != DEPOSIT_WALLET:  # its key signs the nested digest
        assert result.order_hash == "0x" + by_sdk.message_hash.hex()


@OF_EVERY_WALLET
@OF_EVERY_KIND
def test_the_same_terms_give_the_same_bytes(
    terms: OrderTerms, exchange: str, version: str, proxy: str
) -> None:
    assert sign(terms, proxy=proxy) == sign(replace(terms), proxy=proxy)


@pytest.mark.parametrize(
    "other",
    [
        {"salt": 1},
        {"timestamp_ms": 1},
        {"usdc": usdc(6)},
        {"limit_price": Decimal("0.52")},
        {"token_id": "12"},
        {"neg_risk": True},
    ],
    ids=str,
)
def test_other_terms_give_another_order_hash(other: dict[str, Any]) -> None:
    assert sign(replace(TERMS, **other)).order_hash != sign().order_hash


@settings(max_examples=30)
@given(cents=st.integers(100, 10**8), price=st.integers(1, 99))
def test_an_entry_spends_exactly_its_usdc_and_never_pays_more_than_its_limit(
    cents: int, price: int
) -> None:
    limit = Decimal(price).scaleb(-2)

    order = parse_order(sign(replace(TERMS, usdc=cents * 10_000, limit_price=limit)).body)

    assert int(order["makerAmount"]) == cents * 10_000
    assert Decimal(order["makerAmount"]) <= Decimal(order["takerAmount"]) * limit + 100
    assert (order["side"], order["expiration"]) == ("BUY", "0")


@settings(max_examples=30)
@given(hundredths=st.integers(100, 10**8), price=st.integers(1, 99))
def test_an_exit_sells_exactly_its_shares_and_never_gets_less_than_its_limit(
    hundredths: int, price: int
) -> None:
    limit = Decimal(price).scaleb(-2)
    terms = replace(
        TERMS,
        side=Side.SELL,
        order_type=OrderType.FAK,
        usdc=0,
        shares=hundredths * 10_000,
        limit_price=limit,
    )

    order = parse_order(sign(terms).body)

    assert int(order["makerAmount"]) == hundredths * 10_000
    assert Decimal(order["takerAmount"]) >= Decimal(order["makerAmount"]) * limit - 100


def test_the_body_names_the_order_type_and_the_api_key() -> None:
    body = json.loads(sign().body)

    assert (body["orderType"], body["owner"]) == ("FOK", "api-key")
    assert isinstance(body["order"]["salt"], int)


@pytest.mark.parametrize("zero_terms", [{"usdc": 0}, {"usdc": 1}, {"side": Side.SELL, "shares": 0}])
def test_an_order_that_rounds_to_zero_is_refused(zero_terms: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match="rounds to zero"):
        sign(replace(TERMS, **zero_terms))


@given(st.integers(0, (1 << 128) - 1))
def test_a_salt_fits_into_a_json_number_and_is_derived(intent: int) -> None:
    salt = derive_salt(f"{intent:032x}")

    assert 0 <= salt < 1 << 53
    assert salt == derive_salt(f"{intent:032x}")
    assert derive_salt(f"i20260131-{intent % 2**96:024x}") == intent % (1 << 53)


@pytest.mark.parametrize("proxy", ["nonsense", "", "0x12"])
def test_an_invalid_wallet_is_refused_without_showing_its_key(proxy: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        Wallet(proxy=proxy, private_key=KEY)

    assert "17" * 8 not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("key", ["", "0x12", "17" * 31 + "zz", "0x" + "00" * 32, "0x" + "ff" * 32])
def test_an_invalid_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        Wallet(proxy=OWNER, private_key=key)

    assert not key or key not in str(error.value)
    assert error.value.__suppress_context__


def test_secrets_are_in_no_text_of_their_objects() -> None:
    credentials = Credentials(
        address=OWNER, key="the-key", secret="dGhlLXNlY3JldA==", passphrase="the-passphrase"
    )
    wallet = Wallet(proxy=OWNER, private_key=KEY)

    for text in (repr(credentials), str(credentials), repr(wallet), str(wallet), f"{wallet!r}"):
        assert not any(secret in text for secret in ("the-key", "dGhl", "the-passphrase", "17" * 8))


def test_headers_are_signed_for_exactly_these_bytes() -> None:
    credentials = Credentials(address=OWNER, key="k", secret="dGhlLXNlY3JldA==", passphrase="p")

    def signature(body: str, path: str = "/order", timestamp: int = 1) -> str:
        return credentials.build_headers(method="POST", path=path, body=body, timestamp=timestamp)[
            "POLY_SIGNATURE"
        ]

    assert signature("{}") == signature("{}")
    assert (
        len(
            {
                signature("{}"),
                signature("{ }"),
                signature("{}", path="/orders"),
                signature("{}", timestamp=2),
            }
        )
        == 4
    )


def test_fast_signing_is_in_use() -> None:
    assert_fast_signing()


def test_a_key_that_does_not_own_the_wallet_is_refused_without_showing_it() -> None:
    key = "0x" + "42" * 32

    with pytest.raises(InvalidSettings, match="does not own that wallet") as error:
        Wallet(proxy="0x00000000000000000000000000000000000000AA", private_key=key)

    assert "42" * 32 not in str(error.value)
