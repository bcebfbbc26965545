"""Ids and names of outcome tokens, as the venue writes them. Pure."""

import re
from typing import Any

from shared.domain.errors import InvalidMessage

MAX_OUTCOME = 80
_TOKEN_ID = re.compile(r"[0-9]{1,78}")
"""256 bits in decimal."""


def parse_token_id(value: Any, *, name: str) -> str:
    """The id, which is a number in decimal. Raises: InvalidMessage, naming the field."""
    text = str(value)
    if not _TOKEN_ID.fullmatch(text):
        raise InvalidMessage(f"{name}: {text[:80]!r} is not a token id")
    return text


def printable(text: Any, max_length: int) -> str:
    """Text for people: without control characters, which terminals and databases refuse."""
    return "".join(filter(str.isprintable, str(text or "")))[:max_length]
