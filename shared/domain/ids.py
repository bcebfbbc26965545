"""Identities that are derived from what they name, so that the same thing seen twice has the same
id.
"""

import hashlib

SEPARATOR = "\x1f"
"""Stands in no address, hash, number or name, so that no two lists of parts give the same text."""


def derived_id(kind: str, *parts: object) -> str:
    """32 hex digits (128 bits) of SHA-256 over ``kind`` and ``parts``."""
    return hashlib.sha256(SEPARATOR.join([kind, *map(str, parts)]).encode()).hexdigest()[:32]


def trade_id(*, transaction_hash: str, leader: str, token_id: str, side: str) -> str:
    """A leader's trade: all his fills of one token and side in one transaction, from whichever
    feed.
    """
    return derived_id("trade", transaction_hash.lower(), leader.lower(), token_id, side)


def intent_id(*, trade: str, from_shares: int, follow_id: str) -> str:
    """The copy of one part of a leader's trade for one follow: the unit of idempotency."""
    return derived_id("intent", trade, from_shares, follow_id)


def remainder_id(intent: str) -> str:
    """What the order of an intent has left over: an intent of its own, one for each."""
    return derived_id("remainder", intent)


def follow_id(*, leader: str, proxy: str) -> str:
    """A follower's standing wish to copy a leader."""
    return derived_id("follow", leader.lower(), proxy.lower())
