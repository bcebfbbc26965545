"""Certificates for servers in tests: made anew, and signed by themselves."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC
from Crypto.Signature import DSS

_INTEGER, _BITS, _OCTETS, _UTF8_TEXT, _UTC_TIME, _SEQUENCE, _SET = 2, 3, 4, 0x0C, 0x17, 0x30, 0x31
_VERSION, _DNS_NAME, _EXTENSIONS = 0xA0, 0x82, 0xA3
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("0603550403")
_SUBJECT_ALT_NAME = bytes.fromhex("0603551d11")


def make_certificate(
    directory: Path, *, name: str = "localhost", valid_for: timedelta = timedelta(days=1)
) -> Path:
    """Write key and certificate of a server of this name to a file, and return its path. The
    certificate is valid since yesterday; ``valid_for`` counts from now.
    """
    key = ECC.generate(curve="p256")
    now = datetime.now(UTC)  # noqa: TID251 - TLS compares it with the real clock
    alt_name = _encode(_SEQUENCE, _encode(_DNS_NAME, name.encode()))
    extension = _encode(_SEQUENCE, _SUBJECT_ALT_NAME, _encode(_OCTETS, alt_name))
    body = _encode(
        _SEQUENCE,
        _encode(_VERSION, _encode(_INTEGER, b"\2")),
        _encode(_INTEGER, b"\1"),
        _ECDSA_WITH_SHA256,
        _encode_name(name),
        _encode(_SEQUENCE, _encode_time(now - timedelta(days=1)), _encode_time(now + valid_for)),
        _encode_name(name),
        key.public_key().export_key(format="DER"),
        _encode(_EXTENSIONS, _encode(_SEQUENCE, extension)),
    )
    signature = DSS.new(key, "fips-186-3", encoding="der").sign(SHA256.new(body))
    signed = _encode(_SEQUENCE, body, _ECDSA_WITH_SHA256, _encode(_BITS, b"\0", signature))
    path = directory / f"{name}.pem"
    path.write_text(f"{key.export_key(format='PEM')}\n{ssl.DER_cert_to_PEM_cert(signed)}")
    return path


def make_server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _encode_name(name: str) -> bytes:
    part = _encode(_SEQUENCE, _COMMON_NAME, _encode(_UTF8_TEXT, name.encode()))
    return _encode(_SEQUENCE, _encode(_SET, part))


def _encode_time(moment: datetime) -> bytes:
    return _encode(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())


def _encode(tag: int, *parts: bytes) -> bytes:
    """DER."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content
