"""What every part of the HTTP API reads from a request; anything malformed is refused with the
venue's text.
"""

from functools import lru_cache
from typing import Any

import orjson
from eth_utils.address import to_checksum_address

from services.paper_venue.exchange import rules


class BadRequest(Exception):
    """The venue's answer to something that it cannot read: the text, and the HTTP status."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def parse_json(body: bytes) -> Any:
    """Raises: BadRequest."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(rules.INVALID_PAYLOAD) from error


@lru_cache(maxsize=10_000)
def checksummed(address: str) -> str:
    """An address in its checksummed spelling. Raises: ValueError when it is none."""
    return to_checksum_address(address)
