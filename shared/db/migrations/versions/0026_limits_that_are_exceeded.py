"""A function by which a statement that records entries fails where they exceed a limit together, so
that the check needs no second statement.
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

CREATE = """
create function preflight.raise_limit_exceeded(name text) returns void language plpgsql as $$
begin
    raise exception 'a limit is exceeded: %', name using errcode = 'SL001';
end
$$
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("drop function preflight.raise_limit_exceeded(text)")
