"""Why the venue takes no orders, by its texts (docs/venue-protocol.md, Venue states). Pure."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus


class Gate(StrEnum):
    """Why the venue takes no order at all, or none of a wallet's, whatever is in it: what one order
    has learned, the others need not ask.
    """

    RESTARTING = "restarting"
    DISABLED = "disabled"
    CANCEL_ONLY = "cancel_only"
    POST_ONLY = "post_only"
    """Only orders that rest in the book are taken, and ours never do."""
    REGION_BLOCKED = "region_blocked"
    CLOSED_ONLY = "closed_only"
    """Of one wallet: it may only close its positions."""


GATE_BY_TEXT = {
    "trading is currently disabled": Gate.DISABLED,
    "trading is currently cancel-only": Gate.CANCEL_ONLY,
    "post-only mode": Gate.POST_ONLY,
}
GATE_BY_REFUSAL = {
    "trading restricted in your region": Gate.REGION_BLOCKED,
    "closed only mode": Gate.CLOSED_ONLY,
}


def find_gate(status: int, text: str) -> Gate | None:
    """Of a reply by which an order was not taken now; None: it says nothing of other orders."""
    by_status = Gate.RESTARTING if status == HTTPStatus.TOO_EARLY else None
    return _find_by_text(GATE_BY_TEXT, text) or by_status


def find_refusing_gate(text: str) -> Gate | None:
    """Of a refusal; None: it says nothing of other orders. By the venue's own text alone: a 403
    with another text may be about one order.
    """
    return _find_by_text(GATE_BY_REFUSAL, text)


def _find_by_text(gates: Mapping[str, Gate], text: str) -> Gate | None:
    lowered = text.lower()
    return next((gate for part, gate in gates.items() if part in lowered), None)
