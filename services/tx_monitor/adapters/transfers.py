"""Tx-monitor's records of transfers in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.tx_monitor.adapters import transfer_statements as statements
from services.tx_monitor.adapters.cursors import SERVICE
from services.tx_monitor.adapters.transfer_rows import (
    build_attempt_parameters,
    build_new_row,
    build_state_parameters,
    parse_attempt,
    parse_transfer,
)
from services.tx_monitor.adapters.transfer_store import NotBegun, WalletRecords
from services.tx_monitor.decisions.transfers import Attempt, Transfer
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.db.leases import Lease, NotLeaseHolder
from shared.db.rows import Row
from shared.domain.errors import Transient
from shared.messages.transfers import TransferState
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
        async with transaction(self._engine) as connection:
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
        request_id, operator = transfer.terms.request_id, transfer.terms.operator
        nonce = transfer.nonce
        try:
            async with self._write_under(lease) as connection:
                if not await fetch_rows(
                    connection, statements.TAKE_NONCE, operator=operator, nonce=nonce
                ):
                    raise NotBegun(f"nonce {nonce} of {operator} is not free")
                if not await fetch_rows(
                    connection,
                    statements.BEGIN,
                    request_id=request_id,
                    operator=operator,
                    nonce=nonce,
                    revision=transfer.revision,
                    now=now,
                ):
                    raise NotBegun(f"{request_id} is not queued, or another of its proxy is open")
                await _insert_attempt(connection, attempt, request_id)
        except IntegrityError as error:
            # Begun by another instance, of another operator wallet, in the same moment.
            raise NotBegun(f"another transfer of the proxy of {request_id} is open") from error
        metrics.transfer_state_reached(transfer.state, transfer.terms.purpose)

    async def add_attempt(
        self, transfer: Transfer, attempt: Attempt, *, lease: Lease, now: datetime
    ) -> None:
        async with self._write_under(lease) as connection:
            await _save(connection, transfer, now)
            await _insert_attempt(connection, attempt, transfer.terms.request_id)

    async def save(self, transfer: Transfer, *, lease: Lease, now: datetime) -> None:
        async with self._write_under(lease) as connection:
            await _save(connection, transfer, now)
            if transfer.state is TransferState.LOST:
                await fetch_rows(
                    connection,
                    statements.HALT,
                    operator=transfer.terms.operator,
                    because=f"transfer {transfer.terms.request_id}: {transfer.reason}",
                    now=now,
                )
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
        parameters = build_state_parameters(transfer)
        async with self._write_under(lease) as connection:
            await fetch_rows(connection, statements.MARK_REPORTED, **parameters)

    @asynccontextmanager
    async def _write_under(self, lease: Lease) -> AsyncIterator[AsyncConnection]:
        """A transaction that ends before a newer lease is given out. Raises: NotLeaseHolder."""
        async with transaction(self._engine) as connection:
            held = await fetch_rows(
                connection,
                statements.LOCK_LEASE,
                service=SERVICE,
                partition=lease.partition,
                token=lease.token,
            )
            if not held:
                raise NotLeaseHolder(
                    f"another instance holds the lease of partition {lease.partition}: nothing was "
                    "written"
                )
            yield connection

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
    connection: AsyncConnection, request_ids: Sequence[str]
) -> dict[str, list[Attempt]]:
    attempts: dict[str, list[Attempt]] = {request_id: [] for request_id in request_ids}
    rows: Sequence[Row] = await fetch_rows(
        connection, statements.LOAD_ATTEMPTS, ids=list(request_ids)
    )
    for row in rows:
        attempts[row.request_id].append(parse_attempt(row))
    return attempts


async def _save(connection: AsyncConnection, transfer: Transfer, now: datetime) -> None:
    """Raises: Transient where it was closed meanwhile."""
    parameters: dict[str, Any] = build_state_parameters(transfer) | {"now": now}
    if not await fetch_rows(connection, statements.SAVE, **parameters):
        raise Transient(f"transfer {transfer.terms.request_id} was closed before")


async def _insert_attempt(connection: AsyncConnection, attempt: Attempt, request_id: str) -> None:
    parameters = build_attempt_parameters(attempt, request_id=request_id)
    await fetch_rows(connection, statements.ADD_ATTEMPT, **parameters)
