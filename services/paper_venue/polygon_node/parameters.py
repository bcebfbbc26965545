"""Reads the parameters of JSON-RPC requests. Pure."""

from collections.abc import Sequence
from typing import Any

from eth_utils.address import to_checksum_address

from services.paper_venue.polygon_node.refusals import INVALID_PARAMS, Refused


def require_param(params: Sequence[Any], position: int) -> Any:
    """Raises: Refused, with go-ethereum's text."""
    if position >= len(params):
        raise Refused(f"missing value for required argument {position}", INVALID_PARAMS)
    return params[position]


def parse_quantity(value: Any, *, default: int | None = None) -> int:
    """A number or 0x hex; ``default``: what null means. Raises: Refused."""
    if value is None and default is not None:
        return default
    try:
        number = int(value, 16) if isinstance(value, str) else int(value)
    except (TypeError, ValueError) as error:
        raise Refused(f"not a quantity: {value!r}", INVALID_PARAMS) from error
    if number < 0:
        raise Refused(f"a quantity below 0: {number}", INVALID_PARAMS)
    return number


def parse_address(value: Any) -> str:
    """Checksummed. Raises: Refused."""
    try:
        return to_checksum_address(value)
    except (TypeError, ValueError) as error:
        raise Refused(f"not an address: {value!r}", INVALID_PARAMS) from error


def parse_flag(value: Any) -> bool:
    """Raises: Refused."""
    if not isinstance(value, bool):
        raise Refused(f"neither true nor false: {value!r}", INVALID_PARAMS)
    return value
