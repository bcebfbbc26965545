"""Messages that could not be handled, and what was decided about them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("number", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("record_offset", sa.BigInteger(), nullable=False),
        sa.Column(
            "record_at",
            sa.BigInteger(),
            nullable=False,
            comment="When the record was written: milliseconds since 1970",
        ),
        sa.Column("record_key", sa.LargeBinary(), nullable=False),
        sa.Column("record_value", sa.LargeBinary(), nullable=False),
        sa.Column(
            "record_headers", sa.Text(), nullable=False, comment="JSON: pairs of name and base64"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint(
            "service", "topic", "partition", "record_offset", name="dead_letters_record"
        ),
        schema="control",
        comment="Messages that could not be handled, and those that wait behind them.",
    )
    op.create_index(
        "dead_letters_open",
        "dead_letters",
        ["service", "topic", "record_key"],
        schema="control",
        postgresql_where=sa.text("state in ('parked', 'waiting', 'redriving')"),
    )
    op.create_table(
        "dead_letter_decisions",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        schema="control",
        comment="Who redrove or discarded which parked message, and why. Appended only.",
    )
    op.create_index(
        "dead_letter_decisions_by_number", "dead_letter_decisions", ["number"], schema="control"
    )


def downgrade() -> None:
    op.drop_table("dead_letter_decisions", schema="control")
    op.drop_table("dead_letters", schema="control")
