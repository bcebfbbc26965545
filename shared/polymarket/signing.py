"""Orders that the venue accepts, by the official SDK's own encoding, and named before they are
sent.

This is the only module that touches polymarket-client's private parts (its release is pinned
exactly, docs/adr/0002): the SDK's public calls draw salt and time themselves, so that an order
could never be built twice alike, and have no exact-share FOK.
"""

import json
from dataclasses import dataclass, field
from decimal import Decimal

from coincurve import PrivateKey
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_keys.backends.coincurve import CoinCurveECCBackend
from eth_keys.main import lazy_key_api
from polymarket._internal.actions.auth import build_l1_auth_headers
from polymarket._internal.actions.orders.context import resolve_order_exchange_address
from polymarket._internal.actions.orders.market import _compute_market_order_amounts
from polymarket._internal.actions.orders.post import build_post_order_request
from polymarket._internal.actions.orders.typed_data import (
    build_order_signature,
    build_order_typed_data,
)
from polymarket._internal.actions.orders.types import BYTES32_ZERO, SignedOrder, UnsignedOrder
from polymarket._internal.environment import PRODUCTION_CONFIG
from polymarket._internal.hmac import build_hmac_signature
from polymarket._internal.l1_auth import sign_api_key_auth
from polymarket._internal.protocol import is_v2_position_id
from polymarket._internal.wallet import WalletType, signature_type_for, try_classify_wallet_type
from polymarket.errors import UserInputError
from polymarket.types import EvmAddress, HexString

from shared.chain.orders import BUY, SELL, order_hash
from shared.chain.orders import SignedOrder as Order
from shared.domain.errors import InvalidMessage, InvalidSettings
from shared.domain.money import Side, as_decimal
from shared.messages.intents import OrderType

CHAIN_ID = PRODUCTION_CONFIG.chain_id
POLY_1271 = 3
"""Signature type of deposit wallets: the wallet itself is the signer, its key signs a nested
digest."""

SALT_BITS = 53
"""The venue reads the salt as a JSON number: more bits would not survive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The API key of a signer at the venue. Secret: shown nowhere."""

    address: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)

    def build_headers(
        self, *, method: str, path: str, body: str | None, timestamp: int
    ) -> dict[str, str]:
        """L2 headers for exactly these bytes; ``path`` without the query, ``timestamp`` in seconds."""
        return {
            "POLY_ADDRESS": self.address,
            "POLY_API_KEY": self.key,
            "POLY_PASSPHRASE": self.passphrase,
            "POLY_TIMESTAMP": str(timestamp),
            "POLY_SIGNATURE": build_hmac_signature(
                secret=self.secret, timestamp=timestamp, method=method, path=path, body=body
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What to sign. ``usdc`` is spent on a BUY, ``shares`` are given on a SELL; both in base units."""

    token_id: str
    side: Side
    order_type: OrderType
    usdc: int
    shares: int
    limit_price: Decimal
    tick_size: Decimal
    neg_risk: bool
    salt: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBody:
    order_hash: str
    """EIP-712 digest under the exchange's domain: the order's name at the venue."""
    body: str
    """What is posted, byte for byte."""


class Wallet:
    """A follower's proxy and the key that signs for it."""

    def __init__(self, *, proxy: str, private_key: str) -> None:
        """Raises: InvalidSettings where the key is none, or cannot sign for the proxy. Never shows
        the key.
        """
        try:
            self._account: LocalAccount = Account.from_key(private_key)
        except Exception:  # noqa: BLE001 - the library's own text may carry the key
            raise InvalidSettings(f"the private key given for {proxy} is no private key") from None
        self._key = PrivateKey(bytes(self._account.key))
        self.proxy = proxy
        kind = _kind_of(proxy, signer=self._account.address)
        if kind is None:
            raise InvalidSettings(
                f"the key given for {proxy} signs as {self._account.address}, which does not own that wallet"
            )
        self.signature_type = signature_type_for(kind)

    @property
    def signer(self) -> str:
        return self._account.address

    def sign(self, terms: OrderTerms, *, owner: str) -> SignedBody:
        """The same terms give the same bytes. ``owner`` is the API key. Raises: InvalidMessage
        where no valid order has such terms.
        """
        order = self._unsigned(terms)
        name = _order_hash(order)
        digest = (
            _nested_digest(order)
            if self.signature_type == POLY_1271
            else bytes.fromhex(name.removeprefix("0x"))
        )
        signature = build_order_signature(order, HexString("0x" + self._signature_of(digest).hex()))
        _, payload = build_post_order_request(_sdk_order(order, signature), owner_api_key=owner)
        return SignedBody(order_hash=name, body=json.dumps(payload, separators=(",", ":")))

    def build_l1_headers(self, *, timestamp: int) -> dict[str, str]:
        """Proof of the key's possession, for creating or deriving the API key; ``timestamp`` in
        seconds.
        """
        return build_l1_auth_headers(
            sign_api_key_auth(self._account, chain_id=CHAIN_ID, timestamp=timestamp)
        )

    def _signature_of(self, digest: bytes) -> bytes:
        """As eth_account signs, which would derive the key's public half anew each time."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes((signature[64] + 27,))

    def _unsigned(self, terms: OrderTerms) -> UnsignedOrder:
        amount = as_decimal(terms.usdc if terms.side is Side.BUY else terms.shares)
        making, taking = _compute_market_order_amounts(
            amount=amount, price=terms.limit_price, side=terms.side.value, tick_size=terms.tick_size
        )
        if making <= 0 or taking <= 0:
            raise InvalidMessage(
                f"{terms.side} of {amount} at {terms.limit_price} rounds to nothing"
            )
        exchange = resolve_order_exchange_address(
            PRODUCTION_CONFIG, asset_id=terms.token_id, neg_risk=terms.neg_risk
        )
        return UnsignedOrder(
            chain_id=CHAIN_ID,
            builder=BYTES32_ZERO,
            exchange_address=exchange,
            expiration=0,
            maker=EvmAddress(self.proxy),
            maker_amount=making,
            metadata=BYTES32_ZERO,
            order_type=terms.order_type.value,
            salt=terms.salt,
            side=terms.side.value,
            signature_type=self.signature_type,
            signer=EvmAddress(self.proxy if self.signature_type == POLY_1271 else self.signer),
            taker_amount=taking,
            timestamp=terms.timestamp_ms,
            token_id=terms.token_id,  # type: ignore[arg-type]
            protocol_version="3" if is_v2_position_id(terms.token_id) else "2",
        )


def _order_hash(order: UnsignedOrder) -> str:
    """By our own encoding: the SDK's takes ten times as long, and the tests show that both are the
    same.
    """
    return order_hash(
        Order(
            salt=order.salt,
            maker=order.maker,
            signer=order.signer,
            token_id=int(order.token_id),
            maker_amount=order.maker_amount,
            taker_amount=order.taker_amount,
            side=BUY if order.side == Side.BUY else SELL,
            signature_type=order.signature_type,
            timestamp=order.timestamp,
            metadata=order.metadata,
            builder=order.builder,
            signature="",
        ),
        order.exchange_address,
        order.protocol_version,
        order.chain_id,
    )


def _nested_digest(order: UnsignedOrder) -> bytes:
    """What a deposit wallet's key signs: not the order itself, but the wallet's own wrapping of it."""
    return _hash_eip191_message(encode_typed_data(full_message=build_order_typed_data(order)))


def _sdk_order(order: UnsignedOrder, signature: HexString) -> SignedOrder:
    return SignedOrder(
        builder=order.builder,
        expiration=order.expiration,
        maker=order.maker,
        maker_amount=order.maker_amount,
        metadata=order.metadata,
        order_type=order.order_type,
        salt=order.salt,
        side=order.side,
        signature=signature,
        signature_type=order.signature_type,
        signer=order.signer,
        taker_amount=order.taker_amount,
        timestamp=order.timestamp,
        token_id=order.token_id,
    )


def _kind_of(proxy: str, *, signer: str) -> WalletType | None:
    """The kind of wallet that the signer owns at this address; None where none of his has it, also
    where it is no address.
    """
    try:
        return try_classify_wallet_type(
            signer=signer, wallet=proxy, config=PRODUCTION_CONFIG.wallet_derivation
        )
    except UserInputError:
        return None


def derive_salt(intent_id: str) -> int:
    """The salt of an intent's order: derived, so that building the order again gives the same
    order.
    """
    return int(intent_id, 16) % (1 << SALT_BITS)


def assert_fast_signing() -> None:
    """Raises: InvalidSettings where signatures would be computed in pure Python, ten times slower."""
    if not isinstance(lazy_key_api.backend, CoinCurveECCBackend):
        raise InvalidSettings(
            "coincurve is not in use: install it (it is in the lock file), signing would take 2.5 ms instead of 0.25 ms"
        )
