"""Remove secrets from texts. This is the second line of defence: the first is not to write them.

Known secrets: every registered one, in each spelling that a log can give it. Guessed secrets: what
a name next to it marks as one, the venue's ``POLY_*`` headers, logins in addresses, and private
keys under a name that ends in "key" (32 bytes alone are more often a transaction).

An instance for thousands of wallets knows tens of thousands of spellings. So a text is read once,
position by position, and what begins there is looked up by hash; no spelling is searched for.
"""

import json
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, quote_plus

HIDDEN = "[redacted]"

BEGINNING = 8
"""Characters of a secret that must agree before the whole is compared. Longer than what secrets of
one kind have in common (``0x``), and shorter than any that is worth the name."""

_SECRETS = (
    r"(?:secret|passphrase|password|passwd|authorization|api_?key|private_?key|mnemonic"
    r"|seed_?phrase|POLY_\w+)"
)
_PHRASES = r"(?:mnemonic|seed_?phrase)"
_NAMED_BEFORE = r"""(?:["']?\s*[=:]|["']\s*,)\s*(?:b(?=["']))?"""
_BARE = r"""["']?(?:(?:basic|bearer)\s+)?[^\s"',;})\]]+["']?"""
_QUOTED = r""""[^"]*"|'[^']*'"""

_SECRET_NAME = re.compile(rf"(?i){_SECRETS}$")
_KEY_NAME = re.compile(r"(?i)key$")
_PRIVATE_KEY = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")
_NAMED_PHRASE = re.compile(rf"(?i)({_PHRASES}{_NAMED_BEFORE})(.+)")
_NAMED_SECRET = re.compile(rf"(?i)({_SECRETS}{_NAMED_BEFORE})({_QUOTED}|{_BARE})")
_NAMED_KEY = re.compile(rf"(?i)(key{_NAMED_BEFORE}[\"']?)((?:0x)?[0-9a-f]{{64}}\b)")
_LOGIN_IN_ADDRESS = re.compile(r"(://[^\s:/@]*:)([^\s@/]+)(?=@)")


class KnownSecrets:
    """Finds registered texts in a text at a cost that does not depend on how many there are.

    Safe to use from any thread: what a reader looks at is replaced, never changed in place.
    """

    def __init__(self) -> None:
        self._all: set[str] = set()
        self._lengths_by_beginning: dict[str, tuple[int, ...]] = {}
        """By the first ``BEGINNING`` characters: how long the texts that begin so are."""
        self._short_lengths: tuple[int, ...] = ()
        """How long those are that have fewer characters than that."""

    def add(self, secret: str) -> None:
        if secret in self._all:
            return
        self._all.add(secret)
        if len(secret) < BEGINNING:
            self._short_lengths = _including(self._short_lengths, len(secret))
            return
        beginning = secret[:BEGINNING]
        lengths = self._lengths_by_beginning.get(beginning, ())
        self._lengths_by_beginning[beginning] = _including(lengths, len(secret))

    def replace(self, text: str, replacement: str) -> str:
        """The text with ``replacement`` for each stretch that registered texts cover. Texts that
        overlap are one stretch.
        """
        visible: list[str] = []
        hidden_to = 0
        for start in self._find_beginnings(text):
            end = self._find_end(text, start)
            if end <= hidden_to:
                continue
            if start >= hidden_to:
                visible.append(text[hidden_to:start])
            hidden_to = end
        return replacement.join([*visible, text[hidden_to:]]) if visible else text

    def _find_beginnings(self, text: str) -> Sequence[int]:
        """Where a registered text may begin, in order."""
        if self._short_lengths:
            return range(len(text))
        known = self._lengths_by_beginning
        return [at for at in range(len(text)) if text[at : at + BEGINNING] in known]

    def _find_end(self, text: str, start: int) -> int:
        """Where the longest registered text that begins at ``start`` ends; 0: none begins there."""
        lengths = self._lengths_by_beginning.get(text[start : start + BEGINNING], ())
        for length in (*lengths, *self._short_lengths):
            if (found := text[start : start + length]) in self._all:
                return start + len(found)
        return 0


def _including(lengths: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The lengths with this one, each once, the longest first."""
    return tuple(sorted({*lengths, length}, reverse=True))


class Redaction:
    """The secrets of one process. Safe to use from any thread."""

    def __init__(self) -> None:
        self._known = KnownSecrets()

    def register(self, secret: str) -> None:
        """Hide ``secret`` from now on, however it is quoted. An empty text is ignored."""
        if secret:
            for spelling in _spellings(secret):
                self._known.add(spelling)

    def clean(self, text: str) -> str:
        """The text with every secret replaced by ``HIDDEN``."""
        text = self._known.replace(text, HIDDEN)
        for named in (_NAMED_PHRASE, _NAMED_SECRET, _NAMED_KEY, _LOGIN_IN_ADDRESS):
            text = named.sub(rf"\g<1>{HIDDEN}", text)
        return text

    def hides(self, name: str, value: object) -> bool:
        """Whether a field's name marks its value as a secret."""
        return bool(
            _SECRET_NAME.search(name)
            or (_KEY_NAME.search(name) and _PRIVATE_KEY.fullmatch(str(value)))
        )

    def clean_field(self, name: str, value: object) -> object:
        """The value of a named field without secrets, ready to be written as JSON."""
        if self.hides(name, value):
            return HIDDEN
        if isinstance(value, Mapping):
            return {
                self.clean(str(key)): self.clean_field(str(key), inner)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean_field(name, item) for item in value]
        return (
            value
            if value is None or isinstance(value, bool | int | float)
            else self.clean(str(value))
        )


def _spellings(secret: str) -> set[str]:
    """The secret as it is, as code and JSON quote it, as an address encodes it; a hex key also
    without its prefix and in either case.
    """
    in_code, in_bytes, in_json = (
        repr(secret)[1:-1],
        repr(secret.encode())[2:-1],
        json.dumps(secret)[1:-1],
    )
    spellings = {secret, in_code, in_bytes, in_json, quote(secret, safe=""), quote_plus(secret)}
    if _PRIVATE_KEY.fullmatch(secret):
        bare = secret.removeprefix("0x")
        spellings |= {bare, bare.lower(), bare.upper()}
    return spellings
