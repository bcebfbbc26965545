"""Authorization at the relayer: relayer keys by their text, builder keys by HMAC over the exact
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
    """The keys of this venue's relayer, derived from its secret: an address always has the same
    ones. They are not API keys for trading.
    """

    def __init__(self, *, secret: bytes) -> None:
        self._secret = secret
        self._builder_keys: dict[str, Credentials] = {}

    def relayer_key(self, address: str) -> str:
        """The RELAYER_API_KEY of this RELAYER_API_KEY_ADDRESS."""
        return str(uuid.UUID(bytes=self._derive("relayer", address)[:16], version=4))

    def builder_key(self, address: str) -> Credentials:
        """The builder key of this address. Only keys that were handed out are accepted."""
        derived = self._derive("builder", address)
        builder = Credentials(
            address=address,
            key=str(uuid.UUID(bytes=derived[:16], version=4)),
            secret=base64.urlsafe_b64encode(hashlib.sha256(derived).digest()).decode(),
            passphrase=derived[32:].hex(),
        )
        self._builder_keys[builder.key] = builder
        return builder

    def check(self, headers: Mapping[str, str], *, method: str, path: str, body: bytes) -> None:
        """Check that a request has a relayer key of its address or a builder's HMAC.

        Raises: Denied.
        """
        if "RELAYER_API_KEY" in headers:
            expected, given = (
                self.relayer_key(headers.get("RELAYER_API_KEY_ADDRESS", "")),
                headers["RELAYER_API_KEY"],
            )
        else:
            expected, given = self._builder_signatures(
                headers, method.encode() + path.encode() + body
            )
        if not hmac.compare_digest(expected.encode(), given.encode()):
            raise Denied(INVALID_AUTHORIZATION)

    def _builder_signatures(self, headers: Mapping[str, str], request: bytes) -> tuple[str, str]:
        """Signature and passphrase, as expected and as given."""
        builder = self._builder_keys.get(headers.get("POLY_BUILDER_API_KEY", ""))
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

    def _derive(self, purpose: str, address: str) -> bytes:
        return hmac.digest(self._secret, f"{purpose}:{address.lower()}".encode(), "sha512")
