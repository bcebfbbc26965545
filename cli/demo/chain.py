"""What does the chain itself say about the leaders' and the followers' trades, and what do the
followers hold?
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.domain.ids import trade_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Wealth:
    """Micro-pUSD by proxy, and micro-shares by proxy and token id."""

    cash: dict[str, int]
    shares: dict[tuple[str, str], int]


class ChainView:
    """Raises: Transient from every method where the node cannot be asked."""

    def __init__(self, client: ChainClient, *, first_block: int) -> None:
        self._client, self._first_block = client, first_block

    async def wealth(self, proxies: Sequence[str], token_ids: Sequence[str]) -> Wealth:
        found = await self._client.fetch_balances_by_wallet(
            proxies, [int(token_id) for token_id in token_ids]
        )
        return Wealth(
            cash={proxy: wallet.collateral for proxy, wallet in found.items()},
            shares={
                (proxy, str(token)): shares
                for proxy, wallet in found.items()
                for token, shares in wallet.shares_by_token.items()
            },
        )

    async def leader_trades(self, leaders: Sequence[str]) -> frozenset[str]:
        """Trade ids, made of the logs alone."""
        return frozenset(
            trade_id(
                transaction_hash=fill.tx_hash,
                leader=fill.maker,
                token_id=str(fill.token_id),
                side=fill.side.value,
            )
            for fill in await self._fills(leaders)
        )

    async def filled_orders(self, proxies: Sequence[str]) -> frozenset[str]:
        return frozenset(fill.order_hash for fill in await self._fills(proxies))

    async def _fills(self, makers: Sequence[str]) -> list[OrderFilledLog]:
        head = await self._client.fetch_latest_block()
        return await self._client.fetch_order_fills(self._first_block, head.number, makers)
