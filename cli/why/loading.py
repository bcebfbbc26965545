"""Loads what is recorded of a copy, in one transaction. The signed orders are never read."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.errors import CommandError
from cli.formatting import format_time
from cli.why.identifiers import Hash, Identifier, IntentPrefix
from cli.why.records import Answer, Attempt, Copy, UncopiedTrade, Verdict
from shared.db.controls import load_newest_version
from shared.db.engine import fetch_rows, transaction
from shared.domain.ids import trade_id
from shared.messages.intents import Intent

VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)

MAX_LISTED = 5

ONE_SNAPSHOT = text("set transaction isolation level repeatable read, read only")
INTENTS_BY_PREFIX = """
select intent_id from preflight.intents
where intent_id between :first_id and :last_id
order by intent_id limit :limit
"""
DELAYED_ENTRIES = """
select intent_id, proxy, due_at, expires_at from preflight.delayed_entries
where intent_id between :first_id and :last_id order by intent_id limit 1
"""
INTENTS_BY_ORDER = """
select intent_id from executor.orders where order_hash = :hash
union
select intent_id from executor.trades where transaction_hash = :hash
"""
LEADER_FILLS = """
select * from ingest.fills where transaction_hash = :hash order by seen_at, source, row_id
"""
INTENTS_BY_LEADER_TRADE = """
with traded as (
    select distinct leader, token_id, side from ingest.fills where transaction_hash = :hash
), reported as (
    select leader, token_id, side from traded
    union
    select leader, complement_id, side from traded join ingest.complements using (token_id)
), candidates as materialized (
    select i.intent_id, r.leader
    from reported r
    join (select distinct leader, follow_id from control.follows) f on f.leader = r.leader
    join preflight.intents i
      on i.follow_id = f.follow_id and i.token_id = r.token_id and i.side in (r.side, '')
     and i.exit_id in ('', i.intent_id)
), copies as (
    select intent_id from candidates join preflight.verdicts using (intent_id)
    where verdict::jsonb -> 'intent' ->> 'transaction_hash' = :hash
      and verdict::jsonb -> 'intent' ->> 'leader' = leader
)
select intent_id from copies
union
select i.intent_id from copies c
join preflight.intents i on i.exit_id = c.intent_id and i.exit_id not in ('', i.intent_id)
"""
"""By the follows of the leader, because intents are indexed by follow and not by transaction; of
his token, and of the complementary one that counter follows copy. The verdicts of other tokens are
not parsed: that is what takes long."""
INTENTS = """
select i.*, v.verdict, v.traceparent
from preflight.intents i join preflight.verdicts v using (intent_id)
where i.intent_id = any(cast(:ids as text[]))
"""
EXITS = "select * from preflight.exits where exit_id = any(cast(:ids as text[]))"
ATTEMPTS = """
select i.*, v.verdict, v.traceparent
from preflight.intents i join preflight.verdicts v using (intent_id)
where i.exit_id = any(cast(:ids as text[])) and i.exit_id not in ('', i.intent_id)
   or i.intent_id = any(cast(:ids as text[]))
"""
"""The first attempt of an exit has its id."""
ORDERS = """
select intent_id, order_hash, state, reason, limit_price, requested_shares, shares, usdc, fee_usdc,
       last_reply, signed_at, posted_at, answered_at, confirmed_at, alerted_at, expires_at
from executor.orders_with_states where intent_id = any(cast(:ids as text[]))
"""
TRADES = """
select * from executor.trades where intent_id = any(cast(:ids as text[]))
order by matched_at, trade_id
"""
FILLS = """
select * from ingest.fills where trade_id = any(cast(:ids as text[]))
order by seen_at, source, row_id
"""
SLICES = """
select s.*, (
    select min(f.transaction_hash) from ingest.fills f where f.trade_id = s.resent_of
) as resent_transaction
from ingest.copy_slices s where s.trade_id = any(cast(:ids as text[]))
order by s.trade_id, s.from_shares, s.resent_of
"""
FOLLOWERS = """
select proxy from (
    select distinct on (follow_id) proxy, active from control.follows
    where leader = any(cast(:leaders as text[])) and version <= :version
    order by follow_id, version desc
) newest
where active order by proxy
"""


async def load(engine: AsyncEngine, wanted: Identifier, *, follower: str | None) -> Answer:
    """The copies that an id stands for, of one follower or of all.

    Raises: CommandError where nothing is found, or an intent's id is not unique; Transient.
    """
    async with transaction(engine) as connection:
        await connection.execute(ONE_SNAPSHOT)
        ids = await _find_intents(connection, wanted)
        if ids:
            copies = await _load_copies(connection, ids)
            return _select_follower(copies, follower)
        if isinstance(wanted, Hash):
            fills = await fetch_rows(connection, LEADER_FILLS, hash=wanted.text)
            if fills:
                return await _load_uncopied(connection, wanted.text, fills)
        else:
            await _require_no_delay(connection, wanted)
    raise CommandError(_describe_nothing_found(wanted))


async def _find_intents(connection: AsyncConnection, wanted: Identifier) -> set[str]:
    """Raises: CommandError where an intent's id is not unique."""
    if isinstance(wanted, Hash):
        ours = await fetch_rows(connection, INTENTS_BY_ORDER, hash=wanted.text)
        leaders = await fetch_rows(connection, INTENTS_BY_LEADER_TRADE, hash=wanted.text)
        return {row.intent_id for row in (*ours, *leaders)}
    rows = await fetch_rows(
        connection,
        INTENTS_BY_PREFIX,
        first_id=wanted.first_id,
        last_id=wanted.last_id,
        limit=MAX_LISTED + 1,
    )
    if len(rows) > 1:
        listed = ", ".join(row.intent_id for row in rows[:MAX_LISTED])
        raise CommandError(
            f"several intents begin with {wanted.digits}, give more digits: {listed}"
            + (", ..." if len(rows) > MAX_LISTED else "")
        )
    return {row.intent_id for row in rows}


async def _require_no_delay(connection: AsyncConnection, wanted: IntentPrefix) -> None:
    """Raises: CommandError where the intent is an entry that waits to be judged again."""
    delayed = await fetch_rows(
        connection, DELAYED_ENTRIES, first_id=wanted.first_id, last_id=wanted.last_id
    )
    if delayed:
        row = delayed[0]
        raise CommandError(
            f"entry {row.intent_id} of follower {row.proxy} has no verdict yet: it waits until "
            f"{format_time(row.due_at)} to be judged again, for room within "
            "PREFLIGHT_MAX_ENTRIES_PER_MINUTE or because it was late and needs a new quote, and is "
            f"too old at {format_time(row.expires_at)}"
        )


async def _load_copies(connection: AsyncConnection, ids: set[str]) -> list[Copy]:
    found = await fetch_rows(connection, INTENTS, ids=list(ids))
    exit_ids = {row.exit_id for row in found if row.exit_id}
    rows = {row.intent_id: row for row in found}
    exits: dict[str, Any] = {}
    if exit_ids:
        attempts = await fetch_rows(connection, ATTEMPTS, ids=list(exit_ids))
        rows |= {row.intent_id: row for row in attempts}
        exits = {
            row.exit_id: row for row in await fetch_rows(connection, EXITS, ids=list(exit_ids))
        }
    copied = await _load_attempts(connection, list(rows.values()))
    fills = await _load_fills(connection, [attempt.intent for attempt in copied])
    by_copy: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in copied:
        by_copy[attempt.row.exit_id or attempt.row.intent_id].append(attempt)
    return [
        Copy(
            attempts=attempts,
            chosen=[each for each in attempts if each.row.intent_id in ids][-1],
            exit=exits.get(copy_id),
            fills=fills[_leader_trade_id(attempts[0].intent)],
        )
        for copy_id, attempts in by_copy.items()
    ]


async def _load_attempts(connection: AsyncConnection, rows: Sequence[Any]) -> list[Attempt]:
    """The oldest first."""
    ids = [row.intent_id for row in rows]
    orders = {order.intent_id: order for order in await fetch_rows(connection, ORDERS, ids=ids)}
    trades: dict[str, list[Any]] = defaultdict(list)
    for trade in await fetch_rows(connection, TRADES, ids=ids):
        trades[trade.intent_id].append(trade)
    return [
        Attempt(
            row=row,
            verdict=_parse_verdict(row),
            order=orders.get(row.intent_id),
            trades=trades[row.intent_id],
        )
        for row in sorted(rows, key=lambda row: (row.judged_at, row.intent_id))
    ]


def _parse_verdict(row: Any) -> Verdict:
    """Raises: CommandError."""
    try:
        return VERDICT.validate_json(row.verdict)
    except ValidationError:
        raise CommandError(
            f"the verdict about intent {row.intent_id} cannot be read by this release: use the "
            "`slipstream` of the release that the services run"
        ) from None


async def _load_fills(
    connection: AsyncConnection, intents: Iterable[Intent]
) -> dict[str, list[Any]]:
    """The rows of the leaders' trades that the intents copy, by trade."""
    ids = {_leader_trade_id(intent) for intent in intents}
    by_trade: dict[str, list[Any]] = defaultdict(list)
    for row in await fetch_rows(connection, FILLS, ids=list(ids)):
        by_trade[row.trade_id].append(row)
    return by_trade


def _leader_trade_id(intent: Intent) -> str:
    return trade_id(
        transaction_hash=intent.transaction_hash,
        leader=intent.leader,
        token_id=intent.traded_token_id,
        side=intent.side,
    )


def _select_follower(copies: Sequence[Copy], follower: str | None) -> list[Copy]:
    """Raises: CommandError where the follower has none of them."""
    selected = [copy for copy in copies if follower in (None, copy.chosen.intent.proxy)]
    if selected:
        return selected
    others = sorted({copy.chosen.intent.proxy for copy in copies})
    listed = ", ".join(others[:MAX_LISTED]) + (", ..." if len(others) > MAX_LISTED else "")
    raise CommandError(
        f"follower {follower} has no copy of it, others have: {listed}. `slipstream follows` shows "
        "whom he follows now; a follow that began later copies nothing of before"
    )


async def _load_uncopied(
    connection: AsyncConnection, transaction_hash: str, fills: Sequence[Any]
) -> UncopiedTrade:
    slices = await fetch_rows(connection, SLICES, ids=list({row.trade_id for row in fills}))
    if slices:
        version = max(row.controls_version for row in slices)
    else:
        version = await load_newest_version(connection)
    followers = await fetch_rows(
        connection, FOLLOWERS, leaders=list({row.leader for row in fills}), version=version
    )
    return UncopiedTrade(
        transaction_hash=transaction_hash,
        fills=fills,
        slices=slices,
        controls_version=version,
        followers=[row.proxy for row in followers],
    )


def _describe_nothing_found(wanted: Identifier) -> str:
    if isinstance(wanted, IntentPrefix):
        return (
            f"no verdict is recorded about an intent {wanted.digits}: check the digits. An intent "
            "that preflight has not judged yet is in no table: see `slipstream status` and "
            "`slipstream dead-letters list`"
        )
    return (
        f"{wanted.text} is no order of ours, no settlement of one and no trade of a leader that a "
        "feed reported. If a leader traded in it: `slipstream follows` shows whether he is "
        "followed, `slipstream status` whether ingest is ready; a trade from before the follow, or "
        "before this database, is not recorded. What ended weeks ago may have been pruned: see the "
        "archive (`slipstream history`)"
    )
