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
from shared.chain.client import ChainClient, WalletBalances
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.caches import BalancesFetched
from shared.messages.intents import Intent, IntentApproved, IntentRefused
from shared.messages.orders import OrderReported
from shared.observe import metrics, tracing

logger = logging.getLogger(__name__)

VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)
WITHOUT_LIMIT = (1 << 63) - 1
"""Allowances are 256 bits wide; what goes over this counts as without limit, and fits the wire and
the database."""

COMMITMENTS = """
select a.n,
       coalesce(sum(i.reserved_usdc), 0)::bigint as usdc,
       coalesce(sum(i.reserved_shares) filter (where i.token_id = a.token_id), 0)::bigint as shares,
       coalesce(max(s.spent_usdc), 0)::bigint as spent_today
from unnest(cast(:proxies as text[]), cast(:tokens as text[]), cast(:since as timestamptz[]), cast(:days as date[]))
     with ordinality as a(proxy, token_id, since, day, n)
left join preflight.intents i on i.proxy = a.proxy and (i.settled_at is null or i.settled_at > a.since)
left join preflight.spending s on s.proxy = a.proxy and s.day = a.day
group by a.n order by a.n
"""
RECORD_INTENTS = """
insert into preflight.intents (intent_id, proxy, token_id, state, reason, reserved_usdc, reserved_shares, cap_usdc, day, verdict,
                               traceparent, judged_at, settled_at)
select * from unnest(cast(:ids as text[]), cast(:proxies as text[]), cast(:tokens as text[]), cast(:states as text[]),
                     cast(:reasons as text[]), cast(:usdc as bigint[]), cast(:shares as bigint[]), cast(:caps as bigint[]),
                     cast(:days as date[]), cast(:verdicts as text[]), cast(:traces as text[]), cast(:judged as timestamptz[]),
                     cast(:settled as timestamptz[]))
on conflict do nothing
returning intent_id
"""
RESERVE_CAP = """
insert into preflight.spending (proxy, day, spent_usdc)
select * from unnest(cast(:proxies as text[]), cast(:days as date[]), cast(:caps as bigint[]))
on conflict (proxy, day) do update set spent_usdc = spending.spent_usdc + excluded.spent_usdc
returning proxy, day, spent_usdc
"""
STANDING = (
    "select intent_id, verdict from preflight.intents where intent_id = any(cast(:ids as text[]))"
)
SETTLE = text("""
with given as (
    select * from unnest(cast(:ids as text[]), cast(:states as text[]), cast(:reasons as text[]), cast(:usdc as bigint[]),
                         cast(:fees as bigint[]), cast(:shares as bigint[]), cast(:at as timestamptz[]))
                  as g(intent_id, state, reason, usdc, fee_usdc, shares, settled_at)
), settled as (
    update preflight.intents i
    set state = g.state, reason = g.reason, settled_at = g.settled_at,
        reserved_usdc = case when i.reserved_usdc > 0 then g.usdc + g.fee_usdc else 0 end,
        reserved_shares = case when i.reserved_shares > 0 then g.shares else 0 end,
        cap_usdc = case when i.cap_usdc > 0 then g.usdc else 0 end
    from given g, preflight.intents before
    where i.intent_id = g.intent_id and before.intent_id = i.intent_id and i.settled_at is null
    returning i.proxy, i.day, before.cap_usdc - i.cap_usdc as unused
), given_back as (
    select proxy, day, sum(unused) as unused from settled group by proxy, day
)
update preflight.spending s set spent_usdc = s.spent_usdc - b.unused from given_back b where s.proxy = b.proxy and s.day = b.day
""")

Ask = tuple[Intent, datetime, datetime]
Told = tuple[Verdict, str | None]
"""A verdict, and the trace that it was reached in."""


class CapUsedUp(Exception):
    """Somebody else reserved of the same cap since this verdict was reached."""


class PostgresVerdicts:
    """Everything goes in groups: one statement for all proxies that are judged at the time (one
    intent per proxy, by the loop).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._commitments = GroupCommit(self._commitments_of_all)
        self._record = GroupCommit(self._record_all)
        self._settle = GroupCommit(self._settle_all)

    async def commitments(self, intent: Intent, *, since: datetime, now: datetime) -> Commitments:
        return await self._commitments((intent, since, now))

    async def record(self, verdict: Verdict) -> Verdict:
        try:
            standing = await self._record((verdict, tracing.inject()))
        except CapUsedUp as error:
            raise Transient(
                "the daily cap was used by another process meanwhile: judge again"
            ) from error
        return standing

    async def settle(self, report: OrderReported, *, now: datetime) -> None:
        await self._settle((report, now))

    async def _commitments_of_all(self, asked: Sequence[Ask]) -> list[Commitments]:
        async with autocommit(self._engine) as connection:
            found = await fetch_rows(
                connection,
                COMMITMENTS,
                proxies=[intent.proxy for intent, _, _ in asked],
                tokens=[intent.token_id for intent, _, _ in asked],
                since=[since for _, since, _ in asked],
                days=[_day(now) for _, _, now in asked],
            )
        return [
            Commitments(usdc=row.usdc, shares=row.shares, spent_today=row.spent_today)
            for row in found
        ]

    async def _record_all(self, told: Sequence[Told]) -> list[Verdict]:
        """Raises: CapUsedUp, and nothing of the group is kept."""
        verdicts = [verdict for verdict, _ in told]
        async with transaction(self._engine) as connection:
            inserted = await fetch_rows(
                connection,
                RECORD_INTENTS,
                **_intent_columns(verdicts),
                traces=[trace for _, trace in told],
            )
            fresh = {row.intent_id for row in inserted}
            await self._reserve_caps(
                connection,
                [v for v in verdicts if isinstance(v, IntentApproved) and v.intent_id in fresh],
            )
            known = [verdict.intent_id for verdict in verdicts if verdict.intent_id not in fresh]
            told_before = await fetch_rows(connection, STANDING, ids=known) if known else ()
            standing = {row.intent_id: VERDICT.validate_json(row.verdict) for row in told_before}
        for verdict in verdicts:
            if verdict.intent_id in fresh and isinstance(verdict, IntentRefused):
                metrics.copy_refused(verdict.reason)
        return [standing.get(verdict.intent_id, verdict) for verdict in verdicts]

    async def _reserve_caps(
        self, connection: AsyncConnection, approved: Sequence[IntentApproved]
    ) -> None:
        buys = [verdict for verdict in approved if verdict.usdc > 0]
        if not buys:
            return
        reserved = await fetch_rows(
            connection,
            RESERVE_CAP,
            proxies=[verdict.intent.proxy for verdict in buys],
            days=[_day(verdict.occurred_at) for verdict in buys],
            caps=[verdict.usdc for verdict in buys],
        )
        spent = {(row.proxy, row.day): row.spent_usdc for row in reserved}
        if any(spent[v.intent.proxy, _day(v.occurred_at)] > v.facts.daily_cap_usdc for v in buys):
            raise CapUsedUp

    async def _settle_all(self, reports: Sequence[tuple[OrderReported, datetime]]) -> list[None]:
        columns = {
            "ids": [report.intent_id for report, _ in reports],
            "states": [report.state.value for report, _ in reports],
            "reasons": [report.reason for report, _ in reports],
            "usdc": [report.usdc for report, _ in reports],
            "fees": [report.fee_usdc for report, _ in reports],
            "shares": [report.shares for report, _ in reports],
            "at": [now for _, now in reports],
        }
        async with autocommit(self._engine) as connection:
            await connection.execute(SETTLE, columns)
        return [None] * len(reports)


def _intent_columns(verdicts: Sequence[Verdict]) -> dict[str, list[Any]]:
    approved = [verdict if isinstance(verdict, IntentApproved) else None for verdict in verdicts]
    return {
        "ids": [verdict.intent_id for verdict in verdicts],
        "proxies": [verdict.intent.proxy for verdict in verdicts],
        "tokens": [verdict.intent.token_id for verdict in verdicts],
        "states": ["approved" if one else "refused" for one in approved],
        "reasons": [
            "" if isinstance(verdict, IntentApproved) else verdict.reason.value
            for verdict in verdicts
        ],
        "usdc": [reserved_usdc(one) if one else 0 for one in approved],
        "shares": [one.shares if one else 0 for one in approved],
        "caps": [one.usdc if one else 0 for one in approved],
        "days": [_day(verdict.occurred_at) for verdict in verdicts],
        "verdicts": [verdict.model_dump_json() for verdict in verdicts],
        "judged": [verdict.occurred_at for verdict in verdicts],
        "settled": [
            None if one else verdict.occurred_at
            for one, verdict in zip(approved, verdicts, strict=True)
        ],
    }


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


Asked = tuple[str, str | None]
"""A proxy, and the token whose shares are asked for too."""

REQUESTS_AT_ONCE, PROXIES_AT_ONCE = 4, 100
"""To the node: a request that hangs holds up few others, and what is asked for meanwhile goes out
together, in half a megabyte at most."""


class SharedEntries(Protocol):
    """The table that all instances of preflight fill and read."""

    def get(self, key: str) -> bytes | None: ...

    async def put(self, message: Message) -> None: ...


class ChainBalances:
    """Balances from the chain, kept for a while. What was just fetched is used at once; others are
    told of it.

    All that is asked for at the time goes out together. A balance that grows old is asked for anew
    while it still may be used, so that the copies of a busy proxy never wait for the chain.
    """

    def __init__(
        self,
        chain: ChainClient,
        shared: SharedEntries,
        *,
        now: Callable[[], datetime],
        max_age: timedelta,
        max_accounts: int,
    ) -> None:
        self._chain, self._shared, self._now, self._max_age = chain, shared, now, max_age
        self._known: LruCache[str, BalancesFetched] = LruCache(max_accounts)
        self._ask: GroupCommit[Asked, BalancesFetched | Transient] = GroupCommit(
            self._ask_chain, at_once=REQUESTS_AT_ONCE, largest=PROXIES_AT_ONCE
        )
        self._fetch = SingleFlight(self._ask_together)
        self._beside: set[asyncio.Task[object]] = set()
        """What no copy waits for."""

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        token_id = intent.token_id if intent.side is Side.SELL else None
        known = None if fresh else self._freshest(intent.proxy, token_id)
        metrics.cache_requested(
            metrics.Cache.BALANCES,
            metrics.CacheResult.HIT if known is not None else metrics.CacheResult.MISS,
        )
        if (
            known is not None
            and self._is_growing_old(known)
            and not self._fetch.is_under_way((intent.proxy, token_id))
        ):
            self._run_beside(self._fetch((intent.proxy, token_id)))
        fetched = known or await self._fetch((intent.proxy, token_id))
        spender = _spender(intent.token_id, neg_risk=neg_risk)
        return Balance(
            usdc=fetched.usdc,
            allowance=fetched.allowance_by_spender.get(spender, 0),
            shares=fetched.shares_by_token.get(token_id, 0) if token_id is not None else 0,
            shares_approved=fetched.shares_approved_by_spender.get(spender, False),
            fetched_at=fetched.fetched_at,
            cached=known is not None,
        )

    def _freshest(self, proxy: str, token_id: str | None) -> BalancesFetched | None:
        usable = [
            entry
            for entry in (self._known.get(proxy), self._from_shared(proxy))
            if entry is not None
            and abs(self._now() - entry.fetched_at)
            <= self._max_age  # a clock that runs ahead makes no entry young
            and (token_id is None or token_id in entry.shares_by_token)
        ]
        return max(usable, key=lambda entry: entry.fetched_at, default=None)

    def _is_growing_old(self, known: BalancesFetched) -> bool:
        return self._now() - known.fetched_at > self._max_age / 2

    def _from_shared(self, proxy: str) -> BalancesFetched | None:
        entry = self._shared.get(proxy)
        if entry is None:
            return None
        try:
            return BalancesFetched.model_validate_json(entry, extra="ignore")
        except ValidationError:
            metrics.cache_requested(metrics.Cache.BALANCES, metrics.CacheResult.UNREADABLE)
            return None

    async def _ask_together(self, asked: Asked) -> BalancesFetched:
        fetched = await self._ask(asked)
        if isinstance(fetched, Transient):
            raise fetched
        return fetched

    async def _ask_chain(self, asked: Sequence[Asked]) -> list[BalancesFetched | Transient]:
        """Raises: Transient where the node could not be asked at all."""
        asked_at = self._now()
        wallets = [
            (proxy, (int(token_id),) if token_id is not None else ()) for proxy, token_id in asked
        ]
        read = await self._chain.fetch_balances_each(wallets)
        answers = [
            wallet if isinstance(wallet, Transient) else _fetched(wallet, asked_at)
            for wallet in read
        ]
        for fetched in answers:
            if isinstance(fetched, BalancesFetched):
                self._known.put(fetched.proxy, fetched)
                self._run_beside(self._shared.put(fetched))
        return answers

    def _run_beside(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._ended_beside)

    def _ended_beside(self, task: asyncio.Task[object]) -> None:
        """Whoever needs what failed here asks for it himself, and is told."""
        self._beside.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning(
                "a balance could not be asked for ahead of time, or not be told to others: %s",
                type(error).__name__,
            )


def _fetched(wallet: WalletBalances, asked_at: datetime) -> BalancesFetched:
    return BalancesFetched(
        message_id=f"{wallet.wallet}:{wallet.block_number}:{asked_at.timestamp()}",
        occurred_at=asked_at,
        proxy=wallet.wallet,
        usdc=wallet.collateral,
        allowance_by_spender={
            spender: min(amount, WITHOUT_LIMIT)
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
        fetched_at=asked_at,
    )


def _spender(token_id: str, *, neg_risk: bool) -> str:
    """The exchange that settles the token, and must be allowed to move what it takes."""
    if is_v3_position(int(token_id)):
        return EXCHANGE_V3
    return NEG_RISK_EXCHANGE_V2 if neg_risk else EXCHANGE_V2
