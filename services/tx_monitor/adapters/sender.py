"""The feed that has transfers made: a task for each wallet, so that none waits for another.

It looks after the operator wallets whose keys are here, each while its lease is held.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from services.tx_monitor.adapters.changes import Changes
from services.tx_monitor.adapters.operator_keys import VARIABLE
from services.tx_monitor.adapters.transfer_reports import TransferReports
from services.tx_monitor.adapters.wallet_round import WalletRound
from services.tx_monitor.adapters.wallet_tools import Memory, Tools
from shared.db.leases import NotLeaseHolder
from shared.domain.errors import Transient
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

WALLETS_CHECKED_EVERY_S = 30


class Sender:
    def __init__(self, tools: Tools, *, poll_interval: timedelta) -> None:
        self._tools, self._poll_interval_s = tools, poll_interval.total_seconds()
        self._woken = {operator: asyncio.Event() for operator in tools.keys.operators}
        self._changes = Changes()

    def wake(self, operator: str) -> None:
        """Have the wallet's next round begin at once, if its key is here."""
        if operator in self._woken:
            self._woken[operator].set()

    async def __call__(self, publish: Publish) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_wallets_without_key())
            for operator in self._woken:
                tasks.create_task(self._look_after(operator, publish, tasks))

    async def _look_after(self, operator: str, publish: Publish, tasks: asyncio.TaskGroup) -> None:
        memory, woken = Memory(), self._woken[operator]
        tools = self._tools
        reports = TransferReports(operator, tools.store, tools.leases, publish, now=tools.now)
        while True:
            woken.clear()
            self._log(operator, await self._run_round(operator, memory, reports, tasks))
            try:
                await asyncio.wait_for(woken.wait(), timeout=self._poll_interval_s)
            except TimeoutError:
                continue

    async def _run_round(
        self, operator: str, memory: Memory, reports: TransferReports, tasks: asyncio.TaskGroup
    ) -> Sequence[Transient]:
        """Return what failed, which is done again in the next round."""
        try:
            lease = self._tools.leases.lease_for(operator)
            memory.keep_under(lease)
            failures = await WalletRound(operator, self._tools, memory, lease).run()
            await reports.begin_due(tasks)
            return failures
        except NotLeaseHolder:
            memory.forget()
            metrics.wallet_left(operator)
            return []
        except Transient as error:
            return [error]

    async def _watch_wallets_without_key(self) -> None:
        """Tell of wallets that nobody looks after: their key was taken out of the file."""
        logged: list[str] = []
        while True:
            try:
                known = await self._tools.store.load_wallets()
            except Transient as error:
                logger.warning("could not list the operator wallets, will retry: %s", error)
            else:
                without = [each for each in known if not self._tools.keys.holds(each)]
                metrics.wallets_without_key(len(without))
                if without and without != logged:
                    logger.error(
                        "nobody looks after the transfers of %s: their keys are not in %s",
                        ", ".join(without),
                        VARIABLE,
                    )
                logged = without
            await asyncio.sleep(WALLETS_CHECKED_EVERY_S)

    def _log(self, operator: str, failures: Sequence[Transient]) -> None:
        """Log what fails when that changes, and the end of it."""
        text = "; ".join(dict.fromkeys(map(str, failures)))
        if not self._changes.is_new(operator, text):
            return
        if text:
            logger.warning(
                "a round of operator wallet %s failed in part, and is made again in %.1f s: %s",
                operator,
                self._poll_interval_s,
                text,
            )
        else:
            logger.info("rounds of operator wallet %s succeed again", operator)
