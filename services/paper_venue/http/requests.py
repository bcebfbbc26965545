"""Parses what all HTTP APIs read from requests; refuses malformed input with the venue's text."""

from functools import lru_cache
from typing import Any

import orjson
from eth_utils.address import to_checksum_address

from services.paper_venue.exchange import rules


class BadRequest(Exception):
    """A request that is refused: the text and the HTTP status of the reply."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def parse_json(body: bytes) -> Any:
    """The JSON value of a body. Raises: BadRequest."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(rules.INVALID_PAYLOAD) from error


@lru_cache(maxsize=10_000)
def checksummed(address: str) -> str:
    """An address in its checksummed spelling. Raises: ValueError if it is not an address."""
    return to_checksum_address(address)
