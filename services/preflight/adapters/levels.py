"""What leaders held, of each follow and token, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.decisions import Verdict
from services.preflight.decisions.levels import Base, HeldToken, JudgedTrade, with_trades
from services.preflight.decisions.superseded import SELLS_ALL, sold_all_marker
from shared.db import tables
from shared.db.engine import Connection, autocommit, fetch_rows, transaction
from shared.db.rows import Row
from shared.db.sql import Batch, literals, stored_json
from shared.domain.follows import Controls, Follow
from shared.domain.money import MIN_REMAINDER_SHARES, Side
from shared.messages.intents import (
    CopyCause,
    IntentRefused,
)
from shared.messages.refusals import Refusal

NOT_COPIED = (Refusal.ALREADY_RECONCILED, Refusal.BEFORE_HISTORY)
"""Refusals of what was copied before, or may have been: no trade that is accounted for now."""
NOT_ACTED_ON = frozenset({Refusal.TRADE_TOO_OLD, *NOT_COPIED})
"""Refusals of an exit by level after which the level still stands."""


def _columns(alias: str) -> str:
    """Of a row with a proxy, a follow and a token: its base, and whether copies of it are open.
    ``offset 0`` makes that a lookup of each row, instead of reading all that are open.
    """
    same = f"= {alias}.follow_id and {{0}}.token_id = {alias}.token_id"
    return f"""
       {alias}.follow_id, {alias}.token_id, l.leader_token_id, l.leader_shares,
       l.block_number, l.accounted_at, l.reconciled_through, l.mirrored_through, l.sold_all,
       l.updated_at,
       exists (select from preflight.reservations r
               where r.proxy = {alias}.proxy and r.settled_at is null
                 and r.follow_id {same.format("r")} offset 0)
       or exists (select from preflight.exits e
                  where e.follow_id {same.format("e")} and e.state = 'open' offset 0)
       as is_under_way"""


HELD_BY = Batch.from_table(tables.positions, "follow_id")
LOAD_HELD_TOKENS = f"""
select {_columns("p")}, p.shares
from {HELD_BY.unnest("q")}
join preflight.positions p
  on p.follow_id = q.follow_id and p.shares > 0 and p.shares >= {MIN_REMAINDER_SHARES}
left join preflight.leader_levels l on l.follow_id = p.follow_id and l.token_id = p.token_id
order by p.follow_id, p.token_id
"""
TOKENS = Batch.from_table(tables.positions, "proxy", "follow_id", "token_id")
LOAD_TOKENS = f"""
select {_columns("q")}, coalesce(p.shares, 0) as shares
from {TOKENS.unnest("q")}
left join preflight.positions p on p.follow_id = q.follow_id and p.token_id = q.token_id
left join preflight.leader_levels l on l.follow_id = q.follow_id and l.token_id = q.token_id
order by q.follow_id, q.token_id
"""
INTENT = f"{stored_json('v.verdict')} -> 'intent'"
"""Of a row of verdicts."""
COPIES = """
preflight.intents i
    cross join lateral (
        select verdict from preflight.verdicts where intent_id = i.intent_id offset 0
    ) as v"""
"""Intents with their verdicts. ``offset 0`` keeps that a lookup of each row."""
IS_COPY_OF_TRADE = f"""
i.follow_id = q.follow_id and i.token_id = q.token_id and i.exit_id in ('', i.intent_id)
and i.reason not in {literals(NOT_COPIED)}
and coalesce({INTENT} ->> 'cause', 'trade') = 'trade'
"""
IS_MISSED = f"""
(i.reason = 'trade_too_old' and (i.side = 'SELL'
 or cast({INTENT} ->> 'usdc' as bigint) > 0))
"""
"""A slice that adds nothing to buy to its trade misses nothing."""
TRADE_QUERIES = Batch(
    {"n": "bigint", "follow_id": "text", "token_id": "text", "since": "timestamptz"}
)
LOAD_TRADES = f"""
with trades as (
    select q.n, found.*
    from {TRADE_QUERIES.unnest("q")}
    cross join lateral (
        select i.*, v.verdict from {COPIES}
        where q.since is not null and i.judged_at > q.since and {IS_COPY_OF_TRADE}
        union all
        select i.*, v.verdict from {COPIES}
        where q.since is null and {IS_COPY_OF_TRADE} and i.judged_at >= coalesce((
            select i.judged_at from {COPIES}
            where {IS_COPY_OF_TRADE} and not {IS_MISSED}
            order by i.judged_at desc limit 1
        ), '-infinity')
    ) as found
)
select i.n, i.side, i.judged_at, {IS_MISSED} as is_missed,
       {INTENT} ->> 'transaction_hash' as transaction_hash,
       coalesce(nullif({INTENT} ->> 'leader_token_id', ''), i.token_id)
       as leader_token_id,
       cast({INTENT} ->> 'leader_shares' as bigint) as leader_shares,
       cast({INTENT} ->> 'leader_held_shares' as bigint)
       as leader_held_shares
from trades i cross join lateral (select i.verdict) as v
order by i.n, i.judged_at, i.intent_id
"""
"""Of each query the trades that were judged since; without a time, the newest accounted one and the
missed ones after it."""
LEVELS = Batch.from_table(
    tables.leader_levels,
    "follow_id",
    "token_id",
    "proxy",
    "leader",
    "leader_token_id",
    "leader_shares",
    "block_number",
    "accounted_at",
    "reconciled_through",
    "mirrored_through",
    "sold_all",
    "updated_at",
)
SAVED_LEVELS = Batch({**LEVELS.types, "previous_block_number": "bigint"})
SAVE_BASES = text(f"""
insert into preflight.leader_levels as l ({LEVELS.names})
select {LEVELS.prefixed("g")} from {SAVED_LEVELS.unnest("g")}
where g.previous_block_number is null
   or exists (select from preflight.leader_levels o where o.follow_id = g.follow_id
              and o.token_id = g.token_id and o.block_number = g.previous_block_number)
order by g.follow_id, g.token_id
on conflict (follow_id, token_id) do update
set leader_token_id = excluded.leader_token_id,
    leader_shares = excluded.leader_shares, block_number = excluded.block_number,
    accounted_at = excluded.accounted_at, sold_all = excluded.sold_all,
    updated_at = excluded.updated_at
where l.block_number < excluded.block_number
  and (l.leader_token_id <> excluded.leader_token_id
       or l.reconciled_through is not distinct from excluded.reconciled_through)
  and l.mirrored_through is not distinct from excluded.mirrored_through
""")
"""A base only moves on, and not past an exit by level that was judged meanwhile."""

VOID_LEVELS = Batch({"follow_id": "text", "token_id": "text", "resumed_at": "timestamptz"})
DELETE_VOID = text(f"""
delete from preflight.leader_levels l using {VOID_LEVELS.unnest("g")}
where l.follow_id = g.follow_id and l.token_id = g.token_id and l.updated_at < g.resumed_at
""")
"""Bases from before the follow began again."""

JUDGED = Batch.from_table(
    tables.leader_levels,
    "follow_id",
    "token_id",
    "block_number",
    "reconciled_through",
    "mirrored_through",
    "sold_all",
    "updated_at",
    leader_shares="bigint",
    accounted_through="timestamptz",
    sells_all="boolean",
)
RECORD_JUDGED = text(f"""
update preflight.leader_levels l
set leader_shares = case when g.sells_all then l.leader_shares else g.leader_shares end,
    block_number = case when g.sells_all then l.block_number else g.block_number end,
    accounted_at = case when g.sells_all then l.accounted_at
                        else greatest(l.accounted_at, g.accounted_through) end,
    reconciled_through = greatest(l.reconciled_through, g.reconciled_through),
    mirrored_through = greatest(l.mirrored_through, g.mirrored_through),
    sold_all = g.sold_all, updated_at = g.updated_at
from {JUDGED.unnest("g")}
where l.follow_id = g.follow_id and l.token_id = g.token_id
""")


async def load_held_tokens(
    engine: AsyncEngine, follows: Sequence[Follow], controls: Controls
) -> list[HeldToken]:
    """Every token of which these follows hold shares that can be sold, with its base and the trades
    since. Raises: Transient.
    """
    queries = HELD_BY.parameters([{"follow_id": each.follow_id} for each in follows])
    return await _load(engine, LOAD_HELD_TOKENS, queries, follows, controls)


async def load_tokens(
    engine: AsyncEngine, wanted: Sequence[tuple[Follow, str]], controls: Controls
) -> list[HeldToken]:
    """The same of tokens that the follows may hold or not. Raises: Transient."""
    queries = TOKENS.parameters(
        [
            {"proxy": follow.proxy, "follow_id": follow.follow_id, "token_id": token}
            for follow, token in wanted
        ]
    )
    follows = [follow for follow, _ in wanted]
    return await _load(engine, LOAD_TOKENS, queries, follows, controls)


async def _load(
    engine: AsyncEngine,
    statement: str,
    queries: Mapping[str, Any],
    follows: Sequence[Follow],
    controls: Controls,
) -> list[HeldToken]:
    by_id = {follow.follow_id: follow for follow in follows}
    resumed_at = controls.resumed_at_by_follow
    async with autocommit(engine) as connection:
        rows = await fetch_rows(connection, statement, **queries)
        held = [
            _parse_held(row, by_id[row.follow_id], resumed_at.get(row.follow_id)) for row in rows
        ]
        compared = [each for each in held if not each.is_under_way]
        trades = await _load_trades(connection, compared)
    return [with_trades(each, trades.get(each.key, ())) for each in held]


async def _load_trades(
    connection: Connection, held: Sequence[HeldToken]
) -> Mapping[tuple[str, str], list[JudgedTrade]]:
    queries = [
        {
            "n": n,
            "follow_id": each.follow.follow_id,
            "token_id": each.token_id,
            "since": each.resumed_at if each.base is None else each.base.accounted_at,
        }
        for n, each in enumerate(held)
    ]
    trades: dict[tuple[str, str], list[JudgedTrade]] = {}
    if not queries:
        return trades
    rows = await fetch_rows(connection, LOAD_TRADES, **TRADE_QUERIES.parameters(queries))
    for row in rows:
        trades.setdefault(held[row.n].key, []).append(_parse_trade(row))
    return trades


async def save_bases(
    engine: AsyncEngine, moved: Sequence[tuple[HeldToken, Base]], *, now: datetime
) -> None:
    """Record new bases, except where another process has recorded a later one.

    Raises: Transient.
    """
    rows = [
        {
            "follow_id": held.follow.follow_id,
            "token_id": held.token_id,
            "proxy": held.follow.proxy,
            "leader": held.follow.leader,
            "leader_token_id": held.leader_token_id,
            "leader_shares": base.leader_shares,
            "block_number": base.block_number,
            "accounted_at": base.accounted_at,
            "reconciled_through": base.reconciled_through,
            "mirrored_through": base.mirrored_through,
            "sold_all": base.sold_all,
            "updated_at": now,
            "previous_block_number": held.base and held.base.block_number,
        }
        for held, base in moved
    ]
    void = [
        {
            "follow_id": held.follow.follow_id,
            "token_id": held.token_id,
            "resumed_at": held.resumed_at,
        }
        for held, _ in moved
        if held.base is None and held.resumed_at is not None
    ]
    if not rows:
        return
    async with transaction(engine) as connection:
        if void:
            await connection.execute(DELETE_VOID, VOID_LEVELS.parameters(void))
        await connection.execute(SAVE_BASES, SAVED_LEVELS.parameters(rows))


async def record_judged_levels(connection: AsyncConnection, verdicts: Sequence[Verdict]) -> None:
    """Record that an exit by level was judged: the same level intends no other one. A part of the
    transaction that records the verdicts.
    """
    rows = [row for verdict in verdicts if (row := _build_judged_row(verdict)) is not None]
    if rows:
        await connection.execute(RECORD_JUDGED, JUDGED.parameters(rows))


def _build_judged_row(verdict: Verdict) -> dict[str, Any] | None:
    intent, level = verdict.intent, verdict.intent.level
    if level is None or intent.continues:
        return None
    if isinstance(verdict, IntentRefused) and verdict.reason in NOT_ACTED_ON:
        return None
    expected, buys = intent.leader_held_shares or 0, intent.side is Side.BUY
    return {
        "follow_id": intent.follow_id,
        "token_id": intent.token_id,
        "block_number": level.block_number,
        "leader_shares": expected + (intent.leader_shares if buys else -intent.leader_shares),
        "reconciled_through": None if buys else intent.filled_at,
        "mirrored_through": intent.filled_at if buys else None,
        "sold_all": _sold_all(verdict),
        "updated_at": verdict.occurred_at,
        "accounted_through": level.accounted_through,
        "sells_all": intent.cause in SELLS_ALL,
    }


def _sold_all(verdict: Verdict) -> str:
    """The marker of the exit. A token without a market is not sold again because the leader has
    none of it left.
    """
    intent = verdict.intent
    if intent.cause in SELLS_ALL:
        return sold_all_marker(intent)
    if isinstance(verdict, IntentRefused) and verdict.reason is Refusal.NO_MARKET:
        held = {"cause": CopyCause.LEADER_OUT, "leader_shares": verdict.facts.held_shares}
        return sold_all_marker(intent.model_copy(update=held))
    return ""


def _parse_held(row: Row, follow: Follow, resumed_at: datetime | None) -> HeldToken:
    is_void = row.block_number is None or (resumed_at is not None and row.updated_at < resumed_at)
    base = (
        None
        if is_void
        else Base(
            leader_shares=row.leader_shares,
            block_number=row.block_number,
            accounted_at=row.accounted_at,
            reconciled_through=row.reconciled_through,
            mirrored_through=row.mirrored_through,
            sold_all=row.sold_all,
        )
    )
    return HeldToken(
        follow=follow,
        token_id=row.token_id,
        leader_token_id=row.leader_token_id or row.token_id,
        shares=row.shares,
        is_under_way=row.is_under_way,
        base=base,
        resumed_at=resumed_at,
    )


def _parse_trade(row: Row) -> JudgedTrade:
    return JudgedTrade(
        transaction_hash=row.transaction_hash,
        leader_token_id=row.leader_token_id,
        side=Side(row.side),
        leader_shares=row.leader_shares,
        leader_held_shares=row.leader_held_shares,
        judged_at=row.judged_at,
        is_missed=row.is_missed,
    )
