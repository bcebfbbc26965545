"""Ids that are derived from what they identify, so that the same thing always has the same id."""

import hashlib

SEPARATOR = "\x1f"
"""Occurs in no address, hash, number or name: different lists of parts give different texts."""


def derived_id(kind: str, *parts: object) -> str:
    """Return 32 hex digits (128 bits) of SHA-256 over ``kind`` and ``parts``."""
    return hashlib.sha256(SEPARATOR.join([kind, *map(str, parts)]).encode()).hexdigest()[:32]


def trade_id(*, transaction_hash: str, leader: str, token_id: str, side: str) -> str:
    """Return the id of a leader's trade: all his fills of one token and side in a transaction."""
    return derived_id("trade", transaction_hash.lower(), leader.lower(), token_id, side)


def intent_id(*, trade: str, from_shares: int, follow_id: str) -> str:
    """Return the id of an intent: the copy of one slice of a leader's trade for one follow."""
    return derived_id("intent", trade, from_shares, follow_id)


def continuation_id(exit_id: str, number: int) -> str:
    """Return the id of the intent that attempts an exit again, after ``number`` attempts."""
    return derived_id("continuation", exit_id, number)


def follow_id(*, leader: str, proxy: str) -> str:
    """Return the id of a follow: one leader copied into one proxy."""
    return derived_id("follow", leader.lower(), proxy.lower())
