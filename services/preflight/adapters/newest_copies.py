"""The newest copy of each follow and token: whether its market has ended, and whether the leader
has traded since a level was read. It is recorded with the verdict, so that neither is looked for in
the history of intents.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.preflight.adapters.levels import NOT_COPIED
from services.preflight.decisions import Verdict
from shared.db import tables
from shared.db.engine import fetch_rows
from shared.db.sql import Batch
from shared.domain.money import Side
from shared.messages.intents import CopyCause, Intent, IntentApproved, IntentRefused
from shared.messages.refusals import Refusal

Key = tuple[str, str]
"""A follow, by its id, and a token."""

SQL_HAS_ENDED = """coalesce((
    select c.has_ended from preflight.newest_copies c
    where c.follow_id = p.follow_id and c.token_id = p.token_id
), false)"""
"""Whether the newest copy of a position ``p`` found no market: what is left of it is redeemed and
not sold, so that it would count for ever."""

SQL_IS_TRADED_SINCE = """coalesce((
    select c.traded_at > q.accounted_through from preflight.newest_copies c
    where c.follow_id = q.follow_id and c.token_id = q.token_id
), false)"""
"""Whether a trade of the query's follow and token was judged after a time; false without one."""

COPIES = Batch.from_table(
    tables.newest_copies, "follow_id", "token_id", "proxy", "judged_at", "has_ended", "traded_at"
)


def sql_record_copies(source: str) -> str:
    """Record the newest copies of each follow and token; ``source``: SQL of rows ``g`` with the
    columns of ``COPIES``, one for each copy.
    """
    return f"""
insert into preflight.newest_copies as c ({COPIES.names})
select g.follow_id, g.token_id, min(g.proxy), max(g.judged_at),
       (array_agg(g.has_ended order by g.judged_at desc))[1], max(g.traded_at)
from {source}
group by g.follow_id, g.token_id
order by g.follow_id, g.token_id
on conflict (follow_id, token_id) do update
set has_ended = case when excluded.judged_at >= c.judged_at then excluded.has_ended
                     else c.has_ended end,
    judged_at = greatest(c.judged_at, excluded.judged_at),
    traded_at = greatest(c.traded_at, excluded.traded_at)
returning follow_id, token_id, traded_at
"""


RECORD_COPIES = sql_record_copies(COPIES.unnest("g"))
"""Another instance may have recorded a later copy already."""


class TradedMeanwhile(Exception):
    """A trade of the leader was judged that a level does not take into account."""


def accounted_through(intent: Intent) -> datetime | None:
    """Until when the trades were judged that the intent's level takes into account; None where a
    later one does not matter to it.
    """
    if intent.level is None or intent.continues or intent.cause is CopyCause.ENDED:
        return None
    return intent.level.accounted_through


async def record_newest_copies(connection: AsyncConnection, verdicts: Sequence[Verdict]) -> None:
    """Record the copies that were judged, in the transaction that records their verdicts.

    Raises: TradedMeanwhile where a trade was judged, as by another instance, that an approved level
    does not take into account; then nothing may be committed. Transient.
    """
    rows = [build_copy_row(verdict) for verdict in verdicts if is_copy(verdict)]
    if not rows:
        return
    recorded = await fetch_rows(connection, RECORD_COPIES, **COPIES.parameters(rows))
    traded_at = {(row.follow_id, row.token_id): row.traded_at for row in recorded}
    for verdict in verdicts:
        through = accounted_through(verdict.intent)
        if through is None or not isinstance(verdict, IntentApproved):
            continue
        newest = traded_at[_key(verdict.intent)]
        if newest is not None and newest > through:
            raise TradedMeanwhile(verdict.intent_id)


def is_copy(verdict: Verdict) -> bool:
    """Whether the verdict counts as a copy. A later attempt of an exit is none of its own, and what
    may have been pruned is not new.
    """
    return not verdict.intent.continues and _reason(verdict) is not Refusal.BEFORE_HISTORY


def build_copy_row(verdict: Verdict) -> dict[str, Any]:
    intent = verdict.intent
    return {
        "follow_id": intent.follow_id,
        "token_id": intent.token_id,
        "proxy": intent.proxy,
        "judged_at": verdict.occurred_at,
        "has_ended": _reason(verdict) is Refusal.NO_MARKET,
        "traded_at": verdict.occurred_at if _is_accounted_trade(verdict) else None,
    }


def _key(intent: Intent) -> Key:
    return intent.follow_id, intent.token_id


def _reason(verdict: Verdict) -> Refusal | None:
    return verdict.reason if isinstance(verdict, IntentRefused) else None


def _is_accounted_trade(verdict: Verdict) -> bool:
    """As ``levels.LOAD_TRADES`` has it: a copy of a trade that is not missed."""
    if verdict.intent.cause is not CopyCause.TRADE or _reason(verdict) in NOT_COPIED:
        return False
    adds_something = verdict.intent.side is Side.SELL or verdict.intent.usdc > 0
    return not (_reason(verdict) is Refusal.TRADE_TOO_OLD and adds_something)
