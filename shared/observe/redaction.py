"""Remove secrets from texts. This is the second line of defence: the first is not to write them.

Known secrets: every registered one, in each spelling that a log can give it. Guessed secrets: what
a name next to it marks as one, the venue's ``POLY_*`` headers, logins in addresses, and private
keys under a name that ends in "key" (32 bytes alone are more often a transaction).
"""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

HIDDEN = "[redacted]"

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


class Redaction:
    """The secrets of one process. Safe to use from any thread."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def register(self, secret: str) -> None:
        """Hide ``secret`` from now on, however it is quoted. An empty text is ignored."""
        if secret:
            known = {*self._known, *_spellings(secret)}
            self._known = tuple(sorted(known, key=len, reverse=True))

    def clean(self, text: str) -> str:
        """The text with every secret replaced by ``HIDDEN``."""
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
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
