"""`slipstream status` and `slipstream debts`: how things stand, read from the database and the
services' probes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import aiohttp
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.following import plain, with_database
from cli.settings import Place
from shared.clock import utc_now
from shared.db.controls import load_controls
from shared.db.engine import fetch_rows, transaction
from shared.db.settings import DatabaseSettings
from shared.db.tables import ORDER_IS_OPEN
from shared.domain.follows import Controls
from shared.domain.money import as_decimal
from tools.stack.state import PartState

NOT_SERVICES = ("kafka", "postgres", "chain", "anvil", "paper-venue")
PROBE_WITHIN_S = 2

COPIES_TODAY = """
select state, reason, count(*) as n from preflight.intents
where judged_at >= date_trunc('day', cast(:now as timestamptz), 'UTC') group by state, reason order by n desc, state, reason
"""
OPEN_ORDERS = f"""
select intent_id, proxy, side, state, reason, signed_at, alerted_at from executor.orders
where {ORDER_IS_OPEN} order by alerted_at, signed_at limit 20
"""
POSITIONS = """
select proxy, count(*) filter (where shares <> 0) as tokens, sum(shares)::bigint as shares, sum(cash_usdc)::bigint as cash_usdc,
       sum(trades)::bigint as trades
from executor.positions group by proxy order by proxy
"""
DEBTS = "select * from debt_recovery.debts order by raised_at"
LATENCIES = """
select name, count(us) as n,
       percentile_disc(0.5) within group (order by us) as p50,
       percentile_disc(0.95) within group (order by us) as p95,
       percentile_disc(0.99) within group (order by us) as p99
from (
    select name, (extract(epoch from till - since) * 1000000)::bigint as us
    from executor.orders, lateral (values
        ('seen to intended', seen_at, intended_at), ('intended to approved', intended_at, approved_at),
        ('approved to signed', approved_at, signed_at), ('signed to posted', signed_at, posted_at),
        ('posted to answered', posted_at, answered_at), ('answered to confirmed', answered_at, confirmed_at),
        ('seen to posted', seen_at, posted_at), ('seen to confirmed', seen_at, confirmed_at)
    ) as stage(name, since, till)
    where seen_at >= cast(:now as timestamptz) - interval '1 hour'
) as spans
where us is not null group by name
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
    """Everything, as it stood when it was asked."""

    controls: Controls
    copies: Sequence[Any]
    open_orders: Sequence[Any]
    positions: Sequence[Any]
    debts: Sequence[Any]
    latencies: Sequence[Any]


def show(place: Place) -> None:
    """Raises: WrongInput, InvalidSettings, Transient."""
    now = utc_now()
    status = with_database(place.database(), lambda engine: _read(engine, now))
    readiness = asyncio.run(
        _readiness(
            [
                part
                for part in place.parts
                if part.name not in NOT_SERVICES and part.port is not None
            ]
        )
    )
    console = Console()
    for table in tables(status, now=now):
        console.print(table)
    for name, answer in readiness:
        console.print(f"{name:15} {answer}", highlight=False)


def show_debts(settings: DatabaseSettings) -> None:
    """Raises: InvalidSettings, Transient."""

    async def read(engine: AsyncEngine) -> Sequence[Any]:
        async with transaction(engine) as connection:
            return await fetch_rows(connection, DEBTS)

    Console().print(debts_table(with_database(settings, read)))


def tables(status: Status, *, now: datetime) -> list[Group]:
    return [
        modes_table(status.controls),
        _table(
            "Copies today (UTC)",
            ("state", "reason", ">copies"),
            [(row.state, row.reason, str(row.n)) for row in status.copies],
        ),
        _table(
            "Open orders",
            ("intent", "follower", "side", "state", "reason", ">for s"),
            [
                (
                    r.intent_id,
                    r.proxy,
                    r.side,
                    _state(r),
                    r.reason,
                    str(int((now - r.signed_at).total_seconds())),
                )
                for r in status.open_orders
            ],
        ),
        _table(
            "Positions",
            ("follower", ">tokens", ">shares", ">USDC received minus paid", ">trades"),
            [
                (r.proxy, str(r.tokens), amount(r.shares), amount(r.cash_usdc), str(r.trades))
                for r in status.positions
            ],
        ),
        debts_table(status.debts),
        latency_table(status.latencies),
    ]


def _state(order: Any) -> str:
    """An order that was not resolved in time says so: nobody else will look at it."""
    return (
        str(order.state)
        if order.alerted_at is None
        else f"{order.state}: NEEDS YOU since {order.alerted_at:%H:%M:%S}"
    )


def modes_table(controls: Controls) -> Group:
    follows = sum(map(len, controls.follows_by_leader.values()))
    title = f"{follows} follows of {len(controls.follows_by_leader)} leaders, version {controls.version}; modes that are not active"
    stopped = [
        (scope, mode.value)
        for scope, mode in sorted(controls.mode_by_scope.items())
        if mode != "active"
    ]
    return _table(title, ("scope", "mode"), stopped)


def debts_table(debts: Sequence[Any]) -> Group:
    told = [
        (
            r.raised_at.isoformat(timespec="seconds"),
            r.proxy,
            r.creditor,
            amount(r.usdc),
            r.reason,
            r.intent_id,
        )
        for r in debts
    ]
    return _table("Debts", ("raised", "proxy", "owed to", ">USDC", "reason", "intent"), told)


def latency_table(latencies: Sequence[Any]) -> Group:
    by_name = {row.name: row for row in latencies}
    known = [by_name[name] for name in STAGES if name in by_name]
    told = [
        (row.name, milliseconds(row.p50), milliseconds(row.p95), milliseconds(row.p99), str(row.n))
        for row in known
    ]
    return _table(
        "Latency of the last hour, ms", ("stage", ">p50", ">p95", ">p99", ">copies"), told
    )


def amount(base_units: int) -> str:
    return plain(as_decimal(base_units))


def milliseconds(microseconds: int) -> str:
    return str(Decimal(microseconds).scaleb(-3).quantize(Decimal("0.1")))


def _table(title: str, columns: Sequence[str], told: Sequence[Sequence[str]]) -> Group:
    """A column whose name begins with ``>`` is a figure. Without rows, the title says so."""
    if not told:
        return Group(Text(f"{title}: none"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
        )
    for row in told:
        table.add_row(*row)
    return Group(Text(title, style="bold"), table)


async def _read(engine: AsyncEngine, now: datetime) -> Status:
    controls = await load_controls(engine)
    async with transaction(engine) as connection:
        return Status(
            controls=controls,
            copies=await fetch_rows(connection, COPIES_TODAY, now=now),
            open_orders=await fetch_rows(connection, OPEN_ORDERS),
            positions=await fetch_rows(connection, POSITIONS),
            debts=await fetch_rows(connection, DEBTS),
            latencies=await fetch_rows(connection, LATENCIES, now=now),
        )


async def _readiness(parts: Sequence[PartState]) -> list[tuple[str, str]]:
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=PROBE_WITHIN_S)
    ) as session:
        answers = await asyncio.gather(*(_probe(session, part) for part in parts))
    return [(part.name, answer) for part, answer in zip(parts, answers, strict=True)]


async def _probe(session: aiohttp.ClientSession, part: PartState) -> str:
    try:
        async with session.get(f"http://127.0.0.1:{part.port}/ready") as response:
            said = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"does not answer ({type(error).__name__}), log {part.log}"
    return "ready" if said["ok"] else f"not ready: {'; '.join(said['reasons'])}"
