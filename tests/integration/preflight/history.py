"""A large history of preflight: closed copies of some followers over several weeks."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import transaction
from shared.db.partitions import create_partitions
from tests.builders import PROXY, TOKEN, an_intent

WEEKS = 6
PROXIES, TOKENS = 20, 50
COPIES = 300_000
EXITS, OPEN_EXITS = 50_000, 500
HELD = 25
"""Tokens that each follow holds of those in its history."""
RESERVED = 30
"""Copies of each follower that were settled some minutes ago, and whose reservations are kept."""

PROXY_OF_N = f"case n % {PROXIES} when 0 then '{PROXY}' else '0xp' || n % {PROXIES} end"
FOLLOW_OF_N = f"'follow-' || 1 + n % {PROXIES}"
TOKEN_OF_N = (
    f"case n / {PROXIES} % {TOKENS} when 0 then '{TOKEN}' else '7' || n / {PROXIES} % {TOKENS} end"
)
"""Each follow has copies of each token."""
AGE_OF_N = f"interval '{WEEKS} weeks' * n / {COPIES} + interval '1 hour'"
ID_OF_N = (
    f"'i' || to_char((:now - ({AGE_OF_N})) at time zone 'UTC', 'YYYYMMDD') || '-' "
    "|| substr(md5(n::text), 1, 24)"
)
INSERT_INTENTS = f"""
insert into preflight.intents (intent_id, proxy, follow_id, token_id, side, exit_id, state, reason,
    judged_at, settled_at, reserved_usdc, reserved_shares, cap_usdc, filled_shares)
select {ID_OF_N}, {PROXY_OF_N}, {FOLLOW_OF_N}, {TOKEN_OF_N}, 'BUY', '', 'confirmed', '',
       :now - ({AGE_OF_N}), :now - ({AGE_OF_N}) + interval '2 seconds', 5000000, 0, 5000000, 1000000
from generate_series(1, {COPIES}) as n
"""
INSERT_VERDICTS = f"""
insert into preflight.verdicts (intent_id, verdict)
select {ID_OF_N}, '{{"intent":{{"cause":"trade","usdc":"5000000","transaction_hash":"0x' || n
       || '","leader_shares":"1000000","leader_held_shares": null}}}}'
from generate_series(1, {COPIES}) as n
"""
INSERT_EXITS = f"""
insert into preflight.exits (exit_id, proxy, leader, follow_id, token_id, intent, base_shares,
    awaited_entries, awaited_exits, shares, sold_shares, attempts, state, reason, expires_at,
    updated_at)
select 'e' || n, {PROXY_OF_N}, '0xleader', {FOLLOW_OF_N}, {TOKEN_OF_N}, :intent, 1000000,
       array['i20260101-' || n], array['e' || n - 1], 1000000, 1000000, 1, 'done', '',
       :now - interval '1 day', :now - interval '1 day'
from generate_series(1, {EXITS}) as n
"""
INSERT_OPEN_EXITS = f"""
insert into preflight.exits (exit_id, proxy, leader, follow_id, token_id, intent, base_shares,
    awaited_entries, awaited_exits, shares, sold_shares, attempts, state, reason, expires_at,
    updated_at, next_attempt_at)
select 'o' || n, '0xother', '0xleader', 'other-' || n, {TOKEN_OF_N}, :intent, 1000000,
       '{{}}', '{{}}', null, 0, 1, 'open', '', :now + interval '10 minutes', :now,
       :now + interval '10 minutes'
from generate_series(1, {OPEN_EXITS}) as n
"""
INSERT_POSITIONS = f"""
insert into preflight.positions (follow_id, token_id, proxy, shares)
select {FOLLOW_OF_N}, {TOKEN_OF_N}, {PROXY_OF_N}, 1000000
from generate_series(0, {PROXIES * HELD - 1}) as n
"""
INSERT_COPIES = f"""
insert into preflight.newest_copies (follow_id, token_id, proxy, judged_at, has_ended, traded_at)
select {FOLLOW_OF_N}, {TOKEN_OF_N}, {PROXY_OF_N}, :now - interval '1 hour', false,
       :now - interval '1 hour'
from generate_series(0, {PROXIES * HELD - 1}) as n
"""
INSERT_RESERVATIONS = f"""
insert into preflight.reservations (intent_id, proxy, follow_id, token_id, side, reserved_usdc,
    reserved_shares, cap_usdc, judged_at, settled_at)
select 'r' || n, {PROXY_OF_N}, {FOLLOW_OF_N}, {TOKEN_OF_N}, 'BUY', 5000000, 0, 5000000,
       :now - interval '2 minutes', :now - interval '2 minutes'
from generate_series(1, {PROXIES * RESERVED}) as n
"""


async def insert_history(engine: AsyncEngine, *, until: datetime) -> None:
    """The newest copies are an hour older than ``until``, the oldest some weeks."""
    for weeks in range(WEEKS + 1):
        await create_partitions(
            engine, [tables.intents, tables.verdicts], now=until - timedelta(weeks=weeks)
        )
    async with transaction(engine) as connection:
        for statement in (
            INSERT_INTENTS,
            INSERT_VERDICTS,
            INSERT_EXITS,
            INSERT_OPEN_EXITS,
            INSERT_POSITIONS,
            INSERT_COPIES,
            INSERT_RESERVATIONS,
        ):
            values = {"now": until, "intent": an_intent().model_dump_json()}
            named = {name: value for name, value in values.items() if f":{name}" in statement}
            typed = statement.replace(":now", "cast(:now as timestamptz)")
            await connection.execute(text(typed), named)
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("vacuum analyze"))
