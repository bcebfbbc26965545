"""`slipstream status` and `slipstream debts`: show the system's state, read from the database and
the services' probes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
from rich.console import Console, Group
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.following import run_with_database
from cli.formatting import (
    UNSOLD_EXIT,
    build_table,
    format_amount,
    format_milliseconds,
    format_order_state,
)
from cli.settings import System
from shared.clock import utc_now
from shared.db.controls import load_controls
from shared.db.engine import fetch_rows, transaction
from shared.db.settings import DatabaseSettings
from shared.db.sql import stored_json
from shared.domain.follows import Controls
from shared.domain.money import MIN_REMAINDER_SHARES
from tools.stack.state import PartState

NOT_SERVICES = ("kafka", "postgres", "chain", "anvil", "paper-venue")
PROBE_TIMEOUT_S = 2

COPIES_TODAY = """
select state, reason, count(*) as n
from preflight.intents
where judged_at >= date_trunc('day', cast(:now as timestamptz), 'UTC')
group by state, reason
order by n desc, state, reason
"""
OPEN_ORDERS = """
select intent_id, proxy, side, state, reason, signed_at, alerted_at
from executor.open_orders cross join lateral (
    select side, state, reason, signed_at, alerted_at from executor.orders_with_states o
    where o.intent_id = open_orders.intent_id offset 0
) o
order by alerted_at, signed_at
limit 20
"""
EXITS = f"""
select exit_id, proxy, state, shares, sold_shares, attempts, reason, expires_at,
       next_attempt_at is null as is_under_way
from preflight.exits e
where state = 'open' and (
          next_attempt_at is not null
          or expires_at < cast(:now as timestamptz) - interval '10 minutes'
      )
   or state = 'unsold' and updated_at > cast(:now as timestamptz) - interval '7 days'
   or state = 'missed' and updated_at > cast(:now as timestamptz) - interval '7 days'
      and exists (select from preflight.positions p
                  where p.follow_id = e.follow_id and p.token_id = e.token_id
                    and p.shares >= :smallest)
      and not exists (select from preflight.leader_levels l
                      where l.follow_id = e.follow_id and l.token_id = e.token_id
                        and l.reconciled_through
                            >= cast({stored_json("e.intent")} ->> 'filled_at' as timestamptz))
order by state desc, expires_at desc
limit 20
"""  # noqa: S608 - a constant
"""Exits that wait for another attempt, those that ended with shares left, those that were missed
and are not made good, and those whose last attempt has had no final report for long after their
time was over."""
DELAYED_ENTRIES = """
select intent_id, proxy, due_at, expires_at
from preflight.delayed_entries
order by due_at, number
limit 20
"""
POSITIONS = """
select proxy, count(*) filter (where shares <> 0) as tokens, sum(shares)::bigint as shares,
       sum(cash_usdc)::bigint as cash_usdc, sum(trades)::bigint as trades
from executor.positions
group by proxy
order by proxy
"""
DEBTS = "select * from debt_recovery.debts order by raised_at"
HALTED_OPERATORS = """
select operator, halted_at, halted_because from tx_monitor.operators
where halted_because <> ''
order by operator
"""
LATENCIES = """
select name, count(us) as n,
       percentile_disc(0.5) within group (order by us) as p50,
       percentile_disc(0.95) within group (order by us) as p95,
       percentile_disc(0.99) within group (order by us) as p99
from (
    select name, (extract(epoch from till - since) * 1000000)::bigint as us
    from executor.orders_with_states, lateral (values
        ('seen to intended', seen_at, intended_at),
        ('intended to approved', intended_at, approved_at),
        ('approved to signed', approved_at, signed_at),
        ('signed to posted', signed_at, posted_at),
        ('posted to answered', posted_at, answered_at),
        ('answered to confirmed', answered_at, confirmed_at),
        ('seen to posted', seen_at, posted_at),
        ('seen to confirmed', seen_at, confirmed_at)
    ) as stage(name, since, till)
    where seen_at >= cast(:now as timestamptz) - interval '1 hour'
) as spans
where us is not null
group by name
"""
STAGES = (
    "seen to intended",
    "intended to approved",
    "approved to signed",
    "signed to posted",
    "posted to answered",
    "answered to confirmed",
    "seen to posted",
    "seen to confirmed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The rows of every table, read at one time."""

    controls: Controls
    copies: Sequence[Any]
    open_orders: Sequence[Any]
    exits: Sequence[Any]
    delayed_entries: Sequence[Any]
    positions: Sequence[Any]
    debts: Sequence[Any]
    halted_operators: Sequence[Any]
    latencies: Sequence[Any]


def show(system: System) -> None:
    """Raises: CommandError, InvalidSettings, Transient."""
    now = utc_now()
    status = run_with_database(system.database_settings(), lambda engine: load_status(engine, now))
    services = [
        part for part in system.parts if part.name not in NOT_SERVICES and part.port is not None
    ]
    readiness = asyncio.run(_probe_all(services))
    console = Console()
    for table in build_tables(status, now=now):
        console.print(table)
    for name, answer in readiness:
        console.print(f"{name:15} {answer}", highlight=False)


def show_debts(settings: DatabaseSettings) -> None:
    """Raises: CommandError, InvalidSettings, Transient."""

    async def load(engine: AsyncEngine) -> Sequence[Any]:
        async with transaction(engine) as connection:
            return await fetch_rows(connection, DEBTS)

    Console().print(build_debts_table(run_with_database(settings, load)))


def build_tables(status: Status, *, now: datetime) -> list[Group]:
    return [
        build_modes_table(status.controls),
        build_table(
            "Copies today (UTC)",
            ("state", "reason", ">copies"),
            [(row.state, row.reason, str(row.n)) for row in status.copies],
        ),
        build_table(
            "Open orders",
            ("intent", "follower", "side", "state", "reason", ">for s"),
            [_order_row(order, now) for order in status.open_orders],
        ),
        build_table(
            "Exits that are not sold",
            ("exit", "follower", "state", ">sold", ">of", ">attempts", "last obstacle"),
            [_exit_row(row) for row in status.exits],
        ),
        build_table(
            "Entries that wait to be judged again",
            ("intent", "follower", ">judged again in s", ">too old in s"),
            [_delayed_entry_row(row, now) for row in status.delayed_entries],
        ),
        build_table(
            "Positions",
            ("follower", ">tokens", ">shares", ">USDC received minus paid", ">trades"),
            [_position_row(row) for row in status.positions],
        ),
        build_debts_table(status.debts),
        build_table(
            "Halted operator wallets",
            ("operator wallet", "since", "NEEDS AN OPERATOR: slipstream transfers list"),
            [
                (row.operator, f"{row.halted_at:%H:%M:%S}", row.halted_because)
                for row in status.halted_operators
            ],
        ),
        build_latency_table(status.latencies),
    ]


def _order_row(order: Any, now: datetime) -> tuple[str, ...]:
    seconds = int((now - order.signed_at).total_seconds())
    state = format_order_state(order)
    return order.intent_id, order.proxy, order.side, state, order.reason, str(seconds)


def _exit_row(row: Any) -> tuple[str, ...]:
    state = _describe_exit_state(row)
    size = "unknown" if row.shares is None else format_amount(row.shares)
    sold = format_amount(row.sold_shares)
    return row.exit_id, row.proxy, state, sold, size, str(row.attempts), row.reason


def _delayed_entry_row(row: Any, now: datetime) -> tuple[str, ...]:
    waits, lives = (
        str(max(0, int((moment - now).total_seconds()))) for moment in (row.due_at, row.expires_at)
    )
    return row.intent_id, row.proxy, waits, lives


def _describe_exit_state(row: Any) -> str:
    if row.state == "unsold":
        return UNSOLD_EXIT
    if row.state == "missed":
        return "missed: made good by what the leader holds"
    return "NEEDS AN OPERATOR: no report of its order" if row.is_under_way else "waits"


def _position_row(row: Any) -> tuple[str, ...]:
    shares, cash = format_amount(row.shares), format_amount(row.cash_usdc)
    return row.proxy, str(row.tokens), shares, cash, str(row.trades)


def build_modes_table(controls: Controls) -> Group:
    follows = sum(map(len, controls.follows_by_leader.values()))
    title = (
        f"{follows} follows of {len(controls.follows_by_leader)} leaders, "
        f"version {controls.version}; modes that are not active"
    )
    stopped = [
        (scope, mode.value)
        for scope, mode in sorted(controls.mode_by_scope.items())
        if mode != "active"
    ]
    return build_table(title, ("scope", "mode"), stopped)


def build_debts_table(debts: Sequence[Any]) -> Group:
    rows = [
        (
            debt.raised_at.isoformat(timespec="seconds"),
            debt.proxy,
            debt.creditor,
            format_amount(debt.usdc),
            debt.reason,
            debt.intent_id,
        )
        for debt in debts
    ]
    columns = ("raised", "proxy", "owed to", ">USDC", "reason", "intent")
    return build_table("Debts", columns, rows)


def build_latency_table(latencies: Sequence[Any]) -> Group:
    row_by_name = {row.name: row for row in latencies}
    measured = [row_by_name[name] for name in STAGES if name in row_by_name]
    rows = [
        (
            row.name,
            format_milliseconds(row.p50),
            format_milliseconds(row.p95),
            format_milliseconds(row.p99),
            str(row.n),
        )
        for row in measured
    ]
    columns = ("stage", ">p50", ">p95", ">p99", ">copies")
    return build_table("Latency of the last hour, ms", columns, rows)


async def load_status(engine: AsyncEngine, now: datetime) -> Status:
    """Raises: Transient."""
    controls = await load_controls(engine)
    async with transaction(engine) as connection:
        return Status(
            controls=controls,
            copies=await fetch_rows(connection, COPIES_TODAY, now=now),
            open_orders=await fetch_rows(connection, OPEN_ORDERS),
            exits=await fetch_rows(connection, EXITS, now=now, smallest=MIN_REMAINDER_SHARES),
            delayed_entries=await fetch_rows(connection, DELAYED_ENTRIES),
            positions=await fetch_rows(connection, POSITIONS),
            debts=await fetch_rows(connection, DEBTS),
            halted_operators=await fetch_rows(connection, HALTED_OPERATORS),
            latencies=await fetch_rows(connection, LATENCIES, now=now),
        )


async def _probe_all(parts: Sequence[PartState]) -> list[tuple[str, str]]:
    """The name of each service with its readiness in words."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    ) as session:
        answers = await asyncio.gather(*(_probe(session, part) for part in parts))
    return [(part.name, answer) for part, answer in zip(parts, answers, strict=True)]


async def _probe(session: aiohttp.ClientSession, part: PartState) -> str:
    try:
        async with session.get(f"http://127.0.0.1:{part.port}/ready") as response:
            body = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"does not answer ({type(error).__name__}), log {part.log}"
    return "ready" if body["ok"] else f"not ready: {'; '.join(body['reasons'])}"
