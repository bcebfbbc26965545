"""Only a wallet's signature gets a key, and only a key's secret authenticates a request."""

import base64
import hmac

import pytest
from eth_account import Account
from polymarket._internal.hmac import build_hmac_signature
from polymarket._internal.l1_auth import sign_api_key_auth

from services.paper_venue.http.auth import (
    CLOCK_TOLERANCE_S,
    L1_INVALID,
    L2_INVALID,
    ApiKeyStore,
    Credentials,
    Denied,
)

BODY = b'{"orderType":"FOK"}'
NOW_S = 1_790_000_000


def some_keys() -> ApiKeyStore:
    return ApiKeyStore(secret=b"of this test", chain_id=137)


def l1_headers(**changed: str) -> dict[str, str]:
    signature = sign_api_key_auth(Account.from_key("0x" + "11" * 32), chain_id=137, timestamp=NOW_S)
    return {
        "POLY_ADDRESS": signature.address,
        "POLY_SIGNATURE": signature.signature,
        "POLY_TIMESTAMP": str(signature.timestamp),
        "POLY_NONCE": str(signature.nonce),
    } | changed


def l2_headers(credentials: Credentials, **changed: str) -> dict[str, str]:
    signature = build_hmac_signature(
        secret=credentials.secret, timestamp=NOW_S, method="POST", path="/order", body=BODY.decode()
    )
    return {
        "POLY_ADDRESS": credentials.address,
        "POLY_API_KEY": credentials.key,
        "POLY_PASSPHRASE": credentials.passphrase,
        "POLY_TIMESTAMP": str(NOW_S),
        "POLY_SIGNATURE": signature,
    } | changed


def test_the_official_clients_signature_authenticates_its_address() -> None:
    assert some_keys().verify_l1(l1_headers(), now_s=NOW_S) == (
        Account.from_key("0x" + "11" * 32).address,
        0,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"POLY_ADDRESS": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"},
        {"POLY_TIMESTAMP": "1790000001"},
        {"POLY_NONCE": "1"},
        {"POLY_NONCE": "one"},
        {"POLY_NONCE": "-1"},
        {"POLY_SIGNATURE": "0x12"},
        {"POLY_SIGNATURE": "0x" + "ff" * 65},
        {"POLY_ADDRESS": "nobody"},
    ],
)
def test_a_changed_l1_header_is_denied(changed: dict[str, str]) -> None:
    with pytest.raises(Denied, match="Invalid L1 Request headers"):
        some_keys().verify_l1(l1_headers(**changed), now_s=NOW_S)


def test_a_key_is_created_once_and_then_derived() -> None:
    keys = some_keys()

    created = keys.create("0xA", 0)

    assert keys.create("0xA", 0) is None
    assert keys.derive("0xA", 0) == created
    assert keys.derive("0xA", 1) != created
    assert keys.list_keys("0xA") == [keys.derive("0xA", 0).key, keys.derive("0xA", 1).key]


def test_a_signed_request_is_authenticated() -> None:
    keys = some_keys()
    credentials = keys.derive("0xA", 0)

    assert (
        keys.verify_l2(
            l2_headers(credentials), method="POST", path="/order", body=BODY, now_s=NOW_S
        )
        == credentials
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"POLY_API_KEY": "another"},
        {"POLY_ADDRESS": "0xB"},
        {"POLY_PASSPHRASE": "wrong"},
        {"POLY_TIMESTAMP": "1790000001"},
        {"POLY_SIGNATURE": base64.urlsafe_b64encode(hmac.digest(b"guess", b"", "sha256")).decode()},
    ],
)
def test_a_changed_l2_header_is_denied(changed: dict[str, str]) -> None:
    keys = some_keys()

    with pytest.raises(Denied, match="Unauthorized/Invalid api key"):
        keys.verify_l2(
            l2_headers(keys.derive("0xA", 0), **changed),
            method="POST",
            path="/order",
            body=BODY,
            now_s=NOW_S,
        )


def test_a_changed_body_is_denied() -> None:
    keys = some_keys()

    with pytest.raises(Denied):
        keys.verify_l2(
            l2_headers(keys.derive("0xA", 0)),
            method="POST",
            path="/order",
            body=BODY + b" ",
            now_s=NOW_S,
        )


def test_a_revoked_key_is_denied() -> None:
    keys = some_keys()
    credentials = keys.derive("0xA", 0)
    keys.revoke(credentials)

    with pytest.raises(Denied):
        keys.verify_l2(
            l2_headers(credentials), method="POST", path="/order", body=BODY, now_s=NOW_S
        )


def test_secrets_are_not_printed() -> None:
    credentials = some_keys().derive("0xA", 0)

    assert credentials.secret not in repr(credentials)
    assert credentials.passphrase not in repr(credentials)


@pytest.mark.parametrize("off", [-CLOCK_TOLERANCE_S, 0, CLOCK_TOLERANCE_S])
def test_a_clock_within_the_tolerance_is_accepted(off: int) -> None:
    keys = some_keys()
    credentials = keys.derive("0xA", 0)

    assert (
        keys.verify_l2(
            l2_headers(credentials), method="POST", path="/order", body=BODY, now_s=NOW_S + off
        )
        == credentials
    )
    assert keys.verify_l1(l1_headers(), now_s=NOW_S + off)


@pytest.mark.parametrize("off", [-CLOCK_TOLERANCE_S - 1, CLOCK_TOLERANCE_S + 1])
def test_a_correctly_signed_request_outside_the_clock_tolerance_is_denied(off: int) -> None:
    keys = some_keys()

    with pytest.raises(Denied, match=L2_INVALID):
        keys.verify_l2(
            l2_headers(keys.derive("0xA", 0)),
            method="POST",
            path="/order",
            body=BODY,
            now_s=NOW_S + off,
        )
    with pytest.raises(Denied, match=L1_INVALID):
        keys.verify_l1(l1_headers(), now_s=NOW_S + off)


def test_readonly_keys_are_independent_and_end_when_revoked() -> None:
    keys = some_keys()

    first, second = keys.create_readonly("0xA"), keys.create_readonly("0xA")

    assert keys.list_readonly("0xa") == [first, second]
    assert keys.revoke_readonly("0xA", first)
    assert not keys.revoke_readonly("0xA", first)
    assert not keys.revoke_readonly("0xB", second)
    assert keys.list_readonly("0xA") == [second]
