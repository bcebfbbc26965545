"""The executor at a paper venue with its own records, without Kafka: what its feed publishes is
handled at once.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.chain import ExchangeLogs
from services.executor.adapters.gates import VenueGates
from services.executor.adapters.keyring import Keyring
from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.signers import SdkSigners
from services.executor.adapters.venue import ClobVenue
from services.executor.adapters.venue_feed import VenueFeed
from services.executor.decisions import Order
from services.executor.handler import Handler
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.clock import utc_now
from shared.domain.errors import Transient
from shared.domain.money import MICROS
from shared.messages.base import Message
from shared.messages.intents import IntentApproved
from shared.messages.orders import FINAL_STATES, OrderOverdue, OrderReported, TradeReported
from shared.polymarket.clob import Clob
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet
from shared.testing.waiting import eventually
from tests.builders import a_follow, a_quote, an_intent, approved, controls
from tests.fakes import AlwaysReady, FixedControls
from tests.integration.paper_venue.venue import PaperVenue
from tests.leases import executor_leases

VENUE_TIMEOUT_S = 8
"""How long the executor waits for a reply: longer than the venue takes on a busy machine."""
OVERDUE_AFTER = timedelta(milliseconds=500)
VERIFY_FOR = timedelta(seconds=4)
"""Longer than the two seconds by which a stale replica of the venue lags."""
COPY_USDC = 5 * MICROS


@dataclass(slots=True, kw_only=True)
class ExecutorAtVenue:
    """One follower's executor."""

    venue: PaperVenue
    handler: Handler
    orders: PostgresOrders
    clob: Clob
    keyring: Keyring
    chain: ChainClient
    wallet: Wallet
    reports: list[OrderReported] = field(default_factory=list)

    async def copy(self, number: int = 1, *, valid_for: timedelta = timedelta(seconds=30)) -> str:
        """Have an approved intent handled as by the message loop, and return the intent's id."""
        intent = await self._build_approved_intent(number, valid_for)
        await eventually(
            lambda: self._try_to_handle(intent), within=60, what="the intent is handled"
        )
        return intent.intent_id

    async def wait_until_final(self, intent_id: str, *, within: float = 90) -> Order:
        """The order once it is final."""
        order = await eventually(
            lambda: self._load_if_final(intent_id), within=within, what="the order is final"
        )
        assert isinstance(order, Order)
        return order

    async def fetch_shares_at_venue(self) -> int:
        """Micro-shares of the wallet's trades at the venue that did not fail."""
        rows = await self.clob.fetch_trades(
            await self.keyring.fetch_credentials(self.wallet.proxy),
            maker_address=self.wallet.proxy,
            since=utc_now() - timedelta(hours=1),
        )
        counted = [row for row in rows if not str(row["status"]).endswith("FAILED")]
        return sum(int(Decimal(str(row["size"])) * MICROS) for row in counted)

    async def fetch_shares_on_chain(self) -> int:
        token = int(self.venue.token())
        return (await self.chain.fetch_balances(self.wallet.proxy, [token])).shares_by_token[token]

    async def set_faults(self, faults: Mapping[str, Mapping[str, Any]]) -> None:
        """Switch on these faults, for this wallet alone, and all others off."""
        url = f"{self.venue.urls['control']}/faults"
        ours = {name: {"only": self.wallet.proxy, **terms} for name, terms in faults.items()}
        async with aiohttp.ClientSession(raise_for_status=True) as http, http.put(url, json=ours):
            pass

    async def fetch_strikes(self) -> Mapping[str, int]:
        """The number of strikes of each fault that is switched on."""
        strikes: Mapping[str, int] = (await self.venue.control("faults"))["struck"]
        return strikes

    async def handle(self, message: Message) -> None:
        """Handle a message of the feed; after a transient error the feed publishes another."""
        with suppress(Transient):
            if isinstance(message, TradeReported):
                self._collect_reports(await self.handler.on_trade_reported(message))
            if isinstance(message, OrderOverdue):
                self._collect_reports(await self.handler.on_order_overdue(message))

    def _collect_reports(self, messages: Sequence[Message]) -> None:
        self.reports += [message for message in messages if isinstance(message, OrderReported)]

    async def _try_to_handle(self, intent: IntentApproved) -> bool:
        try:
            self._collect_reports(await self.handler.on_intent_approved(intent))
        except Transient:
            return False
        return True

    async def _load_if_final(self, intent_id: str) -> Order | None:
        order = await self.orders.load(intent_id)
        return order if order is not None and order.state in FINAL_STATES else None

    async def _build_approved_intent(self, number: int, valid_for: timedelta) -> IntentApproved:
        token = self.venue.token()
        market, book = await self.clob.fetch_market(token), await self.clob.fetch_book(token)
        now = utc_now()
        return approved(
            an_intent(
                intent_id=f"{number:032x}",
                proxy=self.wallet.proxy,
                token_id=token,
                filled_at=utc_now(),
            ),
            message_id=f"judged-{number}",
            occurred_at=now,
            usdc=COPY_USDC,
            limit_price=min(
                min(level.price for level in book.asks) + 20 * market.tick_size,
                1 - market.tick_size,
            ),
            expires_at=now + valid_for,
            quote=a_quote(
                tick_size=market.tick_size, neg_risk=market.neg_risk, fee_rate=market.fee_rate
            ),
        )


@asynccontextmanager
async def executor_at_venue(
    venue: PaperVenue,
    rpc_url: str,
    engine: AsyncEngine,
    *,
    gates: VenueGates | None = None,
    venue_timeout_s: float = 60,
) -> AsyncIterator[ExecutorAtVenue]:
    """A follower with money, and an executor that follows his orders until the end of the test.

    ``venue_timeout_s``: longer than any reply takes on a slow machine, where no reply is to be
    late.
    """
    (account,) = await venue.control("accounts", {"kind": "eoa", "count": 1, "usdc": "100"})
    wallet = Wallet(proxy=account["proxy"], private_key=account["private_key"])
    gates = gates or VenueGates(now=utc_now, probe_interval=timedelta(seconds=1))
    settings = VenueSettings.model_validate(
        {"clob_url": venue.urls["clob"], "venue_timeout_s": venue_timeout_s}
    )
    async with Clob(settings, now=utc_now) as clob, ChainClient(Rpc(rpc_url)) as chain:
        keyring, leases = Keyring({wallet.proxy: wallet}, clob), await executor_leases(engine)
        orders = PostgresOrders(engine, leases)
        await orders.load_leases([(lease.partition, lease.token) for lease in leases.held])
        clob_venue = ClobVenue(clob, keyring, leases, gates, now=utc_now)
        handler = Handler(
            orders=orders,
            venue=clob_venue,
            chain=ExchangeLogs(chain, now=utc_now),
            signers=SdkSigners(keyring, now=utc_now),
            controls=FixedControls(
                controls(a_follow(proxy=wallet.proxy, max_slippage_bps=Decimal(9_999)))
            ),
            readiness=AlwaysReady(),
            now=utc_now,
            verify_for=VERIFY_FOR,
        )
        executor = ExecutorAtVenue(
            venue=venue,
            handler=handler,
            orders=orders,
            clob=clob,
            keyring=keyring,
            chain=chain,
            wallet=wallet,
        )
        feed = VenueFeed(
            orders,
            clob_venue,
            owns=lambda _: True,
            now=utc_now,
            poll_interval=timedelta(milliseconds=100),
            fills_within=timedelta(0),
            overdue_after=OVERDUE_AFTER,
            verify_for=VERIFY_FOR,
            max_wallets_per_poll=40,
        )
        polling = asyncio.create_task(feed(executor.handle))
        try:
            yield executor
        finally:
            await executor.set_faults({})
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
