"""What an exit was to sell and of which intent, so that what is left of it can go around again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    asked, intent = (
        "Micro-shares that an exit was to sell; 0 on an entry",
        "JSON, of an exit: what is left of it may go around again",
    )
    for column in (
        sa.Column(
            "asked_shares", sa.BigInteger(), server_default="0", nullable=False, comment=asked
        ),
        sa.Column("intent", sa.Text(), server_default="", nullable=False, comment=intent),
    ):
        op.add_column("orders", column, schema="executor")
    op.create_index(
        "orders_with_remainder",
        "orders",
        ["expires_at"],
        schema="executor",
        postgresql_where=sa.text(
            "intent <> '' and asked_shares - shares >= 100000 and (state = "
            "'confirmed' or (state = 'killed' and told = 'killed'))"
        ),
    )


def downgrade() -> None:
    op.drop_index("orders_with_remainder", "orders", schema="executor")
    for name in ("intent", "asked_shares"):
        op.drop_column("orders", name, schema="executor")
