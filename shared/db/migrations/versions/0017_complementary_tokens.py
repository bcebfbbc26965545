"""The complementary tokens of leaders' tokens, for follows in the counter direction."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "complements",
        sa.Column("token_id", sa.Text(), primary_key=True),
        sa.Column("complement_id", sa.Text(), nullable=False),
        sa.Column(
            "outcome",
            sa.Text(),
            nullable=False,
            comment="Of the complement; empty: the venue did not say",
        ),
        schema="ingest",
        comment="The other token of a binary market, once it was looked up; it never changes.",
    )


def downgrade() -> None:
    op.drop_table("complements", schema="ingest")
