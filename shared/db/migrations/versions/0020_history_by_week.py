"""What a copy is judged by is apart from the history of intents, which is partitioned by week.

The old table becomes the partition of the verdicts about its intents, so that no verdict is copied.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)
SCHEMA = "preflight"

IN_BOTH = (
    "intent_id, proxy, follow_id, token_id, side, exit_id, state, reason, judged_at, settled_at, "
    "reserved_usdc, reserved_shares, cap_usdc, filled_shares"
)
RESERVED = (
    "intent_id, proxy, follow_id, token_id, side, reserved_usdc, reserved_shares, cap_usdc, "
    "cap_scopes, judged_at, settled_at"
)
RECENT = "now() - interval '10 minutes'"
"""Longer than a balance is used that may not show what was settled."""
JUDGED_LATELY = "now() - interval '2 days'"
"""Longer than a level may be acted on that was read before a trade was judged."""

INTENT = (
    r"cast(regexp_replace(nullif(i.verdict, ''), '(?<!\\)((\\\\)*)\\u0000', '\1', 'g') as json) "
    "-> 'intent'"
)
IS_FIRST = (
    "i.follow_id = o.follow_id and i.token_id = o.token_id and i.exit_id in ('', i.intent_id)"
)
IS_ACCOUNTED_TRADE = f"""
{IS_FIRST} and i.reason <> 'already_reconciled'
and coalesce({INTENT} ->> 'cause', 'trade') = 'trade'
and not (i.reason = 'trade_too_old'
         and (i.side = 'SELL' or cast({INTENT} ->> 'usdc' as bigint) > 0))
"""

DATES = r"""
select (now() at time zone 'UTC')::date as today, (
    select to_date(min(substr(intent_id, 2, 8)), 'YYYYMMDD') from preflight.verdicts_before
    where intent_id >= 'i' and intent_id ~ '^i\d{8}-'
) as oldest
"""

FEW_ROWS = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000"
STORAGE = {
    "reservations": FEW_ROWS,
    "delayed_entries": FEW_ROWS,
    "exits": FEW_ROWS,
    "newest_copies": f"{FEW_ROWS}, fillfactor = 60",
    "spending_windows": f"{FEW_ROWS}, fillfactor = 60",
    "positions": f"{FEW_ROWS}, fillfactor = 60",
    "leader_levels": f"{FEW_ROWS}, fillfactor = 60",
}
STORAGE_OF_INTENTS = "with (fillfactor = 80)"

RESERVED_USDC = "Reserved while open; the amount that was spent once settled"
CAP_USDC = "The amount that counts against the daily caps"
CAP_SCOPES = (
    "The scopes of spending_windows that it counts in; null: from before they were kept, its "
    "follow and its follower"
)
EXIT_ID = "The exit that it is an attempt of; empty for an entry"
FILLED_SHARES = "Micro-shares bought or sold, once settled"
VERDICT = "JSON, as published: redeliveries repeat it"
POSITIONS = "What each follow holds by its settled copies: no exit sells more of it."
NO_SHARES = " A row of 0 shares says the same as none, and is deleted."


def upgrade() -> None:
    op.execute("lock table preflight.intents in access exclusive mode")
    create_reservations()
    create_newest_copies()
    move_verdicts()
    move_intents()
    op.drop_index("positions_held", "positions", schema=SCHEMA)
    comment_positions(POSITIONS + NO_SHARES, before=POSITIONS)
    for table, parameters in STORAGE.items():
        op.execute(f"alter table preflight.{table} set ({parameters})")


def create_reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("intent_id", sa.Text(), primary_key=True),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("follow_id", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("reserved_usdc", sa.BigInteger(), nullable=False, comment=RESERVED_USDC),
        sa.Column("reserved_shares", sa.BigInteger(), nullable=False),
        sa.Column("cap_usdc", sa.BigInteger(), nullable=False, comment=CAP_USDC),
        sa.Column("cap_scopes", sa.ARRAY(sa.Text()), comment=CAP_SCOPES),
        sa.Column("judged_at", TIMESTAMP, nullable=False),
        sa.Column("settled_at", TIMESTAMP),
        schema=SCHEMA,
        comment="One row per approved intent that is open, or was settled so recently that a "
        "balance may not show it yet.",
    )
    op.execute(
        f"insert into preflight.reservations ({RESERVED}) select {RESERVED} "
        "from preflight.intents where settled_at is null "
        f"or state <> 'refused' and settled_at > {RECENT}"
    )
    op.create_index("reservations_by_proxy", "reservations", ["proxy", "settled_at"], schema=SCHEMA)


def create_newest_copies() -> None:
    op.create_table(
        "newest_copies",
        sa.Column("follow_id", sa.Text(), primary_key=True),
        sa.Column("token_id", sa.Text(), primary_key=True),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("judged_at", TIMESTAMP, nullable=False),
        sa.Column(
            "has_ended",
            sa.Boolean(),
            nullable=False,
            comment="Whether it found no market: what is held is redeemed and not sold",
        ),
        sa.Column(
            "traded_at",
            TIMESTAMP,
            comment="When the newest copy of a trade was judged that is accounted for; null: none "
            "was",
        ),
        schema=SCHEMA,
        comment="The newest copy of each follow and token that is held or was judged lately, "
        "without the later attempts of exits.",
    )
    op.execute(f"""
        insert into preflight.newest_copies
        select o.follow_id, o.token_id, newest.proxy, newest.judged_at, newest.has_ended, (
            select i.judged_at from preflight.intents i
            where {IS_ACCOUNTED_TRADE}
            order by i.judged_at desc limit 1
        )
        from (
            select follow_id, token_id from preflight.positions where shares <> 0
            union
            select follow_id, token_id from preflight.reservations
            union
            select follow_id, token_id from preflight.intents where judged_at > {JUDGED_LATELY}
        ) as o, lateral (
            select i.proxy, i.judged_at, i.reason = 'no_market' and i.state = 'refused' as has_ended
            from preflight.intents i where {IS_FIRST}
            order by i.judged_at desc limit 1
        ) as newest
    """)


def move_verdicts() -> None:
    """The old table stays, as a partition, with the verdicts of the ids that have no day."""
    for name in ("intents_by_proxy", "intents_open_by_follow", "intents_first_by_follow"):
        op.drop_index(name, "intents", schema=SCHEMA)
    op.rename_table("intents", "verdicts_before", schema=SCHEMA)
    op.execute("alter index preflight.intents_pkey rename to verdicts_before_pkey")
    op.create_table(
        "verdicts",
        sa.Column("intent_id", sa.Text(), primary_key=True),
        sa.Column("verdict", sa.Text(), nullable=False, comment=VERDICT),
        sa.Column("traceparent", sa.Text()),
        schema=SCHEMA,
        comment="The verdict of each row of intents. It never changes.",
        postgresql_partition_by="RANGE (intent_id)",
    )
    create_partitions("verdicts")


def move_intents() -> None:
    def text(name: str, comment: str | None = None, default: str | None = None) -> sa.Column[str]:
        return sa.Column(name, sa.Text(), nullable=False, comment=comment, server_default=default)

    op.create_table(
        "intents",
        sa.Column("intent_id", sa.Text(), primary_key=True),
        text("proxy"),
        text("follow_id", default=""),
        text("token_id"),
        text("side", default=""),
        text("exit_id", EXIT_ID, default=""),
        text("state"),
        text("reason", default=""),
        sa.Column("judged_at", TIMESTAMP, nullable=False),
        sa.Column("settled_at", TIMESTAMP),
        sa.Column("reserved_usdc", sa.BigInteger(), nullable=False, comment=RESERVED_USDC),
        sa.Column("reserved_shares", sa.BigInteger(), nullable=False),
        sa.Column("cap_usdc", sa.BigInteger(), nullable=False, comment=CAP_USDC),
        sa.Column(
            "filled_shares",
            sa.BigInteger(),
            nullable=False,
            server_default="0",
            comment=FILLED_SHARES,
        ),
        schema=SCHEMA,
        comment="One row per intent, written before its verdict is published and changed once, "
        "when it is settled: no index has a column that changes.",
        postgresql_partition_by="RANGE (intent_id)",
    )
    create_partitions("intents", STORAGE_OF_INTENTS)
    op.execute(
        "create table preflight.intents_before partition of preflight.intents "
        f"for values from (minvalue) to ('i') {STORAGE_OF_INTENTS}"
    )
    op.execute(
        f"insert into preflight.intents ({IN_BOTH}) select {IN_BOTH} from preflight.verdicts_before"
    )
    op.create_index(
        "intents_first_by_follow",
        "intents",
        ["follow_id", "token_id", "judged_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("exit_id in ('', intent_id)"),
    )
    op.create_index(
        "intents_further_attempts",
        "intents",
        ["exit_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("exit_id not in ('', intent_id)"),
    )
    op.create_index(
        "intents_judged", "intents", ["judged_at"], schema=SCHEMA, postgresql_using="brin"
    )
    attach_old_verdicts()


def attach_old_verdicts() -> None:
    """Its other columns are in ``intents`` now."""
    op.execute(
        "with dated as (delete from preflight.verdicts_before where intent_id >= 'i' returning *) "
        "insert into preflight.verdicts (intent_id, verdict, traceparent) "
        "select intent_id, verdict, traceparent from dated"
    )
    others = (*IN_BOTH.split(", ")[1:], "day", "cap_scopes")
    dropped = ", ".join(f"drop column {name}" for name in others)
    op.execute(f"alter table preflight.verdicts_before {dropped}")
    op.execute("comment on table preflight.verdicts_before is null")
    op.execute(
        "alter table preflight.verdicts attach partition preflight.verdicts_before "
        "for values from (minvalue) to ('i')"
    )


def create_partitions(table: str, storage: str = "") -> None:
    """One for each week that has intents, for the current one and the two after it; and the one of
    what has no other.
    """
    for monday in mondays():
        first, end = (f"i{day:%Y%m%d}" for day in (monday, monday + timedelta(days=7)))
        op.execute(
            f"create table preflight.{table}_{monday:%Y%m%d} partition of preflight.{table} "
            f"for values from ('{first}') to ('{end}') {storage}"
        )
    op.execute(
        f"create table preflight.{table}_default partition of preflight.{table} default {storage}"
    )


def mondays() -> Iterator[date]:
    """Of the weeks from that of the oldest intent whose id has a day."""
    dates = op.get_bind().execute(sa.text(DATES)).one()
    day = min(dates.today, dates.oldest or dates.today)
    monday = day - timedelta(days=day.weekday())
    while monday <= dates.today + timedelta(days=14):
        yield monday
        monday += timedelta(days=7)


def downgrade() -> None:
    """What was settled loses the scopes that it counted in; its amounts stay in their windows."""
    for table, parameters in STORAGE.items():
        names = (each.split(" = ")[0] for each in parameters.split(", "))
        op.execute(f"alter table preflight.{table} reset ({', '.join(names)})")
    comment_positions(POSITIONS, before=POSITIONS + NO_SHARES)
    op.create_index(
        "positions_held",
        "positions",
        ["follow_id", "token_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("shares > 0"),
    )
    op.rename_table("intents", "narrow_intents", schema=SCHEMA)
    for name in ("intents_first_by_follow", "intents_further_attempts", "intents_judged"):
        op.drop_index(name, "narrow_intents", schema=SCHEMA)
    op.execute("alter index preflight.intents_pkey rename to narrow_intents_pkey")
    create_wide_intents()
    columns = ", ".join(f"i.{name}" for name in IN_BOTH.split(", "))
    op.execute(
        f"insert into preflight.intents ({IN_BOTH}, cap_scopes, verdict, traceparent) "
        f"select {columns}, r.cap_scopes, v.verdict, v.traceparent "
        "from preflight.narrow_intents i join preflight.verdicts v using (intent_id) "
        "left join preflight.reservations r using (intent_id)"
    )
    for table in ("narrow_intents", "verdicts", "reservations", "newest_copies"):
        op.drop_table(table, schema=SCHEMA)
    create_indexes_of_wide_intents()


def create_wide_intents() -> None:
    op.create_table(
        "intents",
        sa.Column("intent_id", sa.Text(), primary_key=True),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("reserved_usdc", sa.BigInteger(), nullable=False, comment=RESERVED_USDC),
        sa.Column("reserved_shares", sa.BigInteger(), nullable=False),
        sa.Column("cap_usdc", sa.BigInteger(), nullable=False, comment=CAP_USDC),
        sa.Column(
            "day",
            sa.Date(),
            comment="Not written any more: judged_at has it. To be dropped in a later release",
        ),
        sa.Column("verdict", sa.Text(), nullable=False, comment=VERDICT),
        sa.Column("traceparent", sa.Text()),
        sa.Column("judged_at", TIMESTAMP, nullable=False),
        sa.Column("settled_at", TIMESTAMP),
        sa.Column("follow_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("side", sa.Text(), nullable=False, server_default=""),
        sa.Column("exit_id", sa.Text(), nullable=False, server_default="", comment=EXIT_ID),
        sa.Column(
            "filled_shares",
            sa.BigInteger(),
            nullable=False,
            server_default="0",
            comment=FILLED_SHARES,
        ),
        sa.Column("cap_scopes", postgresql.ARRAY(sa.Text()), comment=CAP_SCOPES),
        schema=SCHEMA,
        comment="One row per intent, written before its verdict is published.",
    )


def create_indexes_of_wide_intents() -> None:
    op.create_index("intents_by_proxy", "intents", ["proxy", "settled_at"], schema=SCHEMA)
    for name, columns, condition in (
        ("intents_open_by_follow", ["follow_id", "token_id"], "settled_at is null"),
        (
            "intents_first_by_follow",
            ["follow_id", "token_id", "judged_at"],
            "exit_id in ('', intent_id)",
        ),
    ):
        op.create_index(
            name, "intents", columns, schema=SCHEMA, postgresql_where=sa.text(condition)
        )


def comment_positions(comment: str, *, before: str) -> None:
    op.create_table_comment("positions", comment, existing_comment=before, schema=SCHEMA)
