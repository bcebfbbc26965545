"""The prices of leaders' fills: a settlement that is sent again has those of its match."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "fills",
        sa.Column(
            "lowest_price",
            sa.Numeric(),
            comment="USDC per share: of the row, or of the whole trade where the source reports it "
            "whole; null in old rows",
        ),
        schema="ingest",
    )
    op.add_column(
        "fills",
        sa.Column("highest_price", sa.Numeric(), comment="As lowest_price"),
        schema="ingest",
    )


def downgrade() -> None:
    """The rows in slices lose the fields that the older release cannot read. In a text of their
    JSON, quotes are escaped: no title is changed.
    """
    op.execute(
        "update ingest.copy_slices set fill = "
        """regexp_replace(fill, '"(lowest|highest)_price":("[^"]*"|null),', '', 'g') """
        """where fill like '%"lowest_price":%' or fill like '%"highest_price":%'"""
    )
    op.drop_column("fills", "highest_price", schema="ingest")
    op.drop_column("fills", "lowest_price", schema="ingest")
