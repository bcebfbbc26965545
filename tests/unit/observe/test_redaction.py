"""Secrets are hidden however they are written, and nothing else is."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.observe.redaction import HIDDEN, KnownSecrets, Redaction

KEY = "0x" + "aB" * 32
TRANSACTION = "0x" + "c4" * 32


@given(secret=st.text(min_size=4), before=st.text(), after=st.text())
def test_a_registered_secret_is_removed_from_any_text_in_any_quotation(
    secret: str, before: str, after: str
) -> None:
    assume(secret not in HIDDEN)
    redaction = Redaction()
    redaction.register(secret)

    for quoted in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
        assert not any(
            quoted in part for part in redaction.clean(f"{before}{quoted}{after}").split(HIDDEN)
        )


def test_a_secret_that_begins_like_another_is_hidden_to_its_end() -> None:
    redaction = Redaction()
    redaction.register("hunter22")
    redaction.register("hunter22-and-more")

    assert redaction.clean("hunter22-and-more, hunter22") == f"{HIDDEN}, {HIDDEN}"


SECRETS = st.lists(st.text(alphabet="xyz", min_size=1, max_size=12), max_size=8)
"""Few letters, so that they often overlap, repeat one another and begin alike."""


def replace_one_by_one(text: str, secrets: Sequence[str]) -> str:
    """What is obviously right and costs as much as there are secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "#")
    return text


@given(secrets=SECRETS, text=st.text(alphabet="xyz.", max_size=60))
def test_what_a_search_for_each_secret_would_hide_is_hidden(secrets: list[str], text: str) -> None:
    known = KnownSecrets()
    for secret in secrets:
        known.add(secret)

    cleaned = known.replace(text, "#")

    covered = {
        position
        for secret in secrets
        for start in range(len(text))
        if text.startswith(secret, start)
        for position in range(start, start + len(secret))
    }
    visible = "".join(each for at, each in enumerate(text) if at not in covered)
    assert cleaned.replace("#", "") == visible
    assert not any(secret in part for secret in secrets for part in cleaned.split("#"))
    rest = iter(replace_one_by_one(text, secrets).replace("#", ""))
    assert all(each in rest for each in visible), "nothing is shown that was hidden before"


class CountedText(str):
    """Counts how often a part of it is taken."""

    parts = 0

    def __getitem__(self, key: Any) -> str:
        CountedText.parts += 1
        return super().__getitem__(key)


def count_parts(secrets: int) -> int:
    known = KnownSecrets()
    for number in range(secrets):
        known.add(f"0x{number:064x}")
        known.add(f"{number:036x}==")
    CountedText.parts = 0
    text = CountedText(f"wallet 0x{TRANSACTION} of 1000 answered: {KEY} took 12 ms " * 3)
    known.replace(text, HIDDEN)
    return CountedText.parts


def test_ten_thousand_secrets_cost_no_more_than_ten() -> None:
    assert count_parts(10_000) == count_parts(10) > 0


@pytest.mark.parametrize(
    "spelling", [KEY, KEY[2:], KEY[2:].lower(), KEY[2:].upper(), f"bytes {KEY[2:]}!"]
)
def test_a_registered_key_is_hidden_with_or_without_its_prefix_in_either_case(
    spelling: str,
) -> None:
    redaction = Redaction()
    redaction.register(KEY)

    assert KEY[2:].lower() not in redaction.clean(spelling).lower()


def test_nothing_is_hidden_for_an_empty_secret() -> None:
    redaction = Redaction()
    redaction.register("")

    assert redaction.clean("text") == "text"


@pytest.mark.parametrize(
    "text",
    [
        f"private_key={KEY}",
        f"privateKey: '{KEY}'",
        f"OPERATOR_KEY={KEY[2:]}",
        f'{{"key": "{KEY}"}}',
        f"Settings(operator_private_key='{KEY}', chain=137)",
        f"{{'POLY_SIGNATURE': '{KEY}', 'POLY_ADDRESS': '0x12'}}",
        f"(b'POLY_PASSPHRASE', b'{KEY}')",
        f"POLY_API_KEY: {KEY}",
        f"Authorization: Bearer {KEY}",
        f"secret = {KEY}",
        f"postgresql://slipstream:{KEY}@db:5432/slipstream",
        f"mnemonic: test test test {KEY}",
        f'passphrase="two words {KEY}"',
    ],
)
def test_a_value_whose_name_marks_it_as_a_secret_is_hidden(text: str) -> None:
    cleaned = Redaction().clean(text)

    assert KEY[2:] not in cleaned
    assert HIDDEN in cleaned


@pytest.mark.parametrize(
    "text",
    [
        f"transaction {TRANSACTION} mined",
        f"tx_hash={TRANSACTION}",
        "key=0x1234567890AbcdEF1234567890aBcdef12345678",
        "token_id=71321045679252212594626385532706912750332728571942532289631379312455583992563",
        "http://127.0.0.1:8545/path and postgresql://user@host:5432/db",
        "the monkey: 12",
    ],
)
def test_other_texts_are_not_changed(text: str) -> None:
    assert Redaction().clean(text) == text


def test_fields_are_hidden_by_their_names_and_their_contents_are_cleaned() -> None:
    redaction = Redaction()
    redaction.register("hunter22")

    fields = {
        "api_secret": "anything",
        "signing_key": KEY,
        "key": b"0xproxy",
        "tx_hash": TRANSACTION,
        "headers": {"POLY_PASSPHRASE": "p", "accept": ["with hunter22"]},
        "n": 3,
        "none": None,
    }
    assert {name: redaction.clean_field(name, value) for name, value in fields.items()} == {
        "api_secret": HIDDEN,
        "signing_key": HIDDEN,
        "key": "b'0xproxy'",
        "tx_hash": TRANSACTION,
        "headers": {"POLY_PASSPHRASE": HIDDEN, "accept": [f"with {HIDDEN}"]},
        "n": 3,
        "none": None,
    }
