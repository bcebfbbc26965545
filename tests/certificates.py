"""Certificates for servers in tests: made anew, and signed by themselves."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC
from Crypto.Signature import DSS
from Crypto.Util.asn1 import (
    DerBitString,
    DerInteger,
    DerObject,
    DerObjectId,
    DerOctetString,
    DerSequence,
    DerSetOf,
)

_ECDSA_WITH_SHA256 = DerSequence([DerObjectId("1.2.840.10045.4.3.2").encode()]).encode()
_COMMON_NAME = DerObjectId("2.5.4.3").encode()
_SUBJECT_ALT_NAME = DerObjectId("2.5.29.17").encode()
_UTF8_TEXT, _UTC_TIME = 0x0C, 0x17


def make_certificate(
    directory: Path, *, name: str = "localhost", valid_for: timedelta = timedelta(days=1)
) -> Path:
    """Write key and certificate of a server of this name to a file, and return its path. The
    certificate is valid since yesterday; ``valid_for`` counts from now.
    """
    key = ECC.generate(curve="p256")
    now = datetime.now(UTC)  # noqa: TID251 - TLS compares it with the real clock
    body = DerSequence(
        [
            DerInteger(2, explicit=0).encode(),
            DerInteger(int(now.timestamp())).encode(),
            _ECDSA_WITH_SHA256,
            _encode_name(name),
            DerSequence(
                [_encode_time(now - timedelta(days=1)), _encode_time(now + valid_for)]
            ).encode(),
            _encode_name(name),
            key.public_key().export_key(format="DER"),
            DerSequence([_encode_alt_name(name)], explicit=3).encode(),
        ]
    ).encode()
    signature = DSS.new(key, "fips-186-3", encoding="der").sign(SHA256.new(body))
    signed = DerSequence([body, _ECDSA_WITH_SHA256, DerBitString(signature).encode()]).encode()
    path = directory / f"{name}.pem"
    secret = key.export_key(format="PEM")
    path.write_text(f"{secret}\n{ssl.DER_cert_to_PEM_cert(signed)}")
    return path


def make_server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _encode_name(name: str) -> bytes:
    text = DerObject(_UTF8_TEXT, name.encode()).encode()
    part = DerSequence([_COMMON_NAME, text]).encode()
    return DerSequence([DerSetOf([part]).encode()]).encode()


def _encode_time(moment: datetime) -> bytes:
    return DerObject(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode()).encode()


def _encode_alt_name(name: str) -> bytes:
    names = DerSequence([DerOctetString(name.encode(), implicit=2).encode()]).encode()
    return DerSequence([_SUBJECT_ALT_NAME, DerOctetString(names).encode()]).encode()
