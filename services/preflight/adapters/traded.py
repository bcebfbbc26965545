"""Whether the leader has traded since a level was read, by what was judged."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.preflight.adapters.levels import SQL_IS_TRADED_SINCE
from services.preflight.decisions import Verdict
from shared.db.engine import fetch_rows
from shared.db.sql import Batch
from shared.messages.intents import CopyCause, Intent, IntentApproved

TRADED_QUERIES = Batch(
    {
        "intent_id": "text",
        "follow_id": "text",
        "token_id": "text",
        "accounted_through": "timestamptz",
    }
)
LOAD_TRADED = f"""
select q.intent_id from {TRADED_QUERIES.unnest("q")} where {SQL_IS_TRADED_SINCE}
"""


class TradedMeanwhile(Exception):
    """A trade of the leader was judged that a level does not take into account."""


def accounted_through(intent: Intent) -> datetime | None:
    """Until when the trades were judged that the intent's level takes into account; None where a
    later one does not matter to it.
    """
    if intent.level is None or intent.continues or intent.cause is CopyCause.ENDED:
        return None
    return intent.level.accounted_through


async def require_untraded(connection: AsyncConnection, verdicts: Sequence[Verdict]) -> None:
    """Check again that no trade was judged meanwhile, as by another instance, that an approved
    level does not take into account. Raises: TradedMeanwhile; then nothing may be committed.
    """
    queries = [
        {
            "intent_id": verdict.intent_id,
            "follow_id": verdict.intent.follow_id,
            "token_id": verdict.intent.token_id,
            "accounted_through": accounted_through(verdict.intent),
        }
        for verdict in verdicts
        if isinstance(verdict, IntentApproved) and accounted_through(verdict.intent) is not None
    ]
    if queries:
        rows = await fetch_rows(connection, LOAD_TRADED, **TRADED_QUERIES.parameters(queries))
        if rows:
            raise TradedMeanwhile(rows[0].intent_id)
