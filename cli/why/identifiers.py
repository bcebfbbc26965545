"""Parses what `slipstream why` is asked about: an intent's id, or a hash."""

import re
from dataclasses import dataclass

from cli.errors import CommandError

INTENT_ID_DIGITS = 32
MIN_PREFIX_DIGITS = 8

_HASH = re.compile(r"0x[0-9a-f]{64}")
_PREFIX = re.compile(rf"[0-9a-f]{{{MIN_PREFIX_DIGITS},{INTENT_ID_DIGITS}}}")


@dataclass(frozen=True, slots=True)
class IntentPrefix:
    """The first digits of an intent's id, or all of them."""

    digits: str

    @property
    def first_id(self) -> str:
        return self.digits.ljust(INTENT_ID_DIGITS, "0")

    @property
    def last_id(self) -> str:
        return self.digits.ljust(INTENT_ID_DIGITS, "f")


@dataclass(frozen=True, slots=True)
class Hash:
    """Of an order or of a transaction: the text does not say which."""

    text: str


Identifier = IntentPrefix | Hash


def parse_identifier(text: str) -> Identifier:
    """Raises: CommandError where it can be none of them."""
    lower = text.strip().lower()
    if _HASH.fullmatch(lower):
        return Hash(lower)
    if _PREFIX.fullmatch(lower):
        return IntentPrefix(lower)
    raise CommandError(
        f"{text!r} is no id: give an intent id or at least its first {MIN_PREFIX_DIGITS} "
        "hexadecimal digits, or the hash of an order or a transaction (0x and 64 hexadecimal "
        "digits)"
    )
