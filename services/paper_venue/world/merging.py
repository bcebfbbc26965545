"""How does a leader leave a position without a trade: his pairs become USDC on the chain, sent by
his own key?
"""

import asyncio
from collections.abc import Awaitable, Callable

from eth_abi.abi import encode

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import Call, local_account, send_and_mine
from services.paper_venue.exchange.orders import Market, MarketVersion
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.trader_wallets import HouseTrader
from shared.chain.addresses import CONDITIONAL_TOKENS, POSITION_MANAGER, PUSD

_MERGE = "mergePositions(address,bytes32,bytes32,uint256[],uint256)"
_NO_PARENT = bytes(32)
_YES_AND_NO = [1, 2]
_LOOK_EVERY_S = 0.1


class ChainMerging:
    """Of v1 and v2 markets; a neg-risk market's pairs would go through its adapter."""

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

    async def merge(self, trader: HouseTrader, market: Market, shares: int) -> None:
        """Wait until all that the trader matched is on the chain, merge, and let the venue see it.

        Raises: TransactionReverted, Transient.
        """
        account = self._venue.engine.accounts.get(trader.address)
        while account.pending:
            await self._sleep(_LOOK_EVERY_S)
        await send_and_mine(
            self._deployment.rpc, [(local_account(trader.key), merge_call(market, shares))]
        )
        await self._venue.refresh_wallet(trader.address)
        self._venue.stats["leader_merges"] += 1


def merge_call(market: Market, shares: int) -> Call:
    positions = POSITION_MANAGER if market.version is MarketVersion.V2 else CONDITIONAL_TOKENS
    condition = encode(["bytes32"], [bytes.fromhex(market.condition_id.removeprefix("0x"))])
    return Call(
        to=positions,
        data=encode_call(_MERGE, PUSD, _NO_PARENT, condition, _YES_AND_NO, shares),
        gas=600_000,
    )
