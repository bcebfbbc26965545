"""Who may let the relayer work? Relayer keys by their text, builder keys by HMAC over the exact
bytes.
"""

import base64
import hashlib
import hmac
import uuid
from collections.abc import Mapping

from services.paper_venue.http.auth import Credentials, Denied

INVALID_AUTHORIZATION = "invalid authorization"
"""The real relayer's text (py-builder-relayer-client issue 16)."""


class RelayerKeys:
    """Keys of this venue's relayer, derived from its own secret: the same address always has the
    same ones. Not the keys that trade.
    """

    def __init__(self, *, secret: bytes) -> None:
        self._secret = secret
        self._builders: dict[str, Credentials] = {}

    def key_of(self, address: str) -> str:
        """The RELAYER_API_KEY of this RELAYER_API_KEY_ADDRESS."""
        return str(uuid.UUID(bytes=self._derived("relayer", address)[:16], version=4))

    def builder_of(self, address: str) -> Credentials:
        """The builder key of this address. From now on it is known."""
        derived = self._derived("builder", address)
        builder = Credentials(
            address=address,
            key=str(uuid.UUID(bytes=derived[:16], version=4)),
            secret=base64.urlsafe_b64encode(hashlib.sha256(derived).digest()).decode(),
            passphrase=derived[32:].hex(),
        )
        self._builders[builder.key] = builder
        return builder

    def check(self, headers: Mapping[str, str], *, method: str, path: str, body: bytes) -> None:
        """Raises: Denied, unless a relayer key of its address or a builder's HMAC comes with the
        request.
        """
        if "RELAYER_API_KEY" in headers:
            expected, given = (
                self.key_of(headers.get("RELAYER_API_KEY_ADDRESS", "")),
                headers["RELAYER_API_KEY"],
            )
        else:
            expected, given = self._builder_proof(headers, method.encode() + path.encode() + body)
        if not hmac.compare_digest(expected.encode(), given.encode()):
            raise Denied(INVALID_AUTHORIZATION)

    def _builder_proof(self, headers: Mapping[str, str], request: bytes) -> tuple[str, str]:
        """Signature and passphrase: as they have to be, and as they are."""
        builder = self._builders.get(headers.get("POLY_BUILDER_API_KEY", ""))
        if builder is None:
            raise Denied(INVALID_AUTHORIZATION)
        message = headers.get("POLY_BUILDER_TIMESTAMP", "").encode() + request
        signature = base64.urlsafe_b64encode(
            hmac.digest(base64.urlsafe_b64decode(builder.secret), message, "sha256")
        ).decode()
        given = headers.get("POLY_BUILDER_SIGNATURE", "") + headers.get(
            "POLY_BUILDER_PASSPHRASE", ""
        )
        return signature + builder.passphrase, given

    def _derived(self, purpose: str, address: str) -> bytes:
        return hmac.digest(self._secret, f"{purpose}:{address.lower()}".encode(), "sha512")
