"""Tables of preflight: verdicts, reservations, caps, positions and exits.

The history is in ``intents`` and ``verdicts``, by weeks. What a copy is judged by is in tables that
have rows of what is open, held or recent alone, so that no statement of a copy reads the history.
"""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.partitions import partitioning
from shared.db.tables.base import FEW_ROWS, TIMESTAMP, metadata, timestamp

UPDATED_IN_PLACE = {**FEW_ROWS, "fillfactor": 60}

intents = Table(
    "intents",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("follow_id", Text, nullable=False, server_default=""),
    Column("token_id", Text, nullable=False),
    Column("side", Text, nullable=False, server_default=""),
    Column(
        "exit_id",
        Text,
        nullable=False,
        server_default="",
        comment="The exit that it is an attempt of; empty for an entry",
    ),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    timestamp("judged_at", nullable=False),
    timestamp("settled_at"),
    Column(
        "reserved_usdc",
        BigInteger,
        nullable=False,
        comment="Reserved while open; the amount that was spent once settled",
    ),
    Column("reserved_shares", BigInteger, nullable=False),
    Column(
        "cap_usdc",
        BigInteger,
        nullable=False,
        comment="The amount that counts against the daily caps",
    ),
    Column(
        "filled_shares",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="Micro-shares bought or sold, once settled",
    ),
    Index(
        "intents_first_by_follow",
        "follow_id",
        "token_id",
        "judged_at",
        postgresql_where=text("exit_id in ('', intent_id)"),
    ),
    Index(
        "intents_further_attempts",
        "exit_id",
        postgresql_where=text("exit_id not in ('', intent_id)"),
    ),
    Index("intents_judged", "judged_at", postgresql_using="brin"),
    schema="preflight",
    comment="One row per intent, written before its verdict is published and changed once, when "
    "it is settled: no index has a column that changes.",
    **partitioning("intent_id"),
)
intents.info["storage"] = {"fillfactor": 80}

verdicts = Table(
    "verdicts",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("verdict", Text, nullable=False, comment="JSON, as published: redeliveries repeat it"),
    Column("traceparent", Text),
    schema="preflight",
    comment="The verdict of each row of intents. It never changes.",
    **partitioning("intent_id"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("follow_id", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column(
        "reserved_usdc",
        BigInteger,
        nullable=False,
        comment="Reserved while open; the amount that was spent once settled",
    ),
    Column("reserved_shares", BigInteger, nullable=False),
    Column(
        "cap_usdc",
        BigInteger,
        nullable=False,
        comment="The amount that counts against the daily caps",
    ),
    Column(
        "cap_scopes",
        ARRAY(Text),
        comment="The scopes of spending_windows that it counts in; null: from before they were "
        "kept, its follow and its follower",
    ),
    timestamp("judged_at", nullable=False),
    timestamp("settled_at"),
    Index("reservations_by_proxy", "proxy", "settled_at"),
    schema="preflight",
    comment="One row per approved intent that is open, or was settled so recently that a balance "
    "may not show it yet.",
    info={"storage": FEW_ROWS},
)

reservation_sums = Table(
    "reservation_sums",
    metadata,
    Column("proxy", Text, primary_key=True),
    Column(
        "open_usdc",
        BigInteger,
        nullable=False,
        comment="Micro-USDC that the open reservations of the follower reserve together",
    ),
    schema="preflight",
    comment="What each follower's open reservations sum up to, so that a copy is judged without "
    "reading them. A row of 0 says the same as none.",
    info={"storage": UPDATED_IN_PLACE},
)

newest_copies = Table(
    "newest_copies",
    metadata,
    Column("follow_id", Text, primary_key=True),
    Column("token_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    timestamp("judged_at", nullable=False),
    Column(
        "has_ended",
        Boolean,
        nullable=False,
        comment="Whether it found no market: what is held is redeemed and not sold",
    ),
    Column(
        "traded_at",
        TIMESTAMP,
        comment="When the newest copy of a trade was judged that is accounted for; null: none was",
    ),
    schema="preflight",
    comment="The newest copy of each follow and token that is held or was judged lately, without "
    "the later attempts of exits.",
    info={"storage": UPDATED_IN_PLACE},
)

spending_windows = Table(
    "spending_windows",
    metadata,
    Column(
        "scope", Text, primary_key=True, comment="follow:ID, follower:ADDRESS, token:ID or global"
    ),
    Column(
        "usdc_by_hour",
        JSONB,
        nullable=False,
        comment="Micro-USDC by UTC hour (2026-01-31T13), of the last two days",
    ),
    schema="preflight",
    comment="What the approved copies count against the daily cap of a scope.",
    info={"storage": UPDATED_IN_PLACE},
)

delayed_entries = Table(
    "delayed_entries",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column(
        "number",
        BigInteger,
        Identity(always=True),
        nullable=False,
        comment="Of a follower's entries, the lowest comes first",
    ),
    Column("proxy", Text, nullable=False),
    Column("intent", Text, nullable=False, comment="JSON, as it is published again"),
    timestamp("due_at", nullable=False),
    timestamp("expires_at", nullable=False),
    Column("traceparent", Text),
    Index("delayed_entries_by_proxy", "proxy", "number"),
    Index("delayed_entries_due", "due_at"),
    schema="preflight",
    comment="One row per entry that waits to be judged again, until its verdict.",
    info={"storage": FEW_ROWS},
)

positions = Table(
    "positions",
    metadata,
    Column("follow_id", Text, primary_key=True),
    Column("token_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("shares", BigInteger, nullable=False, comment="Micro-shares bought and not sold"),
    Index("positions_by_proxy", "proxy", "token_id"),
    schema="preflight",
    comment="What each follow holds by its settled copies: no exit sells more of it. A row of 0 "
    "shares says the same as none, and is deleted.",
    info={"storage": UPDATED_IN_PLACE},
)

exits = Table(
    "exits",
    metadata,
    Column("exit_id", Text, primary_key=True, comment="The id of its first intent"),
    Column("proxy", Text, nullable=False),
    Column("leader", Text, nullable=False),
    Column("follow_id", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("intent", Text, nullable=False, comment="JSON: its first intent"),
    Column(
        "base_shares",
        BigInteger,
        nullable=False,
        comment="Held when it was first judged, less what earlier exits were still to sell",
    ),
    Column(
        "awaited_entries",
        ARRAY(Text),
        nullable=False,
        comment="Intents to buy that were not settled then",
    ),
    Column(
        "awaited_exits",
        ARRAY(Text),
        nullable=False,
        comment="Earlier exits whose size was not known then",
    ),
    Column("shares", BigInteger, comment="To sell in all; null: not known yet"),
    Column("sold_shares", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False, comment="Attempts that were judged"),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, comment="Why the last attempt left shares unsold"),
    timestamp("next_attempt_at"),
    timestamp("expires_at", nullable=False),
    timestamp("updated_at", nullable=False),
    Column("traceparent", Text),
    Index("exits_by_age", "updated_at", postgresql_using="brin"),
    Index("exits_open", "follow_id", "token_id", postgresql_where=text("state = 'open'")),
    Index(
        "exits_due",
        "next_attempt_at",
        postgresql_where=text("next_attempt_at is not null"),
    ),
    Index("exits_unsold", "updated_at", postgresql_where=text("state = 'unsold'")),
    Index("exits_missed", "updated_at", postgresql_where=text("state = 'missed'")),
    schema="preflight",
    comment="One row per exit of a follow that held shares, or awaited some.",
    info={"storage": FEW_ROWS},
)

leader_levels = Table(
    "leader_levels",
    metadata,
    Column("follow_id", Text, primary_key=True),
    Column("token_id", Text, primary_key=True, comment="What the follow holds"),
    Column("proxy", Text, nullable=False),
    Column("leader", Text, nullable=False),
    Column("leader_token_id", Text, nullable=False, comment="What the leader holds"),
    Column(
        "leader_shares",
        BigInteger,
        nullable=False,
        comment="Micro-shares of the leader that later levels are compared with",
    ),
    Column("block_number", BigInteger, nullable=False, comment="At which he held them"),
    timestamp("accounted_at", nullable=False),
    timestamp("reconciled_through"),
    timestamp("mirrored_through"),
    Column(
        "sold_all",
        Text,
        nullable=False,
        server_default="",
        comment="Which exit of everything was made last: its cause, version and shares",
    ),
    timestamp("updated_at", nullable=False),
    schema="preflight",
    comment="What a leader held of a token, of each follow that holds shares by copying him.",
    info={"storage": UPDATED_IN_PLACE},
)
