"""Creates the accounts that the control endpoint is asked for."""

from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.wallets import PaperWallet, WalletKind, create_wallets, paper_key
from services.paper_venue.lifecycle.venue import Venue


class FollowerAccounts:
    """Creates the accounts that the control endpoint is asked for: funded, with all approvals, and
    the same ones for the same seed.
    """

    def __init__(self, deployment: Deployment, venue: Venue, *, seed: int) -> None:
        self._deployment = deployment
        self._venue = venue
        self._seed = seed
        self._created = 0

    async def create(self, kind: str, count: int, collateral: int) -> list[PaperWallet]:
        """``kind``: the value of a WalletKind; ``collateral`` in micro-USDC for each.

        Raises: ValueError, TransactionReverted, Transient.
        """
        numbers = range(self._created, self._created + count)
        self._created += count
        keys = [paper_key(f"{self._seed}:followers", number) for number in numbers]
        wallets = await create_wallets(
            self._deployment, WalletKind(kind), keys, collateral=collateral
        )
        for wallet in wallets:
            await self._venue.refresh_wallet(wallet.address)
        return wallets
