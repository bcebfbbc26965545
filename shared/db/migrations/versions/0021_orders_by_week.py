"""Orders, trades and watches in partitions of a week; what changes of an order in rows apart.

The services are stopped meanwhile. The tables become the partitions ``before`` of the new ones as
they are: only the states of orders are copied, and the indexes built.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)
ROOM_FOR_UPDATES = "with (fillfactor = 40)"
ROOM_FOR_FILLS = "with (fillfactor = 33)"
FEW_ROWS = {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"}
FIRST_DATED_ID = "'i'"
"""The ids of earlier releases come before it: hexadecimal digits."""
DATES = r"""
select (now() at time zone 'UTC')::date as today, (
    select to_date(min(substr({key}, 2, 8)), 'YYYYMMDD') from {table}_before
    where {key} >= 'i' and {key} ~ '^i\d{{8}}-'
) as oldest
"""

STATE = (
    "state",
    "reason",
    "shares",
    "usdc",
    "fee_usdc",
    "last_reply",
    "unverified_since",
    "empty_lookups",
    "alerted_at",
    "posted_at",
    "answered_at",
    "confirmed_at",
)
"""The columns that move from ``orders`` to ``order_states``."""
ORDER = (
    "intent_id",
    "proxy",
    "order_hash",
    "body",
    "side",
    "token_id",
    "leader",
    "leader_price",
    "limit_price",
    "fee_rate",
    "traceparent",
    "expires_at",
    "title",
    "outcome",
    "seen_at",
    "intended_at",
    "quoted_at",
    "approved_at",
    "signed_at",
    "requested_shares",
)
OLD_ORDER = (
    *ORDER[:10],
    *STATE[:5],
    "traceparent",
    "expires_at",
    "title",
    "outcome",
    *(f"{name}_at" for name in ("seen", "intended", "quoted", "approved", "signed")),
    *(f"{name}_at" for name in ("posted", "answered", "confirmed")),
    *("last_reply", "unverified_since", "empty_lookups", "alerted_at"),
    *("requested_shares", "intent"),
)
"""The columns of ``orders`` in the older release, in their order."""

COUNTED = """
select proxy, token_id, case side when 'BUY' then shares else -shares end as shares,
       case side when 'BUY' then -usdc else usdc end - fee_usdc as cash_usdc, 1 as trades
from executor.trades where status <> 'FAILED'
"""
POSITIONS = f"""
create view executor.positions as
select proxy, token_id, sum(shares)::bigint as shares, sum(cash_usdc)::bigint as cash_usdc,
       sum(trades)::bigint as trades
from (
    {COUNTED}
    union all
    select proxy, token_id, shares, cash_usdc, trades from executor.position_sums
) counted
group by proxy, token_id
"""
POSITIONS_OF_TRADES = """
create view executor.positions as
select proxy, token_id,
       sum(case side when 'BUY' then shares else -shares end)::bigint as shares,
       sum(case side when 'BUY' then -usdc else usdc end - fee_usdc)::bigint as cash_usdc,
       count(*) as trades
from executor.trades
where status <> 'FAILED'
group by proxy, token_id
"""
ORDERS_WITH_STATES = f"""
create view executor.orders_with_states as
select {", ".join(f"o.{name}" for name in ORDER)}, {", ".join(f"s.{name}" for name in STATE)}
from executor.orders o
cross join lateral (
    select * from executor.order_states s where s.intent_id = o.intent_id offset 0
) s
"""


def text(
    name: str, *, default: str | None = None, comment: str | None = None, nullable: bool = False
) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, server_default=default, comment=comment)


def number(name: str, *, default: str | None = None, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=default, comment=comment)


def time(name: str, *, nullable: bool = False, comment: str | None = None) -> sa.Column[datetime]:
    return sa.Column(name, TIMESTAMP, nullable=nullable, comment=comment)


def price(name: str, *, nullable: bool = False, comment: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Numeric(), nullable=nullable, comment=comment)


def order_columns() -> list[sa.Column[Any]]:
    return [
        text("intent_id"),
        text("proxy"),
        text("order_hash"),
        text(
            "body",
            comment="The exact bytes to send at every attempt; empty where it was withdrawn "
            "unsigned",
        ),
        text("side"),
        text("token_id"),
        text("leader"),
        price("leader_price", nullable=True, comment="Null where no trade was copied"),
        price("limit_price"),
        price("fee_rate"),
        text("traceparent", nullable=True),
        time("expires_at"),
        text("title", default=""),
        text("outcome", default=""),
        *(time(f"{name}_at") for name in ("seen", "intended", "quoted", "approved", "signed")),
        number(
            "requested_shares",
            default="0",
            comment="Micro-shares that an exit was to sell; 0 for an entry",
        ),
    ]


def state_columns() -> list[sa.Column[Any]]:
    return [
        text("state"),
        text("reason", default=""),
        number("shares", default="0"),
        number("usdc", default="0"),
        number("fee_usdc", default="0"),
        text(
            "last_reply",
            default="",
            comment="The venue's last reply about an order that has no outcome yet",
        ),
        time("unverified_since", nullable=True),
        number(
            "empty_lookups",
            default="0",
            comment="Lookups at the venue since unverified_since that found no trade of it",
        ),
        time(
            "alerted_at",
            nullable=True,
            comment="When an operator was alerted: it was not resolved in time",
        ),
        *(time(f"{name}_at", nullable=True) for name in ("posted", "answered", "confirmed")),
    ]


def trade_columns() -> list[sa.Column[Any]]:
    return [
        text("intent_id"),
        text("trade_id"),
        text("order_hash"),
        text("proxy"),
        text("token_id"),
        text("side"),
        text("status"),
        *(number(name) for name in ("shares", "usdc", "fee_usdc")),
        text("transaction_hash", default=""),
        text("chain_state", default=""),
        time("matched_at"),
        time("updated_at"),
    ]


def watch_columns() -> list[sa.Column[Any]]:
    return [
        *(text(name) for name in ("request_id", "proxy", "transaction_hash", "purpose")),
        text("intent_id"),
        text("state"),
        sa.Column("block_number", sa.BigInteger()),
        text("block_hash", default=""),
        text("fills", comment="JSON: what its orders gave and received, by the chain's logs"),
        text("traceparent", nullable=True),
        time("requested_at"),
        time("updated_at"),
    ]


def upgrade() -> None:
    op.execute("drop view executor.positions")
    upgrade_orders()
    upgrade_trades()
    upgrade_watches()
    op.create_table(
        "position_sums",
        text("proxy"),
        text("token_id"),
        *(number(name) for name in ("shares", "cash_usdc", "trades")),
        sa.PrimaryKeyConstraint("proxy", "token_id"),
        schema="executor",
        comment="The sums of the trades whose partitions were dropped: positions are these and "
        "trades.",
    )
    op.execute(POSITIONS)
    op.execute(ORDERS_WITH_STATES)


def upgrade_orders() -> None:
    op.execute("alter table executor.orders rename to orders_before")
    op.execute("alter table executor.orders_before rename constraint orders_pkey to before_pkey")
    op.execute("alter table executor.orders_before drop constraint orders_order_hash_key")
    create_partitioned(
        "executor.order_states",
        [text("intent_id"), *state_columns()],
        keys=["intent_id"],
        comment="What is known of each order by now.",
        storage=ROOM_FOR_UPDATES,
        earlier="executor.orders",
    )
    names = ", ".join(("intent_id", *STATE))
    op.execute(
        "create table executor.order_states_before "
        "(like executor.order_states including defaults including comments)"
    )
    for table, compared in (("order_states_before", "<"), ("order_states", ">=")):
        op.execute(
            f"insert into executor.{table} ({names}) select {names} from executor.orders_before "
            f"where intent_id {compared} {FIRST_DATED_ID}"
        )
    # Only now: hardly any of its rows are updated any more, and need no room.
    op.execute("alter table executor.order_states_before set (fillfactor = 40)")
    attach_before("executor.order_states", "intent_id")
    create_small("open_orders", "The orders that are not final.", text("intent_id"), text("proxy"))
    op.execute(
        "insert into executor.open_orders (intent_id, proxy) select intent_id, proxy "
        "from executor.orders_before where state in ('signed', 'unknown', 'matched')"
    )
    # The index of open orders goes with the column in its predicate.
    dropped = ", ".join(f"drop column {name}" for name in (*STATE, "intent"))
    op.execute(f"alter table executor.orders_before {dropped}")
    create_partitioned(
        "executor.orders",
        order_columns(),
        keys=["intent_id"],
        comment="One order per intent, recorded before it is sent, and never changed.",
    )
    op.create_index(
        "orders_by_hash", "orders", ["order_hash"], schema="executor", postgresql_using="hash"
    )
    op.create_index(
        "orders_by_time", "orders", ["seen_at"], schema="executor", postgresql_using="brin"
    )
    move_dated("executor.orders", "intent_id", ORDER)
    attach_before("executor.orders", "intent_id")


def upgrade_trades() -> None:
    op.execute("alter table executor.trades rename to trades_before")
    op.execute("alter table executor.trades_before drop constraint trades_pkey")
    for index in ("trades_by_proxy", "trades_by_transaction"):
        op.execute(f"drop index executor.{index}")
    create_partitioned(
        "executor.trades",
        trade_columns(),
        keys=["intent_id", "trade_id"],
        comment="The venue's trades of our orders. Positions are a view of them.",
        storage=ROOM_FOR_UPDATES,
    )
    op.create_index(
        "trades_by_transaction",
        "trades",
        ["transaction_hash"],
        schema="executor",
        postgresql_using="brin",
        postgresql_ops={"transaction_hash": "text_bloom_ops"},
        postgresql_with={"autosummarize": "on"},
    )
    move_dated("executor.trades", "intent_id", [column.name for column in trade_columns()])
    op.execute("alter table executor.trades_before set (fillfactor = 40)")
    attach_before("executor.trades", "intent_id")


def upgrade_watches() -> None:
    op.execute("alter table tx_monitor.watches rename to watches_before")
    op.execute(
        "alter table tx_monitor.watches_before rename constraint watches_pkey to before_pkey"
    )
    op.execute("drop index tx_monitor.watches_open")
    create_partitioned(
        "tx_monitor.watches",
        watch_columns(),
        keys=["request_id"],
        comment="Transactions that a service waits for.",
        storage=ROOM_FOR_FILLS,
    )
    move_dated("tx_monitor.watches", "request_id", [column.name for column in watch_columns()])
    op.execute("alter table tx_monitor.watches_before set (fillfactor = 33)")
    attach_before("tx_monitor.watches", "request_id")
    create_small(
        "open_watches",
        "The watches that are neither final nor dropped: their receipts are polled.",
        text("request_id"),
        schema="tx_monitor",
    )
    op.execute(
        "insert into tx_monitor.open_watches (request_id) "
        "select request_id from tx_monitor.watches "
        "where state not in ('final', 'final_reverted', 'dropped')"
    )


def create_partitioned(
    table: str,
    columns: list[sa.Column[Any]],
    *,
    keys: list[str],
    comment: str,
    storage: str = "",
    earlier: str = "",
) -> None:
    """Create the table with its partitions: of each week that the earlier release has ids of, of
    the current one and the two after it, and of what belongs to none.
    """
    schema, name = table.split(".")
    op.create_table(
        name,
        *columns,
        sa.PrimaryKeyConstraint(*keys),
        schema=schema,
        comment=comment,
        postgresql_partition_by=f"range ({keys[0]})",
    )
    op.execute(f"create table {table}_default partition of {table} default {storage}")
    for monday in mondays(earlier or table, keys[0]):
        first, end = (f"i{day:%Y%m%d}" for day in (monday, monday + timedelta(days=7)))
        op.execute(
            f"create table {table}_{monday:%Y%m%d} partition of {table} "
            f"for values from ('{first}') to ('{end}') {storage}"
        )


def mondays(table: str, key: str) -> Iterator[date]:
    """Of the weeks from that of the oldest id with a day in the earlier release's table."""
    dates = op.get_bind().execute(sa.text(DATES.format(table=table, key=key))).one()
    day = min(dates.today, dates.oldest or dates.today)
    monday = day - timedelta(days=day.weekday())
    while monday <= dates.today + timedelta(days=14):
        yield monday
        monday += timedelta(days=7)


def create_small(
    name: str, comment: str, key: sa.Column[str], *others: sa.Column[str], schema: str = "executor"
) -> None:
    """Create a table that every order passes through and few are in."""
    op.create_table(
        name, key, *others, sa.PrimaryKeyConstraint(key.name), schema=schema, comment=comment
    )
    storage = ", ".join(f"{parameter} = {value}" for parameter, value in FEW_ROWS.items())
    op.execute(f"alter table {schema}.{name} set ({storage})")


def move_dated(table: str, key: str, columns: list[str] | tuple[str, ...]) -> None:
    """Move the rows whose ids are not those of earlier releases out of ``before``."""
    names = ", ".join(columns)
    op.execute(
        f"with moved as (delete from {table}_before where {key} >= {FIRST_DATED_ID} "
        f"returning {names}) insert into {table} ({names}) select {names} from moved"
    )


def attach_before(table: str, key: str) -> None:
    """Attach the table of the earlier release; the indexes that it lacks are built."""
    op.execute(
        f"alter table {table} attach partition {table}_before "
        f"for values from (minvalue) to ({FIRST_DATED_ID})"
    )


def downgrade() -> None:
    """The rows are copied into tables of the older release. The sums of dropped partitions are
    lost: positions are those of the trades that are left.
    """
    op.execute("drop view executor.positions")
    op.execute("drop view executor.orders_with_states")
    op.drop_table("position_sums", schema="executor")
    op.drop_table("open_orders", schema="executor")
    op.drop_table("open_watches", schema="tx_monitor")
    # Their partitions stay in their schemas, under names of their own.
    op.execute("create schema by_week")
    for table in ("executor.orders", "executor.order_states", "executor.trades"):
        op.execute(f"alter table {table} set schema by_week")
    op.execute("alter table tx_monitor.watches set schema by_week")
    downgrade_orders()
    downgrade_trades()
    downgrade_watches()
    op.execute("drop schema by_week cascade")
    op.execute(POSITIONS_OF_TRADES)


def downgrade_orders() -> None:
    columns = {column.name: column for column in (*order_columns(), *state_columns())} | {
        "intent": text(
            "intent",
            default="",
            comment="Not written any more: preflight.exits has it. To be dropped in a later "
            "release",
        )
    }
    op.create_table(
        "orders",
        *(columns[name] for name in OLD_ORDER),
        sa.PrimaryKeyConstraint("intent_id"),
        sa.UniqueConstraint("order_hash"),
        schema="executor",
        comment="One order per intent, recorded before it is sent.",
    )
    names = ", ".join((*ORDER, *STATE))
    op.execute(
        f"insert into executor.orders ({names}) select {names} "
        "from by_week.orders join by_week.order_states using (intent_id)"
    )
    op.create_index(
        "orders_open",
        "orders",
        ["proxy"],
        schema="executor",
        postgresql_where=sa.text("state in ('signed', 'unknown', 'matched')"),
    )


def downgrade_trades() -> None:
    columns = {column.name: column for column in trade_columns()}
    keys = ("order_hash", "trade_id")
    op.create_table(
        "trades",
        *(columns.pop(name) for name in keys),
        *columns.values(),
        sa.PrimaryKeyConstraint(*keys),
        schema="executor",
        comment="The venue's trades of our orders. Positions are a view of them.",
    )
    names = ", ".join(column.name for column in trade_columns())
    op.execute(f"insert into executor.trades ({names}) select {names} from by_week.trades")
    op.create_index("trades_by_proxy", "trades", ["proxy", "token_id"], schema="executor")
    op.create_index("trades_by_transaction", "trades", ["transaction_hash"], schema="executor")


def downgrade_watches() -> None:
    op.create_table(
        "watches",
        *watch_columns(),
        sa.PrimaryKeyConstraint("request_id"),
        schema="tx_monitor",
        comment="Transactions that a service waits for.",
    )
    op.execute("insert into tx_monitor.watches select * from by_week.watches")
    op.create_index(
        "watches_open",
        "watches",
        ["state"],
        schema="tx_monitor",
        postgresql_where=sa.text("state not in ('final', 'final_reverted')"),
    )
