"""Condition ids, in the one spelling that is compared. Pure."""

import re

_CONDITION_ID = re.compile(r"0x(?:[0-9a-f]{62}|[0-9a-f]{64})")


def parse_condition_id(text: str) -> str:
    """The id in lower case, as 32 bytes. Gamma spells those of markets of version v2 without their
    last byte, which is zero.

    Raises: ValueError.
    """
    lower = text.strip().lower()
    if not _CONDITION_ID.fullmatch(lower):
        raise ValueError(f"{text!r} is no condition id: it must be 0x and 64 hexadecimal digits")
    return lower.ljust(66, "0")
