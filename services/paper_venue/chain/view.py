"""What the venue reads from the chain: balances, approvals, owners, and a key's wallet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.wallets import fetch_owner
from services.paper_venue.exchange.accounts import Holdings
from services.paper_venue.http.requests import BadRequest
from shared.chain.addresses import EXCHANGE_V3, LIVE_EXCHANGES
from shared.chain.client import ChainClient
from shared.chain.deposit_wallets import beacon_deposit_wallet_address, deposit_wallet_address
from shared.chain.orders import (
    DEPOSIT_WALLET,
    DOMAIN_VERSION_BY_EXCHANGE,
    EOA,
    POLY_PROXY,
    SAFE,
    SignedOrder,
    verify_order,
)
from shared.chain.proxy_wallets import proxy_wallet_address
from shared.chain.safes import safe_address
from shared.chain.wallet_balances import WalletBalances

_WALLET_BY_SIGNATURE_TYPE: Final[Mapping[int, Callable[[str], str]]] = {
    EOA: lambda address: address,
    POLY_PROXY: proxy_wallet_address,
    SAFE: safe_address,
    DEPOSIT_WALLET: deposit_wallet_address,
}


class LocalChainView:
    """Reads balances, approvals and owners; implements the venue's chain port."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._client = ChainClient(deployment.rpc, spenders=LIVE_EXCHANGES)

    async def fetch_holdings(self, wallet: str, token_ids: Sequence[str]) -> Holdings:
        read = await self._client.fetch_balances(wallet, [int(token) for token in token_ids])
        return Holdings(
            block=read.block_number,
            collateral=read.collateral,
            allowances=read.allowance_by_spender,
            shares={str(token): shares for token, shares in read.shares_by_token.items()},
            approvals=_approvals(read),
        )

    async def fetch_owner(self, wallet: str) -> str | None:
        return await fetch_owner(self._deployment, wallet)

    async def fetch_wallet(self, address: str, signature_type: int) -> str:
        """Fetch the wallet that a key trades for with this signature type, where clients derive it.

        Raises: BadRequest, Transient.
        """
        derive = _WALLET_BY_SIGNATURE_TYPE.get(signature_type)
        if derive is None:
            raise BadRequest(
                "maker address not allowed: there are signature types 0 (EOA), 1 (proxy),"
                " 2 (Safe) and 3 (deposit wallet)"
            )
        relayer_made = beacon_deposit_wallet_address(address)
        if signature_type == DEPOSIT_WALLET and await self.fetch_owner(relayer_made) is not None:
            return relayer_made
        return derive(address)


def verify(order: SignedOrder, owner: str | None, exchange: str) -> str:
    """Verify a signature, and return the order's hash under the exchange's domain.

    Raises: InvalidSignature.
    """
    return verify_order(order, exchange, DOMAIN_VERSION_BY_EXCHANGE[exchange], owner=owner)


def _approvals(read: WalletBalances) -> frozenset[str]:
    """The exchanges that are approved for the shares that they settle."""
    return frozenset(
        exchange
        for exchange in LIVE_EXCHANGES
        if exchange
        in (
            read.position_manager_approved
            if exchange == EXCHANGE_V3
            else read.conditional_tokens_approved
        )
    )
