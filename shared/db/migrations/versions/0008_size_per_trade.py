"""Slices have a sequence, so that each is sized by the trade so far; rows have a type."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NUMBER_SLICES = """
update ingest.copy_slices as slices set sequence = numbered.sequence
from (
    select trade_id, from_shares, resent_of,
           row_number() over (
               partition by trade_id order by intended_at, resent_of = '', from_shares, resent_of
           ) - 1 as sequence
    from ingest.copy_slices
) as numbered
where (slices.trade_id, slices.from_shares, slices.resent_of)
    = (numbered.trade_id, numbered.from_shares, numbered.resent_of)
"""
"""In the order in which one row's slices are decided: the resent ones first."""

DELETE_ROWS_OF_SECOND_TYPES = """
delete from ingest.fills as rows using ingest.fills as other
where (rows.trade_id, rows.source, rows.row_id) = (other.trade_id, other.source, other.row_id)
  and rows.row_type > other.row_type
"""


def upgrade() -> None:
    op.add_column("fills", build_row_type(), schema="ingest")
    change_key("fills", "trade_id", "source", "row_id", "row_type")
    for column in (
        build_row_type(),
        sa.Column("sequence", sa.Integer(), comment="Slices of the trade before this one"),
        sa.Column("leader_usdc", sa.BigInteger(), comment="Null in old rows"),
        sa.Column("leader_held_shares", sa.BigInteger(), comment="Before the sale; null on a BUY"),
    ):
        op.add_column("copy_slices", column, schema="ingest")
    op.execute(NUMBER_SLICES)
    op.alter_column("copy_slices", "sequence", nullable=False, schema="ingest")
    op.create_index(
        "copy_slices_sequence",
        "copy_slices",
        ["trade_id", "sequence"],
        unique=True,
        schema="ingest",
    )


def downgrade() -> None:
    op.drop_index("copy_slices_sequence", "copy_slices", schema="ingest")
    for name in ("leader_held_shares", "leader_usdc", "sequence", "row_type"):
        op.drop_column("copy_slices", name, schema="ingest")
    op.execute(DELETE_ROWS_OF_SECOND_TYPES)
    change_key("fills", "trade_id", "source", "row_id")
    op.drop_column("fills", "row_type", schema="ingest")


def build_row_type() -> sa.Column[str]:
    return sa.Column("row_type", sa.Text(), server_default="", nullable=False)


def change_key(table: str, *columns: str) -> None:
    op.drop_constraint(f"{table}_pkey", table, schema="ingest")
    op.create_primary_key(f"{table}_pkey", table, list(columns), schema="ingest")
