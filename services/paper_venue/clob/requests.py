"""Parses requests to the CLOB; refuses malformed ones with the venue's text."""

from typing import Any

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.orders import OrderKind, Side
from services.paper_venue.http.auth import Credentials
from services.paper_venue.http.requests import BadRequest, checksummed
from services.paper_venue.lifecycle.venue import PostedOrder
from shared.chain.orders import SignedOrder


def parse_posted_order(payload: Any, credentials: Credentials) -> PostedOrder:
    """Parse the body of ``POST /order`` from this API key.

    Orders of the first exchange generation (they have a nonce and no timestamp) are refused, as at
    the venue since 2026-04-28. Raises: BadRequest.
    """
    try:
        order, owner = dict(payload["order"]), payload["owner"]
        if "timestamp" not in order:
            raise BadRequest(rules.INVALID_VERSION)
        posted = PostedOrder(
            signed=_signed(order),
            kind=OrderKind(payload["orderType"]),
            owner=credentials.account,
            post_only=payload.get("postOnly") is True,
            expiration=int(order.get("expiration") or 0),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadRequest(rules.INVALID_PAYLOAD) from error
    if owner != credentials.key:
        raise BadRequest(rules.WRONG_OWNER)
    if (
        posted.signed.signature_type in (0, 1, 2)
        and posted.signed.signer.lower() != credentials.address.lower()
    ):
        raise BadRequest(rules.WRONG_SIGNER)
    return posted


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


def parse_order_ids(payload: Any) -> list[str]:
    """The order ids in the body of ``DELETE /orders``, without duplicates. Raises: BadRequest."""
    if not isinstance(payload, list) or not all(isinstance(order_id, str) for order_id in payload):
        raise BadRequest(rules.INVALID_PAYLOAD)
    return list(dict.fromkeys(payload))


def parse_token_ids(payload: Any) -> list[str]:
    """The token ids in the body of ``POST /books`` and similar endpoints. Raises: BadRequest."""
    try:
        return [str(row["token_id"]) for row in payload]
    except (KeyError, TypeError) as error:
        raise BadRequest(rules.INVALID_PAYLOAD) from error
