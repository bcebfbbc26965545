"""Merges a leader's pairs of YES and NO shares into USDC on the chain, signed with his own key."""

import asyncio
from collections.abc import Awaitable, Callable

from eth_abi.abi import encode

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import Call, local_account, send_and_mine
from services.paper_venue.exchange.orders import Market, MarketVersion
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.trader_wallets import TraderWallet
from shared.chain.addresses import CONDITIONAL_TOKENS, POSITION_MANAGER, PUSD

_MERGE = "mergePositions(address,bytes32,bytes32,uint256[],uint256)"
_NO_PARENT = bytes(32)
_YES_AND_NO = [1, 2]
_CHECK_INTERVAL_S = 0.1


class ChainPairMerger:
    """Merges pairs of v1 and v2 markets. Neg-risk markets would need their adapter."""

    def __init__(
        self,
        deployment: Deployment,
        venue: Venue,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._deployment = deployment
        self._venue = venue
        self._sleep = sleep

    async def merge(self, trader: TraderWallet, market: Market, shares: int) -> None:
        """Wait until the trader's matches are settled, merge, and refresh his account at the venue.

        Raises: TransactionReverted, Transient.
        """
        account = self._venue.engine.accounts.get(trader.address)
        while account.pending:
            await self._sleep(_CHECK_INTERVAL_S)
        await send_and_mine(
            self._deployment.rpc, [(local_account(trader.key), build_merge_call(market, shares))]
        )
        await self._venue.refresh_wallet(trader.address)
        self._venue.stats["leader_merges"] += 1


def build_merge_call(market: Market, shares: int) -> Call:
    positions = POSITION_MANAGER if market.version is MarketVersion.V2 else CONDITIONAL_TOKENS
    condition = encode(["bytes32"], [bytes.fromhex(market.condition_id.removeprefix("0x"))])
    return Call(
        to=positions,
        data=encode_call(_MERGE, PUSD, _NO_PARENT, condition, _YES_AND_NO, shares),
        gas=600_000,
    )
