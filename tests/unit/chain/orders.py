"""Orders signed by the two client libraries, for the tests of the chain and of the exchange."""

from eth_account import Account
from eth_account.messages import encode_typed_data
from polymarket._internal.actions.orders.typed_data import (
    build_order_signature,
    build_order_typed_data,
)
from polymarket._internal.actions.orders.types import BYTES32_ZERO, UnsignedOrder
from polymarket.types import EvmAddress, HexString
from py_clob_client_v2.order_utils.exchange_order_builder_v2 import ExchangeOrderBuilderV2
from py_clob_client_v2.order_utils.model.order_data_v2 import OrderDataV2
from py_clob_client_v2.order_utils.model.side import Side as ClobSide
from py_clob_client_v2.order_utils.model.signature_type_v2 import SignatureTypeV2
from py_clob_client_v2.signer import Signer

from shared.chain.addresses import EXCHANGE_V2, POLYGON_CHAIN_ID
from shared.chain.orders import BUY, DEPOSIT_WALLET, DOMAIN_VERSION_BY_EXCHANGE, EOA, SignedOrder

A_TOKEN = 0x8E7F_1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0_1234_5678_9ABC
A_BUILDER_CODE = "0x" + "c0de" * 16


def sign_by_polymarket_client(
    key: str,
    *,
    maker: str | None = None,
    token_id: int = A_TOKEN,
    maker_amount: int = 5_000_000,
    taker_amount: int = 10_000_000,
    side: int = BUY,
    signature_type: int = EOA,
    exchange: str = EXCHANGE_V2,
    salt: int = 479249096354,
    builder: str = BYTES32_ZERO,
) -> SignedOrder:
    """Sign with polymarket-client's own typed data."""
    owner = Account.from_key(key).address
    wallet = maker or owner
    unsigned = UnsignedOrder(
        chain_id=POLYGON_CHAIN_ID,
        builder=HexString(builder),
        exchange_address=EvmAddress(exchange),
        expiration=0,
        maker=EvmAddress(wallet),
        maker_amount=maker_amount,
        metadata=BYTES32_ZERO,
        order_type="GTC",
        salt=salt,
        side="BUY" if side == BUY else "SELL",
        signature_type=signature_type,
        signer=EvmAddress(wallet if signature_type == DEPOSIT_WALLET else owner),
        taker_amount=taker_amount,
        timestamp=1_790_000_000_000,
        token_id=str(token_id),  # type: ignore[arg-type]
        protocol_version=DOMAIN_VERSION_BY_EXCHANGE[exchange],  # type: ignore[arg-type]
    )
    signable = encode_typed_data(full_message=build_order_typed_data(unsigned))
    signature = HexString(Account.sign_message(signable, key).signature.to_0x_hex())
    return SignedOrder(
        salt=salt,
        maker=unsigned.maker,
        signer=unsigned.signer,
        token_id=token_id,
        maker_amount=maker_amount,
        taker_amount=taker_amount,
        side=side,
        signature_type=signature_type,
        timestamp=unsigned.timestamp,
        metadata=unsigned.metadata,
        builder=builder,
        signature=build_order_signature(unsigned, signature),
    )


def build_clob_builder(key: str, exchange: str = EXCHANGE_V2) -> ExchangeOrderBuilderV2:
    return ExchangeOrderBuilderV2(
        exchange,
        POLYGON_CHAIN_ID,
        Signer(key, POLYGON_CHAIN_ID),
        domain_version=DOMAIN_VERSION_BY_EXCHANGE[exchange],
    )


def sign_by_clob_client(
    key: str,
    *,
    maker: str | None = None,
    token_id: int = A_TOKEN,
    maker_amount: int = 5_000_000,
    taker_amount: int = 10_000_000,
    side: int = BUY,
    signature_type: int = EOA,
    exchange: str = EXCHANGE_V2,
) -> SignedOrder:
    """Sign with py-clob-client-v2's own builder."""
    owner = Account.from_key(key).address
    wallet = maker or owner
    data = OrderDataV2(
        maker=wallet,
        tokenId=str(token_id),
        makerAmount=str(maker_amount),
        takerAmount=str(taker_amount),
        side=ClobSide.BUY if side == BUY else ClobSide.SELL,
        signer=wallet if signature_type == DEPOSIT_WALLET else owner,
        signatureType=SignatureTypeV2(signature_type),
        builder=A_BUILDER_CODE,
    )
    order = build_clob_builder(key, exchange).build_signed_order(data)
    return SignedOrder(
        salt=int(order.salt),
        maker=order.maker,
        signer=order.signer,
        token_id=int(order.tokenId),
        maker_amount=int(order.makerAmount),
        taker_amount=int(order.takerAmount),
        side=int(order.side),
        signature_type=int(order.signatureType),
        timestamp=int(order.timestamp),
        metadata=order.metadata,
        builder=order.builder,
        signature=order.signature,
    )
