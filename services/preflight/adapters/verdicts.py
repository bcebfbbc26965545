"""Verdicts, reservations, positions and exits in PostgreSQL."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters import delays, statements
from services.preflight.adapters.caps import LimitExceeded
from services.preflight.adapters.delays import EntryApproved
from services.preflight.adapters.newest_copies import TradedMeanwhile
from services.preflight.adapters.positions import load_positions
from services.preflight.adapters.recording import (
    load_known,
    needs_steps,
    record_at_once,
    record_in_steps,
)
from services.preflight.adapters.rows import (
    build_commitments_query,
    parse_commitments,
    parse_exit,
)
from services.preflight.adapters.settling import Settlement, settle
from services.preflight.decisions import (
    Commitments,
    DelayedEntry,
    Exit,
    ExitState,
    FollowPosition,
    Limits,
    OtherEntries,
    Verdict,
)
from services.preflight.handler import CommitmentsQuery, Recording
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.domain.errors import Transient
from shared.messages.intents import Intent, IntentRefused
from shared.messages.orders import OrderReported
from shared.observe import metrics, tracing

logger = logging.getLogger(__name__)


class PostgresVerdicts:
    """Verdicts, reservations, positions and exits in PostgreSQL.

    Calls are grouped: one statement serves all proxies that are judged at the same time (one intent
    per proxy, as the message loop handles one record of a key at a time).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._load_commitments = GroupCommit(self.load_all_commitments)
        self._load_position = GroupCommit(self.load_positions)
        self._load_exit = GroupCommit(self._load_all_exits)
        self._record = GroupCommit(self._record_group)
        self._settle = GroupCommit(self._settle_all)

    async def load_commitments(
        self, intent: Intent, *, limits: Limits, since: datetime, now: datetime
    ) -> Commitments:
        query = CommitmentsQuery(intent=intent, limits=limits, since=since, now=now)
        return await self._load_commitments(query)

    async def load_all_commitments(self, queries: Sequence[CommitmentsQuery]) -> list[Commitments]:
        rows = [build_commitments_query(query, n) for n, query in enumerate(queries)]
        async with autocommit(self._engine) as connection:
            found = await fetch_rows(
                connection,
                statements.LOAD_COMMITMENTS,
                **statements.COMMITMENT_QUERIES.parameters(rows),
            )
        return [parse_commitments(row) for row in found]

    async def load_position(self, intent: Intent) -> FollowPosition:
        return await self._load_position(intent)

    async def load_positions(self, intents: Sequence[Intent]) -> list[FollowPosition]:
        async with autocommit(self._engine) as connection:
            return await load_positions(connection, intents)

    async def record(
        self, verdict: Verdict, exit_: Exit | None = None, *, let_go: Sequence[IntentRefused] = ()
    ) -> Verdict:
        recording = Recording(
            verdict=verdict, exit=exit_, let_go=let_go, traceparent=tracing.inject()
        )
        with _judged_again(f"intent {verdict.intent_id} of {verdict.intent.proxy}"):
            return await self._record(recording)

    async def record_all(self, recordings: Sequence[Recording]) -> list[Verdict]:
        with _judged_again(f"each of {len(recordings)} intents"):
            return await self._record_group(recordings)

    async def load_other_entries(self, intent: Intent, *, now: datetime) -> OtherEntries:
        async with autocommit(self._engine) as connection:
            return await delays.load_other_entries(connection, intent, now=now)

    async def delay(self, entry: DelayedEntry) -> Verdict | None:
        (known,) = await self.delay_all([replace(entry, traceparent=tracing.inject())])
        return known

    async def delay_all(self, entries: Sequence[DelayedEntry]) -> list[Verdict | None]:
        ids = [entry.intent.intent_id for entry in entries]
        async with transaction(self._engine) as connection:
            await delays.record_delays(connection, entries)
            known = await load_known(connection, ids)
            if known:
                await delays.end_delays(connection, list(known))
        return [known.get(intent_id) for intent_id in ids]

    async def load_exit(self, intent_id: str) -> Exit | None:
        return await self._load_exit(intent_id)

    async def settle(
        self, report: OrderReported, exit_: Exit | None = None, *, now: datetime
    ) -> None:
        await self._settle((report, exit_, now))

    async def _load_all_exits(self, intent_ids: Sequence[str]) -> list[Exit | None]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(
                connection, statements.LOAD_EXITS_BY_INTENT, intent_ids=list(intent_ids)
            )
        exits = {row.intent_id: parse_exit(row) for row in rows}
        return [exits.get(intent_id) for intent_id in intent_ids]

    async def _record_group(self, recordings: Sequence[Recording]) -> list[Verdict]:
        """Record the verdicts that are new, and return the recorded one of each intent.

        Raises: LimitExceeded, EntryApproved or TradedMeanwhile, and nothing of the group is
        recorded.
        """
        if any(map(needs_steps, recordings)):
            async with transaction(self._engine) as steps:
                new_ids = await record_in_steps(steps, recordings)
        else:
            async with autocommit(self._engine) as connection:
                new_ids = await record_at_once(connection, recordings)
        for each in recordings:
            _count_recorded(each, new_ids)
        known = await self._load_known(
            [id_ for each in recordings if (id_ := each.verdict.intent_id) not in new_ids]
        )
        return [known.get(each.verdict.intent_id, each.verdict) for each in recordings]

    async def _load_known(self, intent_ids: Sequence[str]) -> dict[str, Verdict]:
        if not intent_ids:
            return {}
        async with autocommit(self._engine) as connection:
            return await load_known(connection, intent_ids)

    async def _settle_all(self, settlements: Sequence[Settlement]) -> list[None]:
        async with autocommit(self._engine) as connection:
            exits = await settle(connection, settlements)
        for exit_ in exits:
            _count_exit(exit_)
        return [None] * len(settlements)


@contextmanager
def _judged_again(what: str) -> Iterator[None]:
    """Raises: Transient, with ``what`` has to be judged again, where something was recorded
    meanwhile that the verdict does not take into account.
    """
    try:
        yield
    except EntryApproved as error:
        reason = f"entry {error} was approved meanwhile, and is not let go"
        raise Transient(f"{reason}: {what} has to be judged again") from error
    except LimitExceeded as error:
        reason = f"another copy reserved of {error} meanwhile"
        raise Transient(f"{reason}: {what} has to be judged again") from error
    except TradedMeanwhile as error:
        reason = "a trade of the leader was judged meanwhile"
        raise Transient(f"{reason}: {what} has to be judged again") from error


def _count_recorded(recording: Recording, new_ids: frozenset[str]) -> None:
    for refused in recording.let_go:
        if refused.intent_id in new_ids:
            metrics.copy_refused(refused.reason)
    if recording.verdict.intent_id in new_ids:
        _count_verdict(recording.verdict, recording.exit)


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
