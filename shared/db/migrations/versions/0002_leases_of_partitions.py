"""Which instance of a service may write for a partition."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "token",
            sa.BigInteger(),
            nullable=False,
            comment="Grows with every new holder: what is written with an old one is refused",
        ),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("service", "partition"),
        schema="control",
        comment="Which instance of a service may write for a partition.",
    )


def downgrade() -> None:
    op.drop_table("leases", schema="control")
