"""Read the leaders' and the followers' trades and the followers' balances from the chain."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog
from shared.domain.ids import trade_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """Micro-pUSD by proxy, and micro-shares by proxy and token id."""

    cash: dict[str, int]
    shares: dict[tuple[str, str], int]


class ChainView:
    """Raises: Transient from every method where the node cannot be reached."""

    def __init__(self, client: ChainClient, *, first_block: int) -> None:
        self._client, self._first_block = client, first_block

    async def fetch_balances(self, proxies: Sequence[str], token_ids: Sequence[str]) -> Balances:
        wallets = await self._client.fetch_balances_by_wallet(
            proxies, [int(token_id) for token_id in token_ids]
        )
        return Balances(
            cash={proxy: wallet.collateral for proxy, wallet in wallets.items()},
            shares={
                (proxy, str(token)): shares
                for proxy, wallet in wallets.items()
                for token, shares in wallet.shares_by_token.items()
            },
        )

    async def fetch_leader_trades(self, leaders: Sequence[str]) -> frozenset[str]:
        """Trade ids, derived from the logs only."""
        return frozenset(
            trade_id(
                transaction_hash=fill.tx_hash,
                leader=fill.maker,
                token_id=str(fill.token_id),
                side=fill.side.value,
            )
            for fill in await self._fetch_fills(leaders)
        )

    async def fetch_filled_orders(self, proxies: Sequence[str]) -> frozenset[str]:
        """Order hashes."""
        return frozenset(fill.order_hash for fill in await self._fetch_fills(proxies))

    async def _fetch_fills(self, makers: Sequence[str]) -> list[OrderFilledLog]:
        head = await self._client.fetch_latest_block()
        return await self._client.fetch_order_fills(self._first_block, head.number, makers)
