"""Daily caps count what is reserved in any 24 hours, by the hour, instead of a UTC day."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SCOPES = "follow:ID, follower:ADDRESS, token:ID or global"
CAP_SCOPES = (
    "The scopes of {} that it counts in; null: from before they were kept, its follow and its "
    "follower"
)
DAY = "UTC day that the cap was reserved on"
UNUSED_DAY = "Not written any more: judged_at has it. To be dropped in a later release"
CAP_SCOPES_OF_INTENTS = "coalesce(cap_scopes, array['follow:' || follow_id, 'follower:' || proxy])"


def upgrade() -> None:
    """The new caps count the entries of the last two days, with what they reserve or spent."""
    op.create_table(
        "spending_windows",
        sa.Column("scope", sa.Text(), primary_key=True, comment=SCOPES),
        sa.Column(
            "usdc_by_hour",
            postgresql.JSONB(),
            nullable=False,
            comment="Micro-USDC by UTC hour (2026-01-31T13), of the last two days",
        ),
        schema="preflight",
        comment="What the approved copies count against the daily cap of a scope.",
    )
    op.execute(f"""
        insert into preflight.spending_windows (scope, usdc_by_hour)
        select each.scope, jsonb_object_agg(each.hour, each.usdc)
        from (
            select scope, to_char(judged_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24') as hour,
                   sum(cap_usdc)::bigint as usdc
            from preflight.intents, unnest({CAP_SCOPES_OF_INTENTS}) as of(scope)
            where cap_usdc > 0 and judged_at > now() - interval '48 hours'
            group by 1, 2
        ) as each
        group by each.scope
    """)
    # A process of the release before must not reserve beside the new windows: without its table it
    # fails.
    op.drop_table("spending", schema="preflight")
    op.alter_column(
        "intents",
        "day",
        schema="preflight",
        nullable=True,
        comment=UNUSED_DAY,
        existing_comment=DAY,
    )
    _comment_scopes("spending_windows", before="spending")


def downgrade() -> None:
    """The caps count by UTC day again; those of the days before count nothing any more."""
    op.execute("update preflight.intents set day = (judged_at at time zone 'UTC')::date")
    op.alter_column(
        "intents",
        "day",
        schema="preflight",
        nullable=False,
        comment=DAY,
        existing_comment=UNUSED_DAY,
    )
    op.create_table(
        "spending",
        sa.Column("scope", sa.Text(), primary_key=True, comment=SCOPES),
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("spent_usdc", sa.BigInteger(), nullable=False),
        schema="preflight",
        comment="What the approved copies of a UTC day count against the daily cap of a scope.",
    )
    op.execute(f"""
        insert into preflight.spending (scope, day, spent_usdc)
        select scope, day, sum(cap_usdc)::bigint
        from preflight.intents, unnest({CAP_SCOPES_OF_INTENTS}) as of(scope)
        where cap_usdc > 0
        group by scope, day
    """)
    op.drop_table("spending_windows", schema="preflight")
    _comment_scopes("spending", before="spending_windows")


def _comment_scopes(table: str, *, before: str) -> None:
    op.alter_column(
        "intents",
        "cap_scopes",
        schema="preflight",
        comment=CAP_SCOPES.format(table),
        existing_comment=CAP_SCOPES.format(before),
    )
