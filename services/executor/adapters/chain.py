"""The chain's word on an order: asked last, where the venue has none."""

from collections.abc import Callable
from datetime import datetime

from services.executor.decisions import Order
from shared.chain.client import ChainClient

MOST_BLOCKS_A_SECOND = 2
"""Polygon makes one in two seconds, a chain on one's own machine one a second or faster."""
MARGIN_BLOCKS = 100


class ExchangeLogs:
    """The exchanges' own record of fills, by the order's hash."""

    def __init__(self, chain: ChainClient, *, now: Callable[[], datetime]) -> None:
        self._chain, self._now = chain, now

    async def fetch_fill(self, order: Order) -> str:
        head = (await self._chain.fetch_latest_block()).number
        age_s = int((self._now() - order.signed_at).total_seconds())
        start = max(0, head - age_s * MOST_BLOCKS_A_SECOND - MARGIN_BLOCKS)
        fills = await self._chain.fetch_order_fills(start, head, [order.proxy])
        return next(
            (fill.tx_hash for fill in fills if fill.order_hash.lower() == order.order_hash.lower()),
            "",
        )
