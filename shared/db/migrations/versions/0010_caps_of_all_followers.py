"""Caps of all followers together: an intent says which caps it counts against."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SCOPES_BEFORE = "follow:ID or follower:ADDRESS"
SCOPES = "follow:ID, follower:ADDRESS, token:ID or global"


def upgrade() -> None:
    op.add_column(
        "intents",
        sa.Column(
            "cap_scopes",
            sa.ARRAY(sa.Text()),
            comment="The scopes of spending that it counts in; null: from before they were kept, "
            "its follow and its follower",
        ),
        schema="preflight",
    )
    op.alter_column(
        "spending", "scope", schema="preflight", comment=SCOPES, existing_comment=SCOPES_BEFORE
    )


def downgrade() -> None:
    """The caps of all followers are no longer counted; what was reserved of them is forgotten."""
    op.execute("delete from preflight.spending where scope like 'token:%' or scope = 'global'")
    op.alter_column(
        "spending", "scope", schema="preflight", comment=SCOPES_BEFORE, existing_comment=SCOPES
    )
    op.drop_column("intents", "cap_scopes", schema="preflight")
