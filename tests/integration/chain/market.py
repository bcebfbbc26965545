"""A market with traders on the local chain, for the tests of settlement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from eth_utils.crypto import keccak

from services.paper_venue.chain.conditions import Condition, distribute_shares, prepare_condition
from services.paper_venue.chain.deployment import FEE_RECEIVER, Deployment
from services.paper_venue.chain.settlement import Settler
from services.paper_venue.chain.wallets import PaperWallet, WalletKind, create_wallets, paper_key
from services.paper_venue.lifecycle.settlement import Receipt as SettlementReceipt
from services.paper_venue.lifecycle.settlement import Settlement, SignedTransaction
from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, POSITION_MANAGER
from shared.chain.blocks import Receipt
from shared.chain.client import ChainClient
from shared.chain.logs import OrderFilledLog, decode_order_fills
from shared.chain.orders import SignedOrder
from shared.testing.waiting import eventually
from tests.unit.chain.orders import sign_by_polymarket_client

DOLLARS = 1_000_000_000
SHARES = 500_000_000
_names = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a wallet has, in base units."""

    usd: int
    yes: int
    no: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperMarket:
    """One condition and its traders, each with 1,000 pUSD, 500 YES and 500 NO."""

    deployment: Deployment
    chain: ChainClient
    condition: Condition
    traders: tuple[PaperWallet, ...]
    settler: Settler

    @classmethod
    async def open(
        cls,
        deployment: Deployment,
        *,
        traders: int = 2,
        exchange: str = EXCHANGE_V2,
        kind: WalletKind = WalletKind.EOA,
    ) -> "PaperMarket":
        name = f"market {next(_names)}"
        condition = await prepare_condition(
            deployment, "0x" + keccak(text=name).hex(), exchange=exchange
        )
        wallets = await create_wallets(
            deployment,
            kind,
            [paper_key(name, index) for index in range(traders)],
            collateral=DOLLARS,
        )
        await distribute_shares(
            deployment, [condition], [wallet.address for wallet in wallets], SHARES
        )
        return cls(
            deployment=deployment,
            chain=ChainClient(deployment.rpc),
            condition=condition,
            traders=tuple(wallets),
            settler=await Settler.start(deployment),
        )

    def order(
        self,
        trader: int,
        side: int,
        *,
        gives: int,
        wants: int,
        token: str = "yes",
        salt: int = 1,
        sign: Any = None,
    ) -> SignedOrder:
        wallet = self.traders[trader]
        sign_order = sign or sign_by_polymarket_client
        salted: dict[str, Any] = {"salt": salt} if sign_order is sign_by_polymarket_client else {}
        order: SignedOrder = sign_order(
            wallet.key,
            maker=wallet.address,
            token_id=self.condition.yes_token if token == "yes" else self.condition.no_token,
            maker_amount=gives,
            taker_amount=wants,
            side=side,
            signature_type=wallet.signature_type,
            exchange=self.condition.exchange,
            **salted,
        )
        return order

    def match(
        self,
        taker: SignedOrder,
        *makers: SignedOrder,
        taker_fill: int | None = None,
        maker_fills: Sequence[int] | None = None,
        taker_fee: int = 0,
        maker_fees: Sequence[int] | None = None,
    ) -> Settlement:
        """Fill every order completely and without fees, unless given otherwise."""
        return Settlement(
            condition_id=self.condition.condition_id,
            exchange=self.condition.exchange,
            taker=taker,
            makers=makers,
            taker_fill=taker.maker_amount if taker_fill is None else taker_fill,
            maker_fills=tuple(maker.maker_amount for maker in makers)
            if maker_fills is None
            else tuple(maker_fills),
            taker_fee=taker_fee,
            maker_fees=(0,) * len(makers) if maker_fees is None else tuple(maker_fees),
        )

    async def settle(self, settlement: Settlement) -> Receipt:
        """Sign and send; the transaction must be mined under the hash that it was signed with."""
        signed = self.settler.sign(settlement)
        await self.settler.send(signed)
        reported = await wait_until_mined(self.settler, signed)
        receipt = await self.chain.fetch_receipt(signed.hash)
        assert receipt is not None
        assert (reported.block_number, reported.status == 1) == (
            receipt.block_number,
            receipt.succeeded,
        )
        return receipt

    async def fetch_holdings(self) -> list[Holdings]:
        """What each trader has."""
        holdings = await self._fetch_holdings([wallet.address for wallet in self.traders])
        return list(holdings.values())

    async def fetch_totals(self) -> Holdings:
        """The sums over all wallets and contracts that can hold any of it.

        pUSD backs shares one to one, so the contracts' pUSD counts too.
        """
        others = [
            self.condition.exchange,
            FEE_RECEIVER,
            CONDITIONAL_TOKENS,
            POSITION_MANAGER,
            self.deployment.admin.address,
        ]
        holdings = (
            await self._fetch_holdings([*(wallet.address for wallet in self.traders), *others])
        ).values()
        return Holdings(
            usd=sum(each.usd for each in holdings),
            yes=sum(each.yes for each in holdings),
            no=sum(each.no for each in holdings),
        )

    async def fetch_exchange_holdings(self) -> Holdings:
        return (await self._fetch_holdings([self.condition.exchange]))[self.condition.exchange]

    async def fetch_fees(self) -> int:
        return (await self._fetch_holdings([FEE_RECEIVER]))[FEE_RECEIVER].usd

    async def _fetch_holdings(self, wallets: Sequence[str]) -> Mapping[str, Holdings]:
        yes, no = self.condition.yes_token, self.condition.no_token
        holdings = await self.chain.fetch_balances_by_wallet(wallets, [yes, no])
        return {
            wallet: Holdings(
                usd=each.collateral, yes=each.shares_by_token[yes], no=each.shares_by_token[no]
            )
            for wallet, each in holdings.items()
        }


async def wait_until_mined(settler: Settler, transaction: SignedTransaction) -> SettlementReceipt:
    """Wait until the transaction is in a block."""

    async def fetch_receipt() -> SettlementReceipt | None:
        return await settler.fetch_receipt(transaction.hash)

    receipt: SettlementReceipt | None = await eventually(fetch_receipt)
    assert receipt is not None
    return receipt


def decode_fills(receipt: Receipt) -> list[OrderFilledLog]:
    return decode_order_fills(receipt.logs)
