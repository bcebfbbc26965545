"""What leaders hold, by which exits are intended that no trade calls for."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)
INDEXES = (
    (
        "intents_first_by_follow",
        "intents",
        ["follow_id", "token_id", "judged_at"],
        "exit_id in ('', intent_id)",
    ),
    ("positions_held", "positions", ["follow_id", "token_id"], "shares > 0"),
    ("exits_missed", "exits", ["updated_at"], "state = 'missed'"),
)


def text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, comment=comment)


NEW_FIELDS = (
    "cause",
    "level",
    "leader_usdc",
    "leader_token_id",
    "complement_missing",
    "needs_market_details",
    "carried_usdc",
    "sized_by_equity",
    "leader_equity_usdc",
    "follower_equity_usdc",
)
"""Of an intent: the older release cannot read one that has them."""


def upgrade() -> None:
    op.create_table(
        "leader_levels",
        sa.Column("follow_id", sa.Text(), primary_key=True),
        sa.Column("token_id", sa.Text(), primary_key=True, comment="What the follow holds"),
        text("proxy"),
        text("leader"),
        text("leader_token_id", "What the leader holds"),
        sa.Column(
            "leader_shares",
            sa.BigInteger(),
            nullable=False,
            comment="Micro-shares of the leader that later levels are compared with",
        ),
        sa.Column("block_number", sa.BigInteger(), nullable=False, comment="At which he held them"),
        sa.Column("accounted_at", TIMESTAMP, nullable=False),
        sa.Column("reconciled_through", TIMESTAMP),
        sa.Column("mirrored_through", TIMESTAMP),
        sa.Column(
            "sold_all",
            sa.Text(),
            nullable=False,
            server_default="",
            comment="Which exit of everything was made last: its cause, version and shares",
        ),
        sa.Column("updated_at", TIMESTAMP, nullable=False),
        schema="preflight",
        comment="What a leader held of a token, of each follow that holds shares by copying him.",
    )
    op.alter_column(
        "orders",
        "leader_price",
        schema="executor",
        existing_type=sa.Numeric(),
        nullable=True,
        comment="Null where no trade was copied",
    )
    for name, table, columns, condition in INDEXES:
        op.create_index(
            name, table, columns, schema="preflight", postgresql_where=sa.text(condition)
        )


def downgrade() -> None:
    """The older release knows no exits but those of trades, and no closing."""
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table, schema="preflight")
    op.execute("update executor.orders set leader_price = limit_price where leader_price is null")
    op.alter_column(
        "orders",
        "leader_price",
        schema="executor",
        existing_type=sa.Numeric(),
        nullable=False,
        comment=None,
        existing_comment="Null where no trade was copied",
    )
    op.drop_table("leader_levels", schema="preflight")
    op.execute("update preflight.exits set state = 'unsold' where state = 'missed'")
    _strip_exits()
    op.execute("update control.modes set mode = 'reducing' where mode = 'closing'")


def _strip_exits() -> None:
    """Open exits without a trade end; the others lose what the older release cannot read. In
    Python: a title may contain what ``jsonb`` refuses.
    """
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("select exit_id, intent from preflight.exits where state = 'open'")
    ).all()
    for row in rows:
        intent = json.loads(row.intent)
        if intent["leader_price"] is None:
            connection.execute(
                sa.text(
                    "update preflight.exits set state = 'unsold', next_attempt_at = null, "
                    "reason = 'the older release makes no exit without a trade' "
                    "where exit_id = :exit_id"
                ),
                {"exit_id": row.exit_id},
            )
        known = {name: value for name, value in intent.items() if name not in NEW_FIELDS}
        connection.execute(
            sa.text("update preflight.exits set intent = :intent where exit_id = :exit_id"),
            {"exit_id": row.exit_id, "intent": json.dumps(known)},
        )
