"""Preflight's ports against PostgreSQL, the chain and the table of balances."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.decisions import Verdict, reserved_usdc
from services.preflight.handler import Balance, Commitments
from shared.caching.recent import LruCache
from shared.caching.single_flight import SingleFlight
from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2, is_v3_position
from shared.chain.client import ChainClient
from shared.chain.wallet_balances import WalletBalances
from shared.db import tables
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.db.sql import Batch
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.caches import BalancesFetched
from shared.messages.intents import Intent, IntentApproved, IntentRefused
from shared.messages.orders import OrderReported
from shared.observe import metrics, tracing

logger = logging.getLogger(__name__)

VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)
UNLIMITED = (1 << 63) - 1
"""Allowances are 256 bits wide; a larger one counts as unlimited, and is cut to this so that it
fits messages and the database."""

COMMITMENT_QUERIES = Batch.of(
    tables.intents, "proxy", "token_id", "day", since="timestamptz", n="bigint"
)
LOAD_COMMITMENTS = f"""
select q.n,
       coalesce(sum(i.reserved_usdc), 0)::bigint as usdc,
       coalesce(sum(i.reserved_shares) filter (where i.token_id = q.token_id), 0)::bigint as shares,
       coalesce(max(s.spent_usdc), 0)::bigint as spent_today
from {COMMITMENT_QUERIES.unnest("q")}
left join preflight.intents i
       on i.proxy = q.proxy and (i.settled_at is null or i.settled_at > q.since)
left join preflight.spending s on s.proxy = q.proxy and s.day = q.day
group by q.n order by q.n
"""
INTENTS = Batch.of(
    tables.intents,
    "intent_id",
    "proxy",
    "token_id",
    "state",
    "reason",
    "reserved_usdc",
    "reserved_shares",
    "cap_usdc",
    "day",
    "verdict",
    "traceparent",
    "judged_at",
    "settled_at",
)
RECORD_INTENTS = f"""
insert into preflight.intents ({INTENTS.names})
select {INTENTS.prefixed("g")} from {INTENTS.unnest("g")}
on conflict do nothing
returning intent_id
"""
SPENDING = Batch.of(tables.spending, "proxy", "day", "spent_usdc")
RESERVE_CAP = f"""
insert into preflight.spending ({SPENDING.names})
select {SPENDING.prefixed("g")} from {SPENDING.unnest("g")}
on conflict (proxy, day) do update set spent_usdc = spending.spent_usdc + excluded.spent_usdc
returning proxy, day, spent_usdc
"""
LOAD_VERDICTS = (
    "select intent_id, verdict from preflight.intents where intent_id = any(cast(:ids as text[]))"
)
REPORTS = Batch.of(
    tables.intents,
    "intent_id",
    "state",
    "reason",
    "settled_at",
    usdc="bigint",
    fee_usdc="bigint",
    shares="bigint",
)
SETTLE = text(f"""
with settled as (
    update preflight.intents i
    set state = g.state, reason = g.reason, settled_at = g.settled_at,
        reserved_usdc = case when i.reserved_usdc > 0 then g.usdc + g.fee_usdc else 0 end,
        reserved_shares = case when i.reserved_shares > 0 then g.shares else 0 end,
        cap_usdc = case when i.cap_usdc > 0 then g.usdc else 0 end
    from {REPORTS.unnest("g")}, preflight.intents before
    where i.intent_id = g.intent_id and before.intent_id = i.intent_id and i.settled_at is null
    returning i.proxy, i.day, before.cap_usdc - i.cap_usdc as unused
), released as (
    select proxy, day, sum(unused) as unused from settled group by proxy, day
)
update preflight.spending s
set spent_usdc = s.spent_usdc - r.unused
from released r
where s.proxy = r.proxy and s.day = r.day
""")

CommitmentsQuery = tuple[Intent, datetime, datetime]
"""The intent, when its balance was read, and the current time."""
TracedVerdict = tuple[Verdict, str | None]
"""A verdict, and the traceparent that it was reached under."""


class DailyCapExceeded(Exception):
    """Another process reserved of the same cap after this verdict was reached."""


class PostgresVerdicts:
    """Verdicts and reservations in PostgreSQL.

    Calls are grouped: one statement serves all proxies that are judged at the same time (one intent
    per proxy, as the message loop handles one record of a key at a time).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._load_commitments = GroupCommit(self._load_all_commitments)
        self._record = GroupCommit(self._record_all)
        self._settle = GroupCommit(self._settle_all)

    async def load_commitments(
        self, intent: Intent, *, since: datetime, now: datetime
    ) -> Commitments:
        return await self._load_commitments((intent, since, now))

    async def record(self, verdict: Verdict) -> Verdict:
        try:
            recorded = await self._record((verdict, tracing.inject()))
        except DailyCapExceeded as error:
            raise Transient(
                f"another process reserved of the daily cap of {verdict.intent.proxy} meanwhile: "
                f"intent {verdict.intent_id} has to be judged again"
            ) from error
        return recorded

    async def settle(self, report: OrderReported, *, now: datetime) -> None:
        await self._settle((report, now))

    async def _load_all_commitments(self, queries: Sequence[CommitmentsQuery]) -> list[Commitments]:
        rows = [
            {
                "proxy": intent.proxy,
                "token_id": intent.token_id,
                "day": _day(now),
                "since": since,
                "n": n,
            }
            for n, (intent, since, now) in enumerate(queries)
        ]
        async with autocommit(self._engine) as connection:
            found = await fetch_rows(
                connection, LOAD_COMMITMENTS, **COMMITMENT_QUERIES.parameters(rows)
            )
        return [
            Commitments(usdc=row.usdc, shares=row.shares, spent_today=row.spent_today)
            for row in found
        ]

    async def _record_all(self, group: Sequence[TracedVerdict]) -> list[Verdict]:
        """Record the verdicts that are new, and return the recorded one of each intent.

        Raises: DailyCapExceeded, and nothing of the group is recorded.
        """
        verdicts = [verdict for verdict, _ in group]
        rows = [_build_row(verdict, traceparent) for verdict, traceparent in group]
        async with transaction(self._engine) as connection:
            inserted = await fetch_rows(connection, RECORD_INTENTS, **INTENTS.parameters(rows))
            new_ids = {row.intent_id for row in inserted}
            await self._reserve_caps(
                connection,
                [v for v in verdicts if isinstance(v, IntentApproved) and v.intent_id in new_ids],
            )
            known_ids = [v.intent_id for v in verdicts if v.intent_id not in new_ids]
            known_rows = (
                await fetch_rows(connection, LOAD_VERDICTS, ids=known_ids) if known_ids else ()
            )
            known = {row.intent_id: VERDICT.validate_json(row.verdict) for row in known_rows}
        for verdict in verdicts:
            if verdict.intent_id in new_ids and isinstance(verdict, IntentRefused):
                metrics.copy_refused(verdict.reason)
        return [known.get(verdict.intent_id, verdict) for verdict in verdicts]

    async def _reserve_caps(
        self, connection: AsyncConnection, approved: Sequence[IntentApproved]
    ) -> None:
        buys = [verdict for verdict in approved if verdict.usdc > 0]
        if not buys:
            return
        rows = [
            {
                "proxy": verdict.intent.proxy,
                "day": _day(verdict.occurred_at),
                "spent_usdc": verdict.usdc,
            }
            for verdict in buys
        ]
        reserved = await fetch_rows(connection, RESERVE_CAP, **SPENDING.parameters(rows))
        spent = {(row.proxy, row.day): row.spent_usdc for row in reserved}
        if any(spent[v.intent.proxy, _day(v.occurred_at)] > v.facts.daily_cap_usdc for v in buys):
            raise DailyCapExceeded

    async def _settle_all(self, reports: Sequence[tuple[OrderReported, datetime]]) -> list[None]:
        rows = [
            {
                "intent_id": report.intent_id,
                "state": report.state.value,
                "reason": report.reason,
                "settled_at": now,
                "usdc": report.usdc,
                "fee_usdc": report.fee_usdc,
                "shares": report.shares,
            }
            for report, now in reports
        ]
        async with autocommit(self._engine) as connection:
            await connection.execute(SETTLE, REPORTS.parameters(rows))
        return [None] * len(reports)


def _build_row(verdict: Verdict, traceparent: str | None) -> dict[str, Any]:
    """The row of ``preflight.intents``; a refusal reserves nothing and is settled at once."""
    row = {
        "intent_id": verdict.intent_id,
        "proxy": verdict.intent.proxy,
        "token_id": verdict.intent.token_id,
        "day": _day(verdict.occurred_at),
        "verdict": verdict.model_dump_json(),
        "traceparent": traceparent,
        "judged_at": verdict.occurred_at,
    }
    if isinstance(verdict, IntentApproved):
        return row | {
            "state": "approved",
            "reason": "",
            "reserved_usdc": reserved_usdc(verdict),
            "reserved_shares": verdict.shares,
            "cap_usdc": verdict.usdc,
            "settled_at": None,
        }
    return row | {
        "state": "refused",
        "reason": verdict.reason.value,
        "reserved_usdc": 0,
        "reserved_shares": 0,
        "cap_usdc": 0,
        "settled_at": verdict.occurred_at,
    }


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


BalanceQuery = tuple[str, str | None]
"""A proxy, and the token whose shares are read too; None: the collateral alone."""

MAX_CONCURRENT_REQUESTS, MAX_PROXIES_PER_REQUEST = 4, 100
"""Of requests to the node. A request that hangs blocks only a quarter of them, and what is
requested meanwhile goes out together, in half a megabyte at most."""


class SharedCache(Protocol):
    """The cache table that all instances of preflight write and read, by proxy."""

    def get(self, key: str) -> bytes | None: ...

    async def put(self, message: Message) -> None: ...


class ChainBalances:
    """Balances from the chain, cached here and shared with the other instances.

    Requests of the same moment go out as one. A balance is refreshed in the background once half of
    its ``max_age`` has passed, so that the copies of a busy proxy do not wait for the chain.
    """

    def __init__(
        self,
        chain: ChainClient,
        shared: SharedCache,
        *,
        now: Callable[[], datetime],
        max_age: timedelta,
        max_accounts: int,
    ) -> None:
        self._chain, self._shared, self._now, self._max_age = chain, shared, now, max_age
        self._cached: LruCache[str, BalancesFetched] = LruCache(max_accounts)
        self._fetch_group: GroupCommit[BalanceQuery, BalancesFetched | Transient] = GroupCommit(
            self._fetch_from_chain,
            max_concurrent=MAX_CONCURRENT_REQUESTS,
            max_group_size=MAX_PROXIES_PER_REQUEST,
        )
        self._fetch = SingleFlight(self._fetch_or_raise)
        self._background_tasks: set[asyncio.Task[object]] = set()
        """Refreshes and cache writes, which no copy waits for."""

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        token_id = intent.token_id if intent.side is Side.SELL else None
        cached = None if fresh else self._newest_usable(intent.proxy, token_id)
        result = metrics.CacheResult.HIT if cached is not None else metrics.CacheResult.MISS
        metrics.cache_requested(metrics.Cache.BALANCES, result)
        if (
            cached is not None
            and self._is_refresh_due(cached)
            and not self._fetch.is_running((intent.proxy, token_id))
        ):
            self._run_in_background(self._fetch((intent.proxy, token_id)))
        fetched = cached or await self._fetch((intent.proxy, token_id))
        spender = _exchange_for(intent.token_id, neg_risk=neg_risk)
        return Balance(
            usdc=fetched.usdc,
            allowance=fetched.allowance_by_spender.get(spender, 0),
            shares=fetched.shares_by_token.get(token_id, 0) if token_id is not None else 0,
            shares_approved=fetched.shares_approved_by_spender.get(spender, False),
            fetched_at=fetched.fetched_at,
            cached=cached is not None,
        )

    def _newest_usable(self, proxy: str, token_id: str | None) -> BalancesFetched | None:
        usable = [
            entry
            for entry in (self._cached.get(proxy), self._load_shared(proxy))
            if entry is not None
            and self._is_fresh(entry)
            and (token_id is None or token_id in entry.shares_by_token)
        ]
        return max(usable, key=lambda entry: entry.fetched_at, default=None)

    def _is_fresh(self, entry: BalancesFetched) -> bool:
        """A time in the future comes from a wrong clock and does not make an entry fresh."""
        return abs(self._now() - entry.fetched_at) <= self._max_age

    def _is_refresh_due(self, entry: BalancesFetched) -> bool:
        return self._now() - entry.fetched_at > self._max_age / 2

    def _load_shared(self, proxy: str) -> BalancesFetched | None:
        entry = self._shared.get(proxy)
        if entry is None:
            return None
        try:
            return BalancesFetched.model_validate_json(entry, extra="ignore")
        except ValidationError:
            metrics.cache_requested(metrics.Cache.BALANCES, metrics.CacheResult.UNREADABLE)
            return None

    async def _fetch_or_raise(self, query: BalanceQuery) -> BalancesFetched:
        fetched = await self._fetch_group(query)
        if isinstance(fetched, Transient):
            raise fetched
        return fetched

    async def _fetch_from_chain(
        self, queries: Sequence[BalanceQuery]
    ) -> list[BalancesFetched | Transient]:
        """Return the balances, or the failure, of each query. Raises: Transient where the node
        answered none.
        """
        requested_at = self._now()
        wallets = [
            (proxy, (int(token_id),) if token_id is not None else ()) for proxy, token_id in queries
        ]
        results = [
            wallet if isinstance(wallet, Transient) else _build_fetched(wallet, requested_at)
            for wallet in await self._chain.fetch_balances_or_failures(wallets)
        ]
        for fetched in results:
            if isinstance(fetched, BalancesFetched):
                self._cached.put(fetched.proxy, fetched)
                self._run_in_background(self._shared.put(fetched))
        return results

    def _run_in_background(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._background_tasks.add(task)
        task.add_done_callback(self._on_background_done)

    def _on_background_done(self, task: asyncio.Task[object]) -> None:
        """Log a failure. A copy that needs the balance fetches it again and gets the error."""
        self._background_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning(
                "a balance could not be refreshed in the background or shared with the other "
                "instances: %s",
                type(error).__name__,
            )


def _build_fetched(wallet: WalletBalances, requested_at: datetime) -> BalancesFetched:
    return BalancesFetched(
        message_id=f"{wallet.wallet}:{wallet.block_number}:{requested_at.timestamp()}",
        occurred_at=requested_at,
        proxy=wallet.wallet,
        usdc=wallet.collateral,
        allowance_by_spender={
            spender: min(amount, UNLIMITED)
            for spender, amount in wallet.allowance_by_spender.items()
        },
        shares_by_token={str(token): shares for token, shares in wallet.shares_by_token.items()},
        shares_approved_by_spender={
            spender: spender
            in (
                wallet.position_manager_approved
                if spender == EXCHANGE_V3
                else wallet.conditional_tokens_approved
            )
            for spender in wallet.allowance_by_spender
        },
        block_number=wallet.block_number,
        fetched_at=requested_at,
    )


def _exchange_for(token_id: str, *, neg_risk: bool) -> str:
    """The exchange that settles the token, which must be allowed to move what it takes."""
    if is_v3_position(int(token_id)):
        return EXCHANGE_V3
    return NEG_RISK_EXCHANGE_V2 if neg_risk else EXCHANGE_V2
