"""Terms of follows: more ways to size a copy, what starts and ends it, and filters."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = (
    ("equity_percent", sa.Numeric(), None, None),
    ("tiers", sa.Text(), "[]", "JSON: sizes by the size of the leader's trade"),
    ("entries", sa.Text(), "trades", "What is bought: trades, mirror or none"),
    (
        "at_end",
        sa.Text(),
        "keep",
        "What happens to its shares when it ends: keep, close_out or follow",
    ),
    ("counter", sa.Boolean(), sa.text("false"), "Whether the complementary outcome is traded"),
    ("filters", sa.Text(), "{}", "JSON: which entries are copied"),
)


def upgrade() -> None:
    for name, kind, default, comment in COLUMNS:
        op.add_column(
            "follows",
            sa.Column(
                name, kind, nullable=default is None, server_default=default, comment=comment
            ),
            schema="control",
        )


def downgrade() -> None:
    """Follows keep the terms that the older release knows; those that it cannot size are ended."""
    op.execute(
        "update control.follows set active = false, fixed_usdc = 1000000 "
        "where percent is null and fixed_usdc is null"
    )
    for name, _, _, _ in COLUMNS:
        op.drop_column("follows", name, schema="control")
