"""Tx-monitor's records of transfers in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from services.tx_monitor.adapters import transfer_statements as statements
from services.tx_monitor.adapters.cursors import SERVICE
from services.tx_monitor.adapters.transfer_rows import (
    build_attempt_row,
    build_new_row,
    build_state_parameters,
    parse_attempt,
    parse_transfer,
)
from services.tx_monitor.adapters.transfer_store import ClosedBefore, NotBegun, WalletRecords
from services.tx_monitor.decisions.transfers import Attempt, Transfer
from shared.db.engine import Connection, autocommit, fetch_rows
from shared.db.group_commit import GroupCommit
from shared.db.leases import Lease, NotLeaseHolder
from shared.db.rows import Row
from shared.observe import metrics, tracing

MAX_LOADED = 100
"""Queued transfers, and unreported ones, that are loaded at once."""

NewTransfer = tuple[Transfer, datetime, str | None]
"""A transfer, when it was requested, and the trace of the request."""


class PostgresTransfers:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._record = GroupCommit(self._record_all)

    async def record(self, transfer: Transfer, *, now: datetime) -> Transfer:
        return await self._record((transfer, now, tracing.inject()))

    async def load(self, operator: str, *, now: datetime) -> WalletRecords:
        async with autocommit(self._engine) as connection:
            open_rows = await fetch_rows(connection, statements.LOAD_OPEN, operator=operator)
            queued = await fetch_rows(
                connection, statements.LOAD_QUEUED, operator=operator, now=now, most=MAX_LOADED
            )
            attempts = await _load_attempts(connection, [row.request_id for row in open_rows])
            (wallet,) = await fetch_rows(connection, statements.LOAD_OPERATOR, operator=operator)
        return WalletRecords(
            open_transfers=tuple(
                parse_transfer(row, attempts[row.request_id]) for row in open_rows
            ),
            queued=tuple(map(parse_transfer, queued)),
            next_nonce=wallet.next_nonce,
            halted_because=wallet.halted_because,
            queued_count=wallet.queued,
            oldest_requested_at=wallet.oldest,
        )

    async def begin(
        self, transfer: Transfer, attempt: Attempt, *, lease: Lease, now: datetime
    ) -> None:
        terms = transfer.terms
        parameters = {
            "id": terms.request_id,
            "operator": terms.operator,
            "nonce": transfer.nonce,
            "revision": transfer.revision,
            "now": now,
            **_build_attempt(attempt, transfer),
        }
        try:
            is_written = await self._write(statements.BEGIN, lease, parameters)
        except asyncpg.UniqueViolationError as error:
            # Begun by another instance, of another operator wallet, in the same moment.
            raise NotBegun(
                f"another transfer of the proxy of {terms.request_id} is open"
            ) from error
        if not is_written:
            raise NotBegun(
                f"{terms.request_id} cannot begin with nonce {transfer.nonce}: it is not queued, "
                "another one of its proxy is open, the nonce was taken, or the wallet is halted"
            )
        metrics.transfer_state_reached(transfer.state, terms.purpose)

    async def add_attempt(
        self, transfer: Transfer, attempt: Attempt, *, lease: Lease, now: datetime
    ) -> None:
        parameters = _build_state(transfer, now) | _build_attempt(attempt, transfer)
        if not await self._write(statements.SAVE_WITH_ATTEMPT, lease, parameters):
            raise ClosedBefore(transfer.terms.request_id)

    async def save(self, transfer: Transfer, *, lease: Lease, now: datetime) -> None:
        because = f"transfer {transfer.terms.request_id}: {transfer.reason}"
        parameters = _build_state(transfer, now) | {"because": because}
        if not await self._write(statements.SAVE, lease, parameters):
            raise ClosedBefore(transfer.terms.request_id)
        if not transfer.is_reported:
            metrics.transfer_state_reached(transfer.state, transfer.terms.purpose)

    async def load_unreported(self, operator: str) -> list[Transfer]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(
                connection, statements.LOAD_UNREPORTED, operator=operator, most=MAX_LOADED
            )
        return [parse_transfer(row) for row in rows]

    async def load_wallets(self) -> list[str]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_WALLETS)
        return [row.operator for row in rows]

    async def mark_reported(self, transfer: Transfer, *, lease: Lease) -> None:
        await self._write(statements.MARK_REPORTED, lease, build_state_parameters(transfer))

    async def _write(self, statement: str, lease: Lease, parameters: Mapping[str, Any]) -> bool:
        """Whether a row was written. Raises: NotLeaseHolder."""
        async with autocommit(self._engine) as connection:
            (written,) = await fetch_rows(
                connection,
                statement,
                service=SERVICE,
                partition=lease.partition,
                token=lease.token,
                **parameters,
            )
        if not written.leases:
            raise NotLeaseHolder(
                f"another instance holds the lease of partition {lease.partition}: nothing was "
                "written"
            )
        return bool(written.rows)

    async def _record_all(self, group: Sequence[NewTransfer]) -> list[Transfer]:
        rows = [
            build_new_row(transfer, now=now, traceparent=traceparent)
            for transfer, now, traceparent in group
        ]
        first = {row["request_id"]: row for row in reversed(rows)}
        parameters = statements.NEW_TRANSFERS.parameters(list(first.values()))
        async with autocommit(self._engine) as connection:
            new = await fetch_rows(connection, statements.RECORD, **parameters)
            ids = [row["request_id"] for row in rows]
            loaded = await fetch_rows(connection, statements.LOAD, ids=ids)
        recorded = {row.request_id: parse_transfer(row) for row in loaded}
        for row in new:
            transfer = recorded[row.request_id]
            metrics.transfer_state_reached(transfer.state, transfer.terms.purpose)
        return [recorded[request_id] for request_id in ids]


async def _load_attempts(
    connection: Connection, request_ids: Sequence[str]
) -> dict[str, list[Attempt]]:
    attempts: dict[str, list[Attempt]] = {request_id: [] for request_id in request_ids}
    rows: Sequence[Row] = await fetch_rows(
        connection, statements.LOAD_ATTEMPTS, ids=list(request_ids)
    )
    for row in rows:
        attempts[row.request_id].append(parse_attempt(row))
    return attempts


def _build_state(transfer: Transfer, now: datetime) -> dict[str, Any]:
    return {**build_state_parameters(transfer), "now": now}


def _build_attempt(attempt: Attempt, transfer: Transfer) -> dict[str, Any]:
    row = build_attempt_row(attempt, request_id=transfer.terms.request_id)
    return statements.ATTEMPTS.parameters([row])
