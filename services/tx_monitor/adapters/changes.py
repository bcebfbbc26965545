"""What was logged last, so that a failure that lasts is logged once."""

import re
from collections.abc import Collection

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|(?<!node )\b[0-9]+")
"""Blocks, hashes and counts, which differ in each round; not which node it is."""


class Changes:
    """Remembers the last text of each subject."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def is_new(self, subject: str, text: str) -> bool:
        """Whether the text differs from the subject's last one by more than its numbers. Empty:
        there is nothing to say any more.
        """
        shape = _NUMBER.sub("#", text)
        last = self._texts.pop(subject, "")
        if shape:
            self._texts[subject] = shape
        return shape != last

    def keep_only(self, subjects: Collection[str]) -> None:
        """Forget all other subjects: of those, nothing is logged any more."""
        self._texts = {key: text for key, text in self._texts.items() if key in subjects}
