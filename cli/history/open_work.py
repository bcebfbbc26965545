"""Which weeks hold work that has not ended: nothing of them leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from cli.history.portions import EARLIER_RELEASES, Portion
from shared.db.engine import fetch_rows
from shared.db.partitions import find_week
from shared.db.sql import literals
from shared.streams.dead_letter_store import OPEN_DEAD_LETTER_STATES

IDS = {
    "copies without a final order": """
        select intent_id as id from preflight.reservations where settled_at is null
    """,
    "orders that are not final": "select intent_id from executor.open_orders",
    "open exits, and what they await": """
        select unnest(exit_id || awaited_entries || awaited_exits) from preflight.exits
        where state = 'open'
    """,
    "delayed entries": "select intent_id from preflight.delayed_entries",
    "watched transactions": "select request_id from tx_monitor.open_watches",
}
"""SQL of the ids of what has not ended: each begins with its day."""
DAYS = {
    kind: f"select left(id, 9) as day, count(*) as n from ({ids}) as open_(id) group by 1"
    for kind, ids in IDS.items()
}
OPEN_DEAD_LETTERS = f"""
select record_at from control.dead_letters
where state in {literals(OPEN_DEAD_LETTER_STATES)} and record_at < :before
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """What has not ended, by kind, of each week; and up to which day dead letters are open."""

    by_week: dict[date, dict[str, int]]
    dead_letters: int
    """That are open, and from before the weeks that are kept."""
    dead_letters_until: date | None
    """The week of the newest of them: a dead letter can be about any copy of before it."""

    def hold(self, portion: Portion) -> str:
        """Why nothing of the portion's week may leave; empty: it may."""
        kinds = self.by_week.get(portion.first_day, {})
        reasons = [f"{n} {kind}" for kind, n in kinds.items()]
        until = self.dead_letters_until
        if until is not None and portion.first_day <= until:
            reasons.append(f"{self.dead_letters} open dead letters")
        return ", ".join(reasons)


async def load_open_work(connection: AsyncConnection, *, kept_from: date) -> OpenWork:
    """Raises: Transient."""
    by_week: dict[date, dict[str, int]] = {}
    for kind, statement in DAYS.items():
        for row in await fetch_rows(connection, statement):
            week = by_week.setdefault(_find_first_day(row.day), {})
            week[kind] = week.get(kind, 0) + row.n
    before = datetime(kept_from.year, kept_from.month, kept_from.day, tzinfo=UTC)
    parked = await fetch_rows(connection, OPEN_DEAD_LETTERS, before=int(before.timestamp() * 1000))
    return OpenWork(
        by_week=by_week,
        dead_letters=len(parked),
        dead_letters_until=_find_newest_week([row.record_at for row in parked]),
    )


def _find_first_day(day: str) -> date:
    """Of an id that begins with ``i20261119``; other ids have no day."""
    if day.startswith("i") and day[1:].isdecimal() and len(day) == 9:
        return find_week(date.fromisoformat(day[1:])).first_day
    return EARLIER_RELEASES


def _find_newest_week(milliseconds: Sequence[int]) -> date | None:
    """Of records at these times; of one without a time, as 1970."""
    if not milliseconds:
        return None
    newest = datetime.fromtimestamp(max(0, max(milliseconds)) / 1000, UTC)
    return find_week(newest.date()).first_day
