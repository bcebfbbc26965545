"""Parses what `slipstream why` is asked about: an intent's id, or a hash."""

import re
from dataclasses import dataclass

from cli.errors import CommandError
from shared.domain.ids import INTENT_HASH_DIGITS

OLD_ID_DIGITS = 32
"""Of the ids of earlier releases, which had no day."""
MIN_PREFIX_DIGITS = 8

_HASH = re.compile(r"0x[0-9a-f]{64}")
_PREFIX = re.compile(
    rf"i\d{{8}}-[0-9a-f]{{{MIN_PREFIX_DIGITS},{INTENT_HASH_DIGITS}}}"
    rf"|[0-9a-f]{{{MIN_PREFIX_DIGITS},{OLD_ID_DIGITS}}}"
)


@dataclass(frozen=True, slots=True)
class IntentPrefix:
    """The beginning of an intent's id, or all of it."""

    digits: str

    @property
    def first_id(self) -> str:
        return self.digits

    @property
    def last_id(self) -> str:
        """After every id that begins so: no digit comes after ``f``."""
        return self.digits + "g"


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
        f"{text!r} is no id: give an intent id (i20260131-8f3a...), or its beginning with at "
        f"least {MIN_PREFIX_DIGITS} hexadecimal digits, or the hash of an order or a transaction "
        "(0x and 64 hexadecimal digits)"
    )
