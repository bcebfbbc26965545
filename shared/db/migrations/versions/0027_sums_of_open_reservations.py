"""What the open reservations of a follower sum up to, kept as they change."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

STORAGE = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, fillfactor = 60"
FILL = """
insert into preflight.reservation_sums (proxy, open_usdc)
select proxy, sum(reserved_usdc)::bigint from preflight.reservations
where settled_at is null
group by proxy
having sum(reserved_usdc) <> 0
"""


def upgrade() -> None:
    op.create_table(
        "reservation_sums",
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column(
            "open_usdc",
            sa.BigInteger(),
            nullable=False,
            comment="Micro-USDC that the open reservations of the follower reserve together",
        ),
        sa.PrimaryKeyConstraint("proxy"),
        schema="preflight",
        comment="What each follower's open reservations sum up to, so that a copy is judged "
        "without reading them. A row of 0 says the same as none.",
    )
    op.execute(f"alter table preflight.reservation_sums set ({STORAGE})")
    # Nothing is reserved or settled between the sums and the commit.
    op.execute("lock table preflight.reservations in share mode")
    op.execute(FILL)


def downgrade() -> None:
    op.drop_table("reservation_sums", schema="preflight")
