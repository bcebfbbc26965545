"""Verdicts, reservations, positions and exits in PostgreSQL."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.adapters import caps, delays, entry_limits, statements
from services.preflight.adapters.caps import LimitExceeded
from services.preflight.adapters.delays import EntryApproved
from services.preflight.adapters.levels import record_judged_levels
from services.preflight.adapters.newest_copies import TradedMeanwhile, record_newest_copies
from services.preflight.adapters.rows import (
    build_commitments_query,
    build_exit_row,
    build_intent_row,
    build_position,
    build_position_query,
    parse_commitments,
    parse_exit,
)
from services.preflight.decisions import (
    DelayedEntry,
    Exit,
    ExitState,
    FollowPosition,
    Limits,
    OtherEntries,
    Verdict,
)
from services.preflight.handler import Commitments
from shared.db.engine import Connection, autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.domain.errors import Transient
from shared.messages.intents import Intent, IntentApproved, IntentRefused
from shared.messages.orders import OrderReported
from shared.observe import metrics, tracing

logger = logging.getLogger(__name__)

VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)

CommitmentsQuery = tuple[Intent, Limits, datetime, datetime]
"""The intent, what is limited, when its balance was read, and the current time."""
TracedVerdict = tuple[Verdict, Exit | None, str | None]
"""A verdict, the exit that it is about, and the traceparent that it was reached under."""
Recording = tuple[TracedVerdict, Sequence[IntentRefused]]
"""A verdict, and those about the delayed entries that it lets go."""
Settlement = tuple[OrderReported, Exit | None, datetime]


class PostgresVerdicts:
    """Verdicts, reservations, positions and exits in PostgreSQL.

    Calls are grouped: one statement serves all proxies that are judged at the same time (one intent
    per proxy, as the message loop handles one record of a key at a time).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._load_commitments = GroupCommit(self._load_all_commitments)
        self._load_position = GroupCommit(self._load_all_positions)
        self._load_exit = GroupCommit(self._load_all_exits)
        self._record = GroupCommit(self._record_all)
        self._settle = GroupCommit(self._settle_all)

    async def load_commitments(
        self, intent: Intent, *, limits: Limits, since: datetime, now: datetime
    ) -> Commitments:
        return await self._load_commitments((intent, limits, since, now))

    async def load_position(self, intent: Intent) -> FollowPosition:
        return await self._load_position(intent)

    async def record(
        self, verdict: Verdict, exit_: Exit | None = None, *, let_go: Sequence[IntentRefused] = ()
    ) -> Verdict:
        try:
            return await self._record(((verdict, exit_, tracing.inject()), let_go))
        except EntryApproved as error:
            raise Transient(
                f"entry {error} was approved meanwhile, and is not let go: intent "
                f"{verdict.intent_id} of {verdict.intent.proxy} has to be judged again"
            ) from error
        except LimitExceeded as error:
            raise Transient(
                f"another copy reserved of {error} meanwhile: intent {verdict.intent_id} "
                f"of {verdict.intent.proxy} has to be judged again"
            ) from error
        except TradedMeanwhile as error:
            raise Transient(
                f"a trade of the leader was judged meanwhile: intent {verdict.intent_id} "
                f"of {verdict.intent.proxy} has to be judged again"
            ) from error

    async def load_other_entries(self, intent: Intent, *, now: datetime) -> OtherEntries:
        async with autocommit(self._engine) as connection:
            return await delays.load_other_entries(connection, intent, now=now)

    async def delay(self, entry: DelayedEntry) -> Verdict | None:
        traced = replace(entry, traceparent=tracing.inject())
        async with transaction(self._engine) as connection:
            await delays.record_delay(connection, traced)
            known = await self._load_known(connection, [entry.intent.intent_id])
            if known:
                await delays.end_delay(connection, entry.intent.intent_id)
        return known.get(entry.intent.intent_id)

    async def load_exit(self, intent_id: str) -> Exit | None:
        return await self._load_exit(intent_id)

    async def settle(
        self, report: OrderReported, exit_: Exit | None = None, *, now: datetime
    ) -> None:
        await self._settle((report, exit_, now))

    async def _load_all_commitments(self, queries: Sequence[CommitmentsQuery]) -> list[Commitments]:
        rows = [
            build_commitments_query(intent, n, limits=limits, since=since, now=now)
            for n, (intent, limits, since, now) in enumerate(queries)
        ]
        async with autocommit(self._engine) as connection:
            found = await fetch_rows(
                connection,
                statements.LOAD_COMMITMENTS,
                **statements.COMMITMENT_QUERIES.parameters(rows),
            )
        return [parse_commitments(row) for row in found]

    async def _load_all_positions(self, intents: Sequence[Intent]) -> list[FollowPosition]:
        queries = statements.POSITION_QUERIES.parameters(
            [build_position_query(intent, n) for n, intent in enumerate(intents)]
        )
        async with autocommit(self._engine) as connection:
            held = await fetch_rows(connection, statements.LOAD_HELD, **queries)
            open_intents = _group_by_query(
                await fetch_rows(connection, statements.LOAD_OPEN_INTENTS, **queries)
            )
            delayed = _group_by_query(
                await fetch_rows(connection, statements.LOAD_DELAYED_ENTRIES, **queries)
            )
            entries = _group_by_query(
                await fetch_rows(connection, statements.LOAD_AWAITED_ENTRIES, **queries)
            )
            exits = _group_by_query(await fetch_rows(connection, statements.LOAD_EXITS, **queries))
        return [
            build_position(
                intent,
                row,
                open_intents=open_intents[n],
                delayed_entries=delayed[n],
                awaited_entries=entries[n],
                exits=[parse_exit(each) for each in exits[n]],
            )
            for n, (intent, row) in enumerate(zip(intents, held, strict=True))
        ]

    async def _load_all_exits(self, intent_ids: Sequence[str]) -> list[Exit | None]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(
                connection, statements.LOAD_EXITS_BY_INTENT, intent_ids=list(intent_ids)
            )
        exits = {row.intent_id: parse_exit(row) for row in rows}
        return [exits.get(intent_id) for intent_id in intent_ids]

    async def _record_all(self, recordings: Sequence[Recording]) -> list[Verdict]:
        """Record the verdicts that are new, and return the recorded one of each intent.

        Raises: LimitExceeded, EntryApproved or TradedMeanwhile, and nothing of the group is
        recorded.
        """
        group = [traced for traced, _ in recordings]
        verdicts = [verdict for verdict, _, _ in group]
        rows = [build_intent_row(verdict, traceparent) for verdict, _, traceparent in group]
        async with transaction(self._engine) as connection:
            gone = await self._let_go(connection, recordings)
            inserted = await fetch_rows(
                connection, statements.RECORD_INTENTS, **statements.INTENTS.parameters(rows)
            )
            new_ids = {row.intent_id for row in inserted}
            new = [each for each in group if each[0].intent_id in new_ids]
            entries = _select_entries(new)
            await caps.reserve(connection, entries)
            await entry_limits.require_room(connection, entries)
            await _save_exits(
                connection,
                [
                    (_with_trace(exit_, traceparent), verdict.occurred_at)
                    for verdict, exit_, traceparent in new
                    if exit_ is not None
                ],
            )
            judged = [*gone, *(verdict for verdict, _, _ in new)]
            await record_newest_copies(connection, judged)
            await record_judged_levels(connection, judged)
            known = await self._load_known(
                connection, [v.intent_id for v in verdicts if v.intent_id not in new_ids]
            )
        for verdict, exit_, _ in [*((refused, None, None) for refused in gone), *new]:
            _count_verdict(verdict, exit_)
        return [known.get(verdict.intent_id, verdict) for verdict in verdicts]

    async def _let_go(
        self, connection: AsyncConnection, recordings: Sequence[Recording]
    ) -> list[IntentRefused]:
        """Record the refusals of delayed entries, and return those that are new.

        Raises: EntryApproved.
        """
        refusals = [(refused, trace) for (_, _, trace), let_go in recordings for refused in let_go]
        if not refusals:
            return []
        rows = [build_intent_row(refused, trace) for refused, trace in refusals]
        inserted = await fetch_rows(
            connection, statements.LET_GO, **statements.INTENTS.parameters(rows)
        )
        new_ids = {row.intent_id for row in inserted}
        known = await self._load_known(
            connection, [each.intent_id for each, _ in refusals if each.intent_id not in new_ids]
        )
        for intent_id, verdict in known.items():
            if isinstance(verdict, IntentApproved):
                raise EntryApproved(intent_id)
        return [each for each, _ in refusals if each.intent_id in new_ids]

    async def _load_known(
        self, connection: AsyncConnection, intent_ids: Sequence[str]
    ) -> dict[str, Verdict]:
        if not intent_ids:
            return {}
        rows = await fetch_rows(connection, statements.LOAD_VERDICTS, intent_ids=list(intent_ids))
        return {row.intent_id: VERDICT.validate_json(row.verdict) for row in rows}

    async def _settle_all(self, settlements: Sequence[Settlement]) -> list[None]:
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
            for report, _, now in settlements
        ]
        has_exits = any(exit_ is not None for _, exit_, _ in settlements)
        begin = transaction if has_exits else autocommit
        async with begin(self._engine) as connection:
            settled = await fetch_rows(
                connection, statements.SETTLE, **statements.REPORTS.parameters(rows)
            )
            new_ids = {row.intent_id for row in settled}
            exits = [
                (exit_, now)
                for report, exit_, now in settlements
                if exit_ is not None and report.intent_id in new_ids
            ]
            await _save_exits(connection, exits)
        for exit_, _ in exits:
            _count_exit(exit_)
        return [None] * len(settlements)


def _select_entries(recorded: Sequence[TracedVerdict]) -> list[IntentApproved]:
    """The approved entries, which count against limits."""
    return [
        verdict
        for verdict, _, _ in recorded
        if isinstance(verdict, IntentApproved) and verdict.usdc > 0
    ]


def _group_by_query(rows: Sequence[Row[Any]]) -> dict[int, list[Row[Any]]]:
    grouped: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.n].append(row)
    return grouped


def _with_trace(exit_: Exit, traceparent: str | None) -> Exit:
    """With the trace of its first attempt, which the later ones continue."""
    return exit_ if exit_.traceparent else replace(exit_, traceparent=traceparent)


async def _save_exits(connection: Connection, exits: Sequence[tuple[Exit, datetime]]) -> None:
    if exits:
        rows = [build_exit_row(exit_, now=now) for exit_, now in exits]
        await fetch_rows(connection, statements.SAVE_EXITS, **statements.EXITS.parameters(rows))


def _count_verdict(verdict: Verdict, exit_: Exit | None) -> None:
    if isinstance(verdict, IntentRefused):
        metrics.copy_refused(verdict.reason)
    if exit_ is not None:
        _count_exit(exit_)


def _count_exit(exit_: Exit) -> None:
    """Count an exit that ended. One that is unsold alerts the operator."""
    if exit_.state is ExitState.OPEN:
        return
    metrics.exit_ended(metrics.ExitEnd(exit_.state.value))
    if exit_.state is ExitState.MISSED:
        logger.warning(
            "an exit was missed, reconciliation will make it: exit %s, follower %s, leader %s, "
            "token %s, the sale was seen too late",
            exit_.exit_id,
            exit_.intent.proxy,
            exit_.intent.leader,
            exit_.intent.token_id,
        )
    if exit_.state is ExitState.UNSOLD:
        logger.error(
            "an exit ended with shares left and needs an operator: exit %s, follower %s, "
            "leader %s, token %s, %s of %s micro-shares sold in %d attempts, last obstacle: %s",
            exit_.exit_id,
            exit_.intent.proxy,
            exit_.intent.leader,
            exit_.intent.token_id,
            exit_.sold_shares,
            "unknown" if exit_.shares is None else exit_.shares,
            exit_.attempts,
            exit_.reason,
        )
