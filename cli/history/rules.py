"""Which rows may leave, and who still needs the others.

A table whose keys begin with the day of an intent leaves by partition, a week at once. The tables
here leave row by row: their keys come from the chain, or their rows change. Whatever a sum, a cap,
a carried amount, an open exit or a comparison of levels reads stays, however old it is. Never do
debts, follows, modes and their versions, complements and cursors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Table

from services.preflight.adapters.levels import COPIES, IS_COPY_OF_TRADE, IS_MISSED
from shared.db import tables
from shared.db.partitions import key_column
from shared.db.sql import literals
from shared.domain.money import MIN_REMAINDER_SHARES
from shared.domain.terms import EntryMode
from shared.streams.dead_letter_store import OPEN_DEAD_LETTER_STATES

BEFORE = "0001-01-01"
"""The week of ids of earlier releases, which have no day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule:
    """Rows of a table, which has the alias ``r``, that leave one by one."""

    table: str
    """With its schema."""
    keys: tuple[str, ...]
    at: str
    """SQL: the time that decides in which week a row leaves."""
    source: str = ""
    """SQL: what ``r`` is joined with; empty: nothing."""
    may_leave: str = "true"
    """SQL: whether nobody needs the row any more."""

    @property
    def from_clause(self) -> str:
        return f"{self.table} r {self.source}"


IS_NEWEST_SIZE = """not exists (
    select from ingest.copy_sizes n
    where n.follow_id = {0}.follow_id and n.token_id = {0}.token_id and n.number > {0}.number
)"""
MAY_LEAVE_SIZE = f"""(not {IS_NEWEST_SIZE} or {{0}}.lots = '[]' and not exists (
    select from ingest.copy_sizes n
    where n.follow_id = {{0}}.follow_id and n.token_id = {{0}}.token_id and n.number < {{0}}.number
))"""
"""The newest size of a follow and token says what it carries, and counts its sizes: it leaves after
all others, and only where nothing is carried."""

IS_HELD = f"""exists (
    select from preflight.positions p
    where p.follow_id = r.follow_id and p.token_id = r.token_id
      and p.shares >= {MIN_REMAINDER_SHARES}
)"""
HAS_OPEN_INTENT = """exists (
    select from preflight.reservations o
    where o.proxy = r.proxy and o.settled_at is null
      and o.follow_id = r.follow_id and o.token_id = r.token_id
)"""
HAS_OPEN_EXIT = """exists (
    select from preflight.exits o
    where o.follow_id = r.follow_id and o.token_id = r.token_id and o.state = 'open'
)"""
IS_MIRRORED = f"""(
    select f.active and f.entries = '{EntryMode.MIRROR}' from control.follows f
    where f.follow_id = r.follow_id order by f.version desc limit 1
)"""
IS_CLOSED_DEAD_LETTER = "{}.state not in " + literals(OPEN_DEAD_LETTER_STATES)

ROW_RULES = (
    # Read by trade and by neighbours in time: ten minutes at most, an hour by the check for
    # unsettled trades. What is fed again later is not copied (shared/domain/history.py).
    RowRule(
        table="ingest.fills", keys=("trade_id", "source", "row_id", "row_type"), at="r.seen_at"
    ),
    RowRule(
        table="ingest.copy_sizes",
        keys=("trade_id", "sequence", "follow_id"),
        source="join ingest.copy_slices s on s.trade_id = r.trade_id and s.sequence = r.sequence",
        at="s.intended_at",
        may_leave=MAY_LEAVE_SIZE.format("r"),
    ),
    # As the fills, but for those that a size of before is dated by.
    RowRule(
        table="ingest.copy_slices",
        keys=("trade_id", "from_shares", "resent_of"),
        at="r.intended_at",
        may_leave=f"""not exists (
            select from ingest.copy_sizes z
            where z.trade_id = r.trade_id and z.sequence = r.sequence
              and not {MAY_LEAVE_SIZE.format("z")}
        )""",
    ),
    # An exit that ended is read by its own attempts, and by those that await it. One that left
    # shares is shown to the operator while they are held.
    RowRule(
        table="preflight.exits",
        keys=("exit_id",),
        at="r.updated_at",
        may_leave=f"""(r.state <> 'open' and (r.state = 'done' or not {IS_HELD})
            and not {HAS_OPEN_EXIT} and not {HAS_OPEN_INTENT})""",
    ),
    # What a leader holds is compared while the follow holds shares of it. A follow that mirrors him
    # needs to know what it has seen, unless that is nothing.
    RowRule(
        table="preflight.leader_levels",
        keys=("follow_id", "token_id"),
        at="r.updated_at",
        may_leave=f"""(not {IS_HELD} and not {HAS_OPEN_INTENT} and not {HAS_OPEN_EXIT}
            and (r.leader_shares = 0 or {IS_MIRRORED} is not true))""",
    ),
    RowRule(
        table="control.dead_letter_decisions",
        keys=("number", "made_at"),
        source="join control.dead_letters d on d.number = r.number",
        at="d.resolved_at",
        may_leave=IS_CLOSED_DEAD_LETTER.format("d"),
    ),
    RowRule(
        table="control.dead_letters",
        keys=("number",),
        at="r.resolved_at",
        may_leave=IS_CLOSED_DEAD_LETTER.format("r"),
    ),
)
"""In the order in which they leave."""

EMPTY_ROWS = {
    "preflight.spending_windows": """
        delete from preflight.spending_windows w
        where w.scope in (
            select r.scope from preflight.spending_windows r
            where not exists (
                select from jsonb_object_keys(r.usdc_by_hour) as hour
                where hour >= to_char(cast(:cutoff as timestamptz), 'YYYY-MM-DD"T"HH24')
            )
            limit :limit for update skip locked
        )
    """,
}
"""Rows that say nothing any more, and are deleted without an archive: caps of which nothing counts.
(Preflight itself deletes positions without a share, settled reservations, and the newest copies of
tokens that are not held.)"""

KEPT_INTENTS = f"""
select kept.intent_id
from preflight.positions q
left join preflight.leader_levels l on l.follow_id = q.follow_id and l.token_id = q.token_id
cross join lateral (
    select i.intent_id from {COPIES}
    where l.accounted_at is not null and i.judged_at > l.accounted_at and {IS_COPY_OF_TRADE}
    union all
    select i.intent_id from {COPIES}
    where l.accounted_at is null and {IS_COPY_OF_TRADE} and i.judged_at >= coalesce((
        select i.judged_at from {COPIES}
        where {IS_COPY_OF_TRADE} and not {IS_MISSED}
        order by i.judged_at desc limit 1
    ), '-infinity')
) as kept
where q.shares > 0
"""
"""Intents that are kept when their week leaves: the trades that what a leader holds is compared
with, as ``levels.LOAD_TRADES`` has it, while the follow holds shares of the token. They move to the
partition ``default``."""


def kept_ids(table: Table) -> str:
    """SQL of the keys that stay when a week of the table leaves; empty: none do."""
    return KEPT_INTENTS if table.schema == "preflight" else ""


def default_rule(table: Table) -> RowRule:
    """What leaves of a partitioned table's partition ``default``: what was kept, and whatever was
    written again.
    """
    key, kept = key_column(table), kept_ids(table)
    return RowRule(
        table=f"{table.fullname}_default",
        keys=tuple(column.name for column in table.primary_key.columns),
        at=f"case when r.{key} ~ '^i[0-9]{{8}}' then to_timestamp(substr(r.{key}, 2, 8), "
        f"'YYYYMMDD') else timestamptz '{BEFORE}' end",
        may_leave=f"r.{key} not in ({kept})" if kept else "true",
    )


def partitioned_tables() -> Sequence[Table]:
    """In the order in which they leave: a transaction before its order, and that before its
    intent. What is left after an interruption is never without what it belongs to.
    """
    order = ("tx_monitor", "executor", "preflight")
    found = [each for each in tables.metadata.sorted_tables if "partitioned_by" in each.info]
    return sorted(found, key=lambda each: order.index(each.schema or ""))
