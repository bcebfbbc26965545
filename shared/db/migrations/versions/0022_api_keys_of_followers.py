"""The followers' API keys at the venue, encrypted: a restart requests none."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("proxy", sa.Text(), primary_key=True),
        sa.Column(
            "ciphertext",
            sa.LargeBinary(),
            nullable=False,
            comment="Encrypted with a key that is derived from the wallet's private key",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        schema="executor",
        comment="The followers' API keys at the venue. Any row may be deleted: it is derived anew.",
    )


def downgrade() -> None:
    op.drop_table("api_keys", schema="executor")
