"""Positions and exits per follow, caps per follow and per follower."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)

FIRST_OF_VERDICT = 'substring({alias}verdict from \'"{field}":"([^"]*)"\')'
"""A field of the intent in the JSON of a verdict, where it comes before every free text. Not by way
of ``jsonb``, which refuses a text that contains ``\\u0000``."""


def field(name: str, *, alias: str = "") -> str:
    return FIRST_OF_VERDICT.format(alias=alias, field=name)


def upgrade() -> None:
    upgrade_intents()
    upgrade_spending()
    create_positions()
    create_exits()
    op.add_column(
        "follows",
        sa.Column(
            "exits",
            sa.Text(),
            server_default="proportional",
            nullable=False,
            comment="What is sold when the leader sells: proportional, all or none",
        ),
        schema="control",
    )
    op.drop_index("orders_with_remainder", "orders", schema="executor")
    op.alter_column(
        "orders",
        "intent",
        schema="executor",
        comment="Not written any more: preflight.exits has it. To be dropped in a later release",
        existing_comment="JSON, of an exit: its remainder may be intended again as a new intent",
    )


def upgrade_intents() -> None:
    for column in (
        sa.Column("follow_id", sa.Text(), server_default="", nullable=False),
        sa.Column("side", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "exit_id",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="The exit that it is an attempt of; empty for an entry",
        ),
        sa.Column(
            "filled_shares",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Micro-shares bought or sold, once settled",
        ),
    ):
        op.add_column("intents", column, schema="preflight")
    op.alter_column(
        "intents",
        "cap_usdc",
        schema="preflight",
        comment="The amount that counts against the daily caps",
        existing_comment="The amount that counts against the daily cap",
    )
    op.execute(
        f"update preflight.intents set follow_id = coalesce({field('follow_id')}, ''), "
        f"side = coalesce({field('side')}, '')"
    )
    op.execute(
        "update preflight.intents i set filled_shares = o.shares from executor.orders o "
        "where o.intent_id = i.intent_id and o.state = 'confirmed' and i.settled_at is not null"
    )
    op.create_index(
        "intents_open_by_follow",
        "intents",
        ["follow_id", "token_id"],
        schema="preflight",
        postgresql_where=sa.text("settled_at is null"),
    )


def upgrade_spending() -> None:
    """What a proxy spent becomes what the follower spent; what each follow spent is in intents."""
    op.create_table_comment(
        "spending",
        "What the approved copies of a UTC day count against the daily cap of a scope.",
        existing_comment="What each follower's approved copies of a UTC day count against his cap.",
        schema="preflight",
    )
    op.alter_column(
        "spending",
        "proxy",
        new_column_name="scope",
        schema="preflight",
        comment="follow:ID or follower:ADDRESS",
    )
    op.execute("update preflight.spending set scope = 'follower:' || scope")
    op.execute(
        "insert into preflight.spending (scope, day, spent_usdc) "
        "select 'follow:' || follow_id, day, sum(cap_usdc)::bigint from preflight.intents "
        "where cap_usdc > 0 and follow_id <> '' group by follow_id, day"
    )


def create_positions() -> None:
    op.create_table(
        "positions",
        sa.Column("follow_id", sa.Text(), primary_key=True),
        sa.Column("token_id", sa.Text(), primary_key=True),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column(
            "shares", sa.BigInteger(), nullable=False, comment="Micro-shares bought and not sold"
        ),
        schema="preflight",
        comment="What each follow holds by its settled copies: no exit sells more of it.",
    )
    op.create_index("positions_by_proxy", "positions", ["proxy", "token_id"], schema="preflight")
    op.execute(
        "insert into preflight.positions (follow_id, token_id, proxy, shares) "
        "select follow_id, token_id, min(proxy), "
        "sum(case side when 'BUY' then filled_shares else -filled_shares end)::bigint "
        "from preflight.intents where filled_shares > 0 and follow_id <> '' "
        "group by follow_id, token_id"
    )


def create_exits() -> None:
    def text(name: str, comment: str | None = None) -> sa.Column[str]:
        return sa.Column(name, sa.Text(), nullable=False, comment=comment)

    def number(name: str, comment: str | None = None) -> sa.Column[int]:
        return sa.Column(name, sa.BigInteger(), nullable=False, comment=comment)

    def ids(name: str, comment: str) -> sa.Column[list[str]]:
        return sa.Column(name, sa.ARRAY(sa.Text()), nullable=False, comment=comment)

    op.create_table(
        "exits",
        sa.Column("exit_id", sa.Text(), primary_key=True, comment="The id of its first intent"),
        text("proxy"),
        text("leader"),
        text("follow_id"),
        text("token_id"),
        text("intent", "JSON: its first intent"),
        number(
            "base_shares",
            "Held when it was first judged, less what earlier exits were still to sell",
        ),
        ids("awaited_entries", "Intents to buy that were not settled then"),
        ids("awaited_exits", "Earlier exits whose size was not known then"),
        sa.Column("shares", sa.BigInteger(), comment="To sell in all; null: not known yet"),
        number("sold_shares"),
        number("attempts", "Attempts that were judged"),
        text("state"),
        text("reason", "Why the last attempt left shares unsold"),
        sa.Column("next_attempt_at", TIMESTAMP),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=False),
        sa.Column("traceparent", sa.Text()),
        schema="preflight",
        comment="One row per exit of a follow that held shares, or awaited some.",
    )
    for name, columns, condition in (
        ("exits_open", ["follow_id", "token_id"], "state = 'open'"),
        ("exits_due", ["next_attempt_at"], "next_attempt_at is not null"),
        ("exits_unsold", ["updated_at"], "state = 'unsold'"),
    ):
        op.create_index(
            name, "exits", columns, schema="preflight", postgresql_where=sa.text(condition)
        )


def downgrade() -> None:
    op.alter_column(
        "orders",
        "intent",
        schema="executor",
        comment="JSON, of an exit: its remainder may be intended again as a new intent",
        existing_comment="Not written any more: preflight.exits has it. "
        "To be dropped in a later release",
    )
    op.create_index(
        "orders_with_remainder",
        "orders",
        ["expires_at"],
        schema="executor",
        postgresql_where=sa.text(
            "intent <> '' and requested_shares - shares >= 100000 and (state = "
            "'confirmed' or (state = 'killed' and last_reply = 'killed'))"
        ),
    )
    op.drop_column("follows", "exits", schema="control")
    op.drop_table("exits", schema="preflight")
    op.drop_table("positions", schema="preflight")
    op.execute("delete from preflight.spending where scope like 'follow:%'")
    op.execute("update preflight.spending set scope = substring(scope from 10)")
    op.alter_column(
        "spending",
        "scope",
        new_column_name="proxy",
        schema="preflight",
        comment=None,
        existing_comment="follow:ID or follower:ADDRESS",
    )
    op.create_table_comment(
        "spending",
        "What each follower's approved copies of a UTC day count against his cap.",
        existing_comment="What the approved copies of a UTC day count against the daily cap "
        "of a scope.",
        schema="preflight",
    )
    op.drop_index("intents_open_by_follow", "intents", schema="preflight")
    op.alter_column(
        "intents",
        "cap_usdc",
        schema="preflight",
        comment="The amount that counts against the daily cap",
        existing_comment="The amount that counts against the daily caps",
    )
    for name in ("follow_id", "side", "exit_id", "filled_shares"):
        op.drop_column("intents", name, schema="preflight")
