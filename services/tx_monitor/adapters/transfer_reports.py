"""Publishes what became of an operator wallet's transfers, beside its rounds: a partition without a
leader keeps its own reports waiting, and neither other reports nor what is to be sent.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from services.tx_monitor.adapters.changes import Changes
from services.tx_monitor.adapters.transfer_store import TransferStore
from services.tx_monitor.adapters.wallet_tools import LeaseKeeper
from services.tx_monitor.decisions.transfers import Transfer
from services.tx_monitor.handler import build_transfer_reported
from shared.db.leases import Lease, NotLeaseHolder
from shared.domain.errors import Transient
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


class TransferReports:
    """The reports of one operator wallet. Each transfer has one under way at most."""

    def __init__(
        self,
        operator: str,
        store: TransferStore,
        leases: LeaseKeeper,
        publish: Publish,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._operator, self._store, self._leases = operator, store, leases
        self._publish, self._now = publish, now
        self._under_way: set[str] = set()
        self._changes = Changes()

    async def begin_due(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to report what was not reported yet. Raises: NotLeaseHolder; Transient."""
        lease = self._leases.lease_for(self._operator)
        for transfer in await self._store.load_unreported(self._operator):
            request_id = transfer.terms.request_id
            if request_id not in self._under_way:
                self._under_way.add(request_id)
                tasks.create_task(self._report(transfer, lease))

    async def _report(self, transfer: Transfer, lease: Lease) -> None:
        """What fails is begun again by a later round."""
        try:
            if self._leases.lease_for(self._operator).token != lease.token:
                return
            with tracing.continue_trace(transfer.traceparent):
                await self._publish(build_transfer_reported(transfer, now=self._now()))
            await self._store.mark_reported(transfer, lease=lease)
        except NotLeaseHolder:
            return  # its next holder reports it
        except Transient as error:
            if self._changes.is_new(self._operator, str(error)):
                logger.warning(
                    "transfer %s could not be reported, will retry: %s",
                    transfer.terms.request_id,
                    error,
                )
        finally:
            self._under_way.discard(transfer.terms.request_id)
