"""What tells a settlement that was sent again from another trade that looks like it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    before = "Null, as the next four: from before they were kept; such a row is nobody's neighbour"
    waits, filled = (
        "It counts once its own transaction is in a block",
        "When the venue or the block says that it happened",
    )
    for column in (
        sa.Column("leader", sa.Text(), nullable=True, comment=before),
        sa.Column("transaction_hash", sa.Text(), nullable=True),
        sa.Column("token_id", sa.Text(), nullable=True),
        sa.Column("side", sa.Text(), nullable=True),
        sa.Column("filled_at", sa.DateTime(timezone=True), nullable=True, comment=filled),
        sa.Column(
            "waits", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment=waits
        ),
    ):
        op.add_column("fills", column, schema="ingest")
    op.create_index("fills_by_leader", "fills", ["leader", "filled_at"], schema="ingest")
    told = sa.text("witness = 'rtds'")
    op.create_index(
        "fills_told",
        "fills",
        ["leader", "row_id", "filled_at"],
        schema="ingest",
        postgresql_where=told,
    )
    resent_of = "The trade as which it was copied already; empty: copied as this one"
    fill = (
        "JSON, of a part that was copied as another trade: the row to tell again if the two are two"
    )
    op.add_column(
        "parts",
        sa.Column("resent_of", sa.Text(), server_default="", nullable=False, comment=resent_of),
        schema="ingest",
    )
    op.add_column(
        "parts", sa.Column("fill", sa.Text(), nullable=True, comment=fill), schema="ingest"
    )
    op.drop_constraint("parts_pkey", "parts", schema="ingest")
    op.create_primary_key(
        "parts_pkey", "parts", ["trade_id", "from_shares", "resent_of"], schema="ingest"
    )
    op.create_index(
        "parts_resent",
        "parts",
        ["resent_of"],
        schema="ingest",
        postgresql_where=sa.text("resent_of <> ''"),
    )


def downgrade() -> None:
    op.drop_index("parts_resent", "parts", schema="ingest")
    op.execute("delete from ingest.parts where resent_of <> ''")
    op.drop_constraint("parts_pkey", "parts", schema="ingest")
    op.create_primary_key("parts_pkey", "parts", ["trade_id", "from_shares"], schema="ingest")
    for name in ("fill", "resent_of"):
        op.drop_column("parts", name, schema="ingest")
    op.drop_index("fills_told", "fills", schema="ingest")
    op.drop_index("fills_by_leader", "fills", schema="ingest")
    for name in ("waits", "filled_at", "side", "token_id", "transaction_hash", "leader"):
        op.drop_column("fills", name, schema="ingest")
