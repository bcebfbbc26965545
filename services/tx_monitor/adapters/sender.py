"""The feed that has transfers made: a task for each wallet, so that none waits for another.

It looks after the operator wallets whose keys are here, each while its lease is held.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from services.tx_monitor.adapters.changes import Changes
from services.tx_monitor.adapters.wallet_round import WalletRound
from services.tx_monitor.adapters.wallet_tools import Memory, Tools
from shared.db.leases import NotLeaseHolder
from shared.domain.errors import Transient
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


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
            for operator in self._woken:
                tasks.create_task(self._look_after(operator, publish))

    async def _look_after(self, operator: str, publish: Publish) -> None:
        memory, woken = Memory(), self._woken[operator]
        while True:
            woken.clear()
            self._log(operator, await self._run_round(operator, memory, publish))
            try:
                await asyncio.wait_for(woken.wait(), timeout=self._poll_interval_s)
            except TimeoutError:
                continue

    async def _run_round(
        self, operator: str, memory: Memory, publish: Publish
    ) -> Sequence[Transient]:
        """Return what failed, which is done again in the next round."""
        try:
            lease = self._tools.leases.lease_for(operator)
            memory.keep_under(lease)
            return await WalletRound(operator, self._tools, memory, lease).run(publish)
        except NotLeaseHolder:
            memory.forget()
            metrics.wallet_left(operator)
            return []
        except Transient as error:
            return [error]

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
