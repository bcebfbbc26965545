"""API keys, and the checks of a request: wallet signature (L1), HMAC over the exact bytes (L2)."""

import base64
import hashlib
import hmac
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from coincurve import PublicKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

L1_INVALID = "Invalid L1 Request headers"
L2_INVALID = "Unauthorized/Invalid api key"
CLOCK_TOLERANCE_S = 60
"""How far a request's time may differ from the venue's. The real tolerance is not known; this one
is generous."""

_CLOB_AUTH = keccak(text="ClobAuth(address address,string timestamp,uint256 nonce,string message)")
_DOMAIN = keccak(text="EIP712Domain(string name,string version,uint256 chainId)")
_STATEMENT = keccak(text="This message attests that I control the given wallet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An API key with its secrets, which its ``repr`` leaves out."""

    address: str
    key: str
    secret: str
    passphrase: str
    account: str = ""
    """What orders and trades belong to: the address's first key, also once it has another. Empty:
    they belong to no such key."""

    def __repr__(self) -> str:
        return f"Credentials(key={self.key})"


class Denied(Exception):
    """The request is not authenticated. The text is the venue's."""


class ApiKeyStore:
    """The venue's API keys, derived from its secret: the same address and nonce have the same key,
    until it is revoked.
    """

    def __init__(self, *, secret: bytes, chain_id: int) -> None:
        self._secret = secret
        self._domain = keccak(
            _DOMAIN
            + keccak(text="ClobAuthDomain")
            + keccak(text="1")
            + chain_id.to_bytes(32, "big")
        )
        self._by_key: dict[str, Credentials] = {}
        self._created: set[tuple[str, int]] = set()
        self._revoked_count: Counter[str] = Counter()
        """By address: how often a key of it was revoked."""
        self._readonly: dict[str, list[str]] = {}
        self._readonly_count = 0

    def create(self, address: str, nonce: int) -> Credentials | None:
        """A new key. None: this address already has one for this nonce."""
        if (address, nonce) in self._created:
            return None
        return self.derive(address, nonce)

    def derive(self, address: str, nonce: int) -> Credentials:
        seed = self._seed(address, nonce, self._revoked_count[address])
        credentials = Credentials(
            address=address,
            key=_key_id(seed),
            account=_key_id(self._seed(address, nonce, 0)),
            secret=base64.urlsafe_b64encode(hashlib.sha256(seed).digest()).decode(),
            passphrase=seed[32:64].hex(),
        )
        self._created.add((address, nonce))
        self._by_key[credentials.key] = credentials
        return credentials

    def _seed(self, address: str, nonce: int, revoked: int) -> bytes:
        number = f":{revoked}" if revoked else ""
        return hmac.digest(self._secret, f"{address.lower()}:{nonce}{number}".encode(), "sha512")

    def list_keys(self, address: str) -> list[str]:
        return [key for key, credentials in self._by_key.items() if credentials.address == address]

    def find(self, key: str) -> Credentials | None:
        return self._by_key.get(key)

    def revoke(self, credentials: Credentials) -> None:
        del self._by_key[credentials.key]
        self._revoked_count[credentials.address] += 1
        self._created = {
            (address, nonce) for address, nonce in self._created if address != credentials.address
        }

    def create_readonly(self, address: str) -> str:
        """A new read-only key: it names its address and signs nothing."""
        self._readonly_count += 1
        seed = hmac.digest(
            self._secret, f"readonly:{address.lower()}:{self._readonly_count}".encode(), "sha256"
        )
        key = str(uuid.UUID(bytes=seed[:16], version=4))
        self._readonly.setdefault(address.lower(), []).append(key)
        return key

    def list_readonly(self, address: str) -> list[str]:
        return list(self._readonly.get(address.lower(), ()))

    def revoke_readonly(self, address: str, key: str) -> bool:
        """False: the address has no such key."""
        keys = self._readonly.get(address.lower(), [])
        if key not in keys:
            return False
        keys.remove(key)
        return True

    def verify_l1(self, headers: Mapping[str, str], *, now_s: int) -> tuple[str, int]:
        """The address and nonce that the wallet's signature proves. Raises: Denied."""
        try:
            address = to_checksum_address(headers["POLY_ADDRESS"])
            timestamp, nonce = headers["POLY_TIMESTAMP"], int(headers["POLY_NONCE"])
            struct = (
                _CLOB_AUTH
                + bytes(12)
                + bytes.fromhex(address[2:])
                + keccak(text=timestamp)
                + nonce.to_bytes(32, "big")
                + _STATEMENT
            )
            signer = recover(
                keccak(b"\x19\x01" + self._domain + keccak(struct)), headers["POLY_SIGNATURE"]
            )
        except (KeyError, ValueError, OverflowError) as error:
            raise Denied(L1_INVALID) from error
        if signer != address or not _is_recent(timestamp, now_s):
            raise Denied(L1_INVALID)
        return address, nonce

    def verify_l2(
        self, headers: Mapping[str, str], *, method: str, path: str, body: bytes, now_s: int
    ) -> Credentials:
        """The API key that the HMAC proves, over the path without its query and the body as sent.
        Raises: Denied.
        """
        credentials = self._by_key.get(headers.get("POLY_API_KEY", ""))
        if (
            credentials is None
            or headers.get("POLY_ADDRESS", "").lower() != credentials.address.lower()
        ):
            raise Denied(L2_INVALID)
        if not _is_authentic(
            credentials,
            headers,
            "POLY_",
            message=method.encode() + path.encode() + body,
            now_s=now_s,
        ):
            raise Denied(L2_INVALID)
        return credentials


def _key_id(seed: bytes) -> str:
    return str(uuid.UUID(bytes=seed[:16], version=4))


def _is_authentic(
    credentials: Credentials, headers: Mapping[str, str], prefix: str, *, message: bytes, now_s: int
) -> bool:
    """Whether the headers have the key's passphrase, its HMAC over their timestamp and the message,
    and a timestamp within the tolerance.
    """
    timestamp = headers.get(f"{prefix}TIMESTAMP", "")
    secret = base64.urlsafe_b64decode(credentials.secret)
    expected = base64.urlsafe_b64encode(hmac.digest(secret, timestamp.encode() + message, "sha256"))
    given = headers.get(f"{prefix}SIGNATURE", "").encode()
    passphrase = headers.get(f"{prefix}PASSPHRASE", "").encode()
    is_signed = hmac.compare_digest(given, expected) and hmac.compare_digest(
        passphrase, credentials.passphrase.encode()
    )
    return is_signed and _is_recent(timestamp, now_s)


def _is_recent(timestamp: str, now_s: int) -> bool:
    return (
        timestamp.isascii()
        and timestamp.isdecimal()
        and abs(int(timestamp) - now_s) <= CLOCK_TOLERANCE_S
    )


def recover(digest: bytes, signature: str) -> str:
    """The address that signed the digest. Raises: ValueError if it is not a signature."""
    raw = bytes.fromhex(signature.removeprefix("0x"))
    if len(raw) != 65 or raw[64] not in (0, 1, 27, 28):
        raise ValueError("not a 65-byte signature")
    try:
        public = PublicKey.from_signature_and_message(
            raw[:64] + bytes([raw[64] % 27]), digest, hasher=None
        )
    except Exception as error:
        raise ValueError("no public key matches the signature") from error
    return to_checksum_address(keccak(public.format(compressed=False)[1:])[12:])
