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


IS_UNKNOWN_TO_OLDER = """
    counter or entries = 'none' or (percent is null and fixed_usdc is null)
    or not cast(filters as jsonb) <@ cast('
        {"min_leader_usdc": 0, "min_price": "0", "max_price": "1", "max_spread_bps": null,
         "min_liquidity_usdc": null, "min_seconds_to_end": null, "max_seconds_to_end": null,
         "tags": [], "excluded_tags": [], "markets": [], "excluded_markets": []}' as jsonb)
"""
"""Terms that the older release would take for others: it would buy what they exclude."""


def downgrade() -> None:
    """Follows whose terms the older release cannot follow are ended."""
    op.execute(
        "update control.follows set active = false, fixed_usdc = case when percent is null "
        f"then coalesce(fixed_usdc, 1000000) end where {IS_UNKNOWN_TO_OLDER}"
    )
    for name, _, _, _ in COLUMNS:
        op.drop_column("follows", name, schema="control")
