"""API keys at rest: readable by the holder of the wallet's private key alone."""

import base64

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from services.executor.adapters.api_keys import decrypt, encrypt
from shared.polymarket.signing import Credentials, Wallet

KEY, OTHERS_KEY = "0x" + "17" * 32, "0x" + "23" * 32
WALLET = Wallet(proxy=Account.from_key(KEY).address, private_key=KEY)
OTHERS_WALLET = Wallet(proxy=Account.from_key(OTHERS_KEY).address, private_key=OTHERS_KEY)
CREDENTIALS = Credentials(
    address=WALLET.signer,
    key="0f3c6f0a-5d3e-4f43-9d8e-1b2c3d4e5f60",
    secret="dGhlLXNlY3JldC10aGUtc2VjcmV0",
    passphrase="a1b2c3d4e5f6",
)


def test_what_was_encrypted_is_decrypted() -> None:
    assert decrypt(encrypt(CREDENTIALS, WALLET), WALLET) == CREDENTIALS


def test_stored_bytes_contain_no_secret() -> None:
    stored = encrypt(CREDENTIALS, WALLET)
    secrets = [CREDENTIALS.key, CREDENTIALS.secret, CREDENTIALS.passphrase, KEY, "17" * 16]
    raw = [each.encode() for each in secrets]
    raw += [base64.b64decode(CREDENTIALS.secret), bytes.fromhex("17" * 32)]

    for form in (stored, stored.hex().encode(), base64.b64encode(stored)):
        assert not [secret for secret in raw if secret in form]


def test_equal_keys_are_stored_differently_each_time() -> None:
    assert encrypt(CREDENTIALS, WALLET) != encrypt(CREDENTIALS, WALLET)


def test_another_private_key_decrypts_nothing() -> None:
    assert decrypt(encrypt(CREDENTIALS, WALLET), OTHERS_WALLET) is None


def test_a_row_of_another_wallet_of_the_same_private_key_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = encrypt(CREDENTIALS, WALLET)
    monkeypatch.setattr(WALLET, "proxy", OTHERS_WALLET.proxy)

    assert decrypt(stored, WALLET) is None


@given(st.data())
def test_a_changed_row_is_not_taken(data: st.DataObject) -> None:
    stored = encrypt(CREDENTIALS, WALLET)
    at = data.draw(st.integers(min_value=0, max_value=len(stored) - 1))
    changed = stored[at] ^ data.draw(st.integers(min_value=1, max_value=255))

    assert decrypt(stored[:at] + bytes([changed]) + stored[at + 1 :], WALLET) is None
    assert decrypt(stored[:at], WALLET) is None


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_api_key(stored: bytes) -> None:
    assert decrypt(stored, WALLET) is None


def test_a_derived_secret_depends_on_the_private_key_and_on_the_context() -> None:
    secrets = {
        wallet.derive_secret(context)
        for wallet in (WALLET, OTHERS_WALLET)
        for context in (b"a", b"b")
    }

    assert len(secrets) == 4
    assert {len(each) for each in secrets} == {32}
    assert WALLET.derive_secret(b"a") in secrets
