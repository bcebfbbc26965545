"""Ids that are derived from what they identify, so that the same thing always has the same id."""

import hashlib
import re
from datetime import UTC, datetime

SEPARATOR = "\x1f"
"""Occurs in no address, hash, number or name: different lists of parts give different texts."""

INTENT_HASH_DIGITS = 24
"""Of the hash in an intent's id: 96 bits."""

_DATED = re.compile(r"(i\d{8})-[0-9a-f]{24}")


def derived_id(kind: str, *parts: object) -> str:
    """Return 32 hex digits (128 bits) of SHA-256 over ``kind`` and ``parts``."""
    return hashlib.sha256(SEPARATOR.join([kind, *map(str, parts)]).encode()).hexdigest()[:32]


def trade_id(*, transaction_hash: str, leader: str, token_id: str, side: str) -> str:
    """Return the id of a leader's trade: all his fills of one token and side in a transaction."""
    return derived_id("trade", transaction_hash.lower(), leader.lower(), token_id, side)


def intent_id(*, trade: str, from_shares: int, follow_id: str, intended_at: datetime | None) -> str:
    """Return the id of an intent: the copy of one slice of a leader's trade for one follow.

    ``intended_at``: as it is recorded with the slice. The hash does not contain it, the id begins
    with its day. None: of a slice of an earlier release, whose intents have ids without a day.
    """
    derived = derived_id("intent", trade, from_shares, follow_id)
    return derived if intended_at is None else _dated(intended_at, derived)


def level_intent_id(*parts: object, read_at: datetime) -> str:
    """Return the id of an intent by a reading of a leader's level: of the same ``parts``, and the
    same time of the reading's block, it is the same.
    """
    return _dated(read_at, derived_id("level", *parts))


def continuation_id(exit_id: str, number: int) -> str:
    """Return the id of the intent that attempts an exit again, after ``number`` attempts. It has
    the day of the exit, whenever it is made.
    """
    continuation = derived_id("continuation", exit_id, number)
    dated = _DATED.fullmatch(exit_id)
    return f"{dated[1]}-{continuation[:INTENT_HASH_DIGITS]}" if dated else continuation


def follow_id(*, leader: str, proxy: str) -> str:
    """Return the id of a follow: one leader copied into one proxy."""
    return derived_id("follow", leader.lower(), proxy.lower())


def _dated(at: datetime, hash_: str) -> str:
    """Ids of one day stand together in an index and in a partition of their tables. ``i`` comes
    after all hexadecimal digits, and so after the ids of earlier releases, which had no day.
    """
    return f"i{at.astimezone(UTC):%Y%m%d}-{hash_[:INTENT_HASH_DIGITS]}"
