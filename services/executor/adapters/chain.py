"""Finds an order's fills in the exchange contracts' logs, when the venue shows none."""

from collections.abc import Callable
from datetime import datetime

from services.executor.decisions import Order
from shared.chain.client import ChainClient

MAX_BLOCKS_PER_SECOND = 2
"""Polygon makes one in two seconds, a local chain one a second or more."""
MARGIN_BLOCKS = 100
"""Searched before the estimated first block: the clocks of chain and machine differ."""


class ExchangeLogs:
    """The fill logs of the exchange contracts, which name the order by its hash."""

    def __init__(self, chain: ChainClient, *, now: Callable[[], datetime]) -> None:
        self._chain, self._now = chain, now

    async def fetch_fill(self, order: Order) -> str:
        head = (await self._chain.fetch_latest_block()).number
        age_s = int((self._now() - order.signed_at).total_seconds())
        start = max(0, head - age_s * MAX_BLOCKS_PER_SECOND - MARGIN_BLOCKS)
        fills = await self._chain.fetch_order_fills(start, head, [order.proxy])
        return next(
            (fill.tx_hash for fill in fills if fill.order_hash.lower() == order.order_hash.lower()),
            "",
        )
