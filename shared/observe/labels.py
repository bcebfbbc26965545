"""Which values may label a metric? Words from closed lists and small numbers, never an address, a
hash or an id.
"""

import re

OTHER = "other"

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}|\d{1,4}|\d+(?:\.\w+){1,3}")
_LONG_HEX_OR_DIGITS = re.compile(r"[0-9a-fA-F]{12}|\d{5}")


def bounded(value: str | int) -> str:
    """The value, or ``other`` if it is not a word, a small number or a version: each new value of a
    label is a new series for ever.
    """
    text = str(value)
    return text if _WORD.fullmatch(text) and not _LONG_HEX_OR_DIGITS.search(text) else OTHER
