"""Counts what a follower's entries are limited by: his open positions and his recent entries.

Both are counted twice: when an entry is judged, and again when it is recorded, while the row of the
follower's caps is locked: of two processes that judged at the same time, the later one counts the
other's entry.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.preflight.adapters.caps import LimitExceeded
from services.preflight.adapters.newest_copies import SQL_HAS_ENDED
from services.preflight.adapters.reservations import sql_recent_entries
from services.preflight.decisions import ENTRIES_WINDOW
from shared.db import tables
from shared.db.engine import fetch_rows
from shared.db.sql import Batch
from shared.domain.money import MIN_REMAINDER_SHARES
from shared.messages.intents import IntentApproved

SQL_OPEN_TOKENS = f"""array(
    select p.token_id from preflight.positions p
    where p.proxy = q.proxy and p.shares >= {MIN_REMAINDER_SHARES} and not {SQL_HAS_ENDED}
    union
    select r.token_id from preflight.reservations r
    where r.proxy = q.proxy and r.settled_at is null and r.side = 'BUY'
      and r.intent_id <> q.intent_id
)"""
"""Of the query's proxy, without what its intent itself is buying."""

SQL_RECENT_ENTRIES = sql_recent_entries("count(*)")
ENTRIES = Batch.from_table(tables.reservations, "intent_id", "proxy", entries_since="timestamptz")
COUNT_OTHERS = f"""
select q.intent_id, {SQL_OPEN_TOKENS} as open_tokens, {SQL_RECENT_ENTRIES} as recent_entries
from {ENTRIES.unnest("q")}
"""


async def require_room(connection: AsyncConnection, entries: Sequence[IntentApproved]) -> None:
    """Count again for entries that are recorded and whose caps are reserved in this transaction.

    Raises: LimitExceeded; then nothing may be committed. Transient.
    """
    limited = [each for each in entries if is_limited(each)]
    if not limited:
        return
    rows = await fetch_rows(
        connection, COUNT_OTHERS, **ENTRIES.parameters([_build_query(each) for each in limited])
    )
    others = {row.intent_id: row for row in rows}
    for each in limited:
        _require_position(each, frozenset(others[each.intent_id].open_tokens))
        _require_rate(each, others[each.intent_id].recent_entries)


def is_limited(entry: IntentApproved) -> bool:
    """Whether anything is counted of it here. No exit is: not to exit is a risk of its own."""
    facts = entry.facts
    return facts.max_open_positions is not None or facts.max_entries_per_minute is not None


def _build_query(entry: IntentApproved) -> dict[str, Any]:
    return {
        "intent_id": entry.intent_id,
        "proxy": entry.intent.proxy,
        "entries_since": entry.occurred_at - ENTRIES_WINDOW,
    }


def _require_position(entry: IntentApproved, other_tokens: frozenset[str]) -> None:
    limit = entry.facts.max_open_positions
    if limit is None or entry.intent.token_id in other_tokens:
        return
    if len(other_tokens) + 1 > limit:
        raise LimitExceeded("the open positions")


def _require_rate(entry: IntentApproved, other_entries: int) -> None:
    limit = entry.facts.max_entries_per_minute
    if limit is not None and other_entries + 1 > limit:
        raise LimitExceeded("the entries per minute")
