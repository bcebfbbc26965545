"""What does a request to the CLOB ask for? JSON and headers to values; anything malformed is refused with the venue's text."""

from functools import lru_cache
from typing import Any

import orjson
from eth_utils.address import to_checksum_address

from services.paper_venue import rules
from services.paper_venue.handler import Ticket
from services.paper_venue.orders import OrderKind, Side
from shared.chain.orders import SignedOrder


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


def parse_ticket(payload: Any, *, owner: str, address: str) -> Ticket:
    """The body of ``POST /order`` from the API key ``owner`` of ``address``. Raises: BadRequest.

    Orders of the first exchange generation (they have a nonce and no timestamp) are refused, as at the venue since 2026-04-28.
    """
    try:
        order = dict(payload["order"])
        if "timestamp" not in order:
            raise BadRequest(rules.INVALID_VERSION)
        ticket = Ticket(
            signed=_signed(order),
            kind=OrderKind(payload["orderType"]),
            owner=payload["owner"],
            post_only=payload.get("postOnly") is True,
            expiration=int(order.get("expiration") or 0),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadRequest(rules.INVALID_PAYLOAD) from error
    if ticket.owner != owner:
        raise BadRequest(rules.WRONG_OWNER)
    if ticket.signed.signature_type in (0, 1, 2) and ticket.signed.signer.lower() != address.lower():
        raise BadRequest(rules.WRONG_SIGNER)
    return ticket


def _signed(order: Any) -> SignedOrder:
    return SignedOrder(
        salt=int(order["salt"]),
        maker=checksummed(order["maker"]),
        signer=checksummed(order["signer"]),
        token_id=int(order["tokenId"]),
        maker_amount=int(order["makerAmount"]),
        taker_amount=int(order["takerAmount"]),
        side=Side[order["side"]],
        signature_type=int(order["signatureType"]),
        timestamp=int(order["timestamp"]),
        metadata=str(order["metadata"]),
        builder=str(order["builder"]),
        signature=str(order["signature"]),
    )


@lru_cache(maxsize=10_000)
def checksummed(address: str) -> str:
    """An address in its checksummed spelling. Raises: ValueError when it is none."""
    return to_checksum_address(address)


def parse_order_ids(payload: Any) -> list[str]:
    """The body of ``DELETE /orders``, each id once. Raises: BadRequest."""
    if not isinstance(payload, list) or not all(isinstance(order_id, str) for order_id in payload):
        raise BadRequest(rules.INVALID_PAYLOAD)
    return list(dict.fromkeys(payload))


def parse_token_ids(payload: Any) -> list[str]:
    """The body of ``POST /books`` and its like. Raises: BadRequest."""
    try:
        return [str(asked["token_id"]) for asked in payload]
    except (KeyError, TypeError) as error:
        raise BadRequest(rules.INVALID_PAYLOAD) from error
