"""Signed orders and request headers for the venue, encoded by the official SDK.

An order's hash is known before it is sent. This is the only module that uses private parts of
polymarket-client (its release is pinned exactly, docs/adr/0002): the SDK's public calls draw salt
and time themselves, so that the same order could never be built twice, and have no FOK for an exact
number of shares.
"""

from dataclasses import dataclass, field
from decimal import Decimal

import orjson
from coincurve import PrivateKey
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keys.backends.coincurve import CoinCurveECCBackend
from eth_keys.main import lazy_key_api
from polymarket._internal.actions.auth import build_l1_auth_headers
from polymarket._internal.actions.orders.context import resolve_order_exchange_address
from polymarket._internal.actions.orders.post import build_post_order_request
from polymarket._internal.actions.orders.types import BYTES32_ZERO, SignedOrder, UnsignedOrder
from polymarket._internal.environment import PRODUCTION_CONFIG
from polymarket._internal.hmac import build_hmac_signature
from polymarket._internal.l1_auth import sign_api_key_auth
from polymarket._internal.protocol import is_v2_position_id
from polymarket._internal.wallet import WalletType, signature_type_for, try_classify_wallet_type
from polymarket.errors import SigningError, UserInputError
from polymarket.types import EvmAddress, HexString

from shared.chain.orders import BUY, SELL, SignatureParts, prepare_signature
from shared.chain.orders import SignedOrder as Order
from shared.domain.errors import InvalidMessage, InvalidSettings
from shared.domain.money import Side, as_decimal
from shared.messages.intents import OrderType
from shared.polymarket.amounts import market_order_amounts

CHAIN_ID = PRODUCTION_CONFIG.chain_id
POLY_1271 = 3
"""Signature type of deposit wallets: the wallet itself is the order's signer, and its key signs a
nested digest."""

SECRET_BYTES = 32
SALT_BITS = 53
"""The venue reads the salt as a JSON number, which holds no more bits exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The API key of a signer at the venue. Secret: never logged."""

    address: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)

    def build_headers(
        self, *, method: str, path: str, body: str | None, timestamp: int
    ) -> dict[str, str]:
        """Build the L2 headers for exactly these bytes.

        ``path`` is without the query; ``timestamp`` is in seconds.
        """
        return {
            "POLY_ADDRESS": self.address,
            "POLY_API_KEY": self.key,
            "POLY_PASSPHRASE": self.passphrase,
            "POLY_TIMESTAMP": str(timestamp),
            "POLY_SIGNATURE": build_hmac_signature(
                secret=self.secret, timestamp=timestamp, method=method, path=path, body=body
            ),
        }


def parse_credentials(body: object, *, address: str) -> Credentials | None:
    """Parse the API key that the venue issued to a signer. None where it has none that signs."""
    if not isinstance(body, dict):
        return None
    parts = [body.get(name) for name in ("apiKey", "secret", "passphrase")]
    if not all(isinstance(each, str) and each.isascii() and each.isprintable() for each in parts):
        return None
    key, secret, passphrase = map(str, parts)
    credentials = Credentials(address=address, key=key, secret=secret, passphrase=passphrase)
    try:
        credentials.build_headers(method="GET", path="/", body=None, timestamp=0)
    except SigningError:
        return None
    return credentials if all((key, secret, passphrase)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What to sign. A BUY spends ``usdc``, a SELL gives ``shares``; both in base units."""

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
    """EIP-712 digest under the exchange's domain: the order's id at the venue."""
    body: str
    """The request body, to be posted byte for byte."""


class Wallet:
    """A follower's proxy and the key that signs for it."""

    def __init__(self, *, proxy: str, private_key: str) -> None:
        """Raises: InvalidSettings where the key is not a private key, or cannot sign for the proxy;
        the error never contains the key.
        """
        try:
            self._account: LocalAccount = Account.from_key(private_key)
        except Exception:  # noqa: BLE001 - the library's own text may carry the key
            raise InvalidSettings(
                f"the private key given for proxy {proxy} is not a private key"
            ) from None
        self._key = PrivateKey(bytes(self._account.key))
        self.proxy = proxy
        kind = _classify_wallet(proxy, signer=self._account.address)
        if kind is None:
            raise InvalidSettings(
                f"the private key given for proxy {proxy} belongs to {self._account.address}, "
                "which does not own that wallet"
            )
        self.signature_type = signature_type_for(kind)

    @property
    def signer(self) -> str:
        return self._account.address

    def sign(self, terms: OrderTerms, *, owner: str) -> SignedBody:
        """Build and sign an order; the same terms always give the same bytes. ``owner`` is the API
        key.

        Raises: InvalidMessage where no valid order has such terms.
        """
        order = self._build_unsigned(terms)
        parts = _prepare_signature(order)
        signature = self._sign_digest(parts.digest) + parts.trailer
        signed = _build_sdk_order(order, HexString("0x" + signature.hex()))
        _, payload = build_post_order_request(signed, owner_api_key=owner)
        return SignedBody(order_hash=parts.order_hash, body=orjson.dumps(payload).decode())

    def build_l1_headers(self, *, timestamp: int) -> dict[str, str]:
        """Build the headers that prove possession of the key, for creating or deriving an API key.

        ``timestamp`` is in seconds.
        """
        return build_l1_auth_headers(
            sign_api_key_auth(self._account, chain_id=CHAIN_ID, timestamp=timestamp)
        )

    def derive_secret(self, context: bytes) -> bytes:
        """Return 32 bytes that only the holder of the private key can compute, others for each
        context (HKDF-SHA256). They say nothing about the private key.
        """
        derived = HKDF(bytes(self._account.key), SECRET_BYTES, b"", SHA256, context=context)
        assert isinstance(derived, bytes)  # a tuple is of several keys
        return derived

    def _sign_digest(self, digest: bytes) -> bytes:
        """Sign as eth_account does, which would derive the public key again each time."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes((signature[64] + 27,))

    def _build_unsigned(self, terms: OrderTerms) -> UnsignedOrder:
        amount = terms.usdc if terms.side is Side.BUY else terms.shares
        making, taking = market_order_amounts(
            terms.side, amount, terms.limit_price, terms.tick_size
        )
        if making <= 0 or taking <= 0:
            raise InvalidMessage(
                f"{terms.side} of {as_decimal(amount)} at {terms.limit_price} rounds to zero"
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


def _prepare_signature(order: UnsignedOrder) -> SignatureParts:
    """By our own encoding: the SDK's takes ten times as long, and the tests show that both give the
    same bytes.
    """
    return prepare_signature(
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


def _build_sdk_order(order: UnsignedOrder, signature: HexString) -> SignedOrder:
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


def _classify_wallet(proxy: str, *, signer: str) -> WalletType | None:
    """The kind of the signer's wallet at this address; None where no wallet of the signer has it,
    or where it is not an address.
    """
    try:
        return try_classify_wallet_type(
            signer=signer, wallet=proxy, config=PRODUCTION_CONFIG.wallet_derivation
        )
    except UserInputError:
        return None


def derive_salt(intent_id: str) -> int:
    """The salt of an intent's order: derived from the hash in its id, so that the order can be
    built again identically.
    """
    return int(intent_id.rpartition("-")[2], 16) % (1 << SALT_BITS)


def assert_fast_signing() -> None:
    """Raises: InvalidSettings where signing would run in pure Python, ten times slower."""
    if not isinstance(lazy_key_api.backend, CoinCurveECCBackend):
        raise InvalidSettings(
            "coincurve is not in use: install it (it is in the lock file); without it, signing "
            "takes 2.5 ms instead of 0.25 ms"
        )
