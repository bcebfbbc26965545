"""The venue's ports, real: its view of the chain, and which wallet an API key trades for."""

from collections.abc import Sequence

from services.paper_venue.accounts import Holdings
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.wallets import owner_of
from services.paper_venue.requests import BadRequest
from shared.chain.addresses import EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.chain.orders import EOA, SAFE, SignedOrder, verify_order
from shared.chain.safes import safe_address


class LocalChainView:
    """Balances and approvals as V2 markets need them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._client = ChainClient(deployment.rpc)

    async def holdings(self, wallet: str, token_ids: Sequence[str]) -> Holdings:
        read = await self._client.balances_of(wallet, [int(token) for token in token_ids])
        return Holdings(
            block=read.block_number,
            collateral=read.collateral,
            allowance=read.allowance_by_spender[EXCHANGE_V2],
            shares={str(token): shares for token, shares in read.shares_by_token.items()},
            shares_approved=EXCHANGE_V2 in read.conditional_tokens_approved,
        )

    async def owner_of(self, wallet: str) -> str | None:
        return await owner_of(self._deployment, wallet)


def verify_v2_order(order: SignedOrder, owner: str | None) -> str:
    """The order's hash under Exchange V2's domain. Raises: InvalidSignature."""
    return verify_order(order, EXCHANGE_V2, "2", owner=owner)


def wallet_of(address: str, signature_type: int) -> str:
    """The wallet that a key trades for with this signature type, where clients derive it. Raises: BadRequest."""
    if signature_type == EOA:
        return address
    if signature_type == SAFE:
        return safe_address(address)
    raise BadRequest("maker address not allowed: this venue knows signature types 0 (EOA) and 2 (Safe)")
