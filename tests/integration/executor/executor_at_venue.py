"""The executor at a real venue with its own books, without Kafka between its parts: what its feed
says is handled at once.
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
from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.signers import Keyring, SdkSigners
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
from tests.builders import a_quote, an_intent, approved, controls
from tests.fakes import AlwaysReady, FixedControls
from tests.integration.paper_venue.venue import PaperVenue
from tests.leases import executor_leases

ANSWERS_WITHIN_S = 8
"""What the executor waits for an answer: more than a busy machine needs for a true one."""
SOON = timedelta(milliseconds=500)
VERIFY_FOR = timedelta(seconds=4)
"""Longer than the two seconds that a stale replica of the venue is behind."""
USDC = 5 * MICROS


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
    said: list[OrderReported] = field(default_factory=list)

    async def copies(self, number: int = 1, *, lasts: timedelta = timedelta(seconds=30)) -> str:
        """Hand in an approved intent, as the loop would: again for as long as it may work later."""
        intent = await self._approved(number, lasts)
        await eventually(lambda: self._handled(intent), within=60, what="the intent is handled")
        return intent.intent_id

    async def ended(self, intent_id: str, *, within: float = 90) -> Order:
        """The order once it is final."""
        order = await eventually(
            lambda: self._final(intent_id), within=within, what="the order is final"
        )
        assert isinstance(order, Order)
        return order

    async def filled_at_the_venue(self) -> int:
        """Micro-shares that did not fail, by the venue's own list of all trades of this wallet."""
        rows = await self.clob.fetch_trades(
            await self.keyring.fetch_credentials(self.wallet.proxy),
            maker_address=self.wallet.proxy,
            since=utc_now() - timedelta(hours=1),
        )
        counted = [row for row in rows if not str(row["status"]).endswith("FAILED")]
        return sum(int(Decimal(str(row["size"])) * MICROS) for row in counted)

    async def held_on_chain(self) -> int:
        token = int(self.venue.token())
        return (await self.chain.fetch_balances(self.wallet.proxy, [token])).shares_by_token[token]

    async def faults(self, strikes: Mapping[str, Mapping[str, Any]]) -> None:
        url = f"{self.venue.urls['control']}/faults"
        mine = {name: {"only": self.wallet.proxy, **strike} for name, strike in strikes.items()}
        async with aiohttp.ClientSession(raise_for_status=True) as http, http.put(url, json=mine):
            pass

    async def struck(self) -> Mapping[str, int]:
        """How often each fault that is on has struck."""
        struck: Mapping[str, int] = (await self.venue.control("faults"))["struck"]
        return struck

    async def publish(self, message: Message) -> None:
        """The feed's own messages come straight back; what cannot be done now, it will ask for
        again.
        """
        with suppress(Transient):
            if isinstance(message, TradeReported):
                self._note(await self.handler.on_trade_reported(message))
            if isinstance(message, OrderOverdue):
                self._note(await self.handler.on_order_overdue(message))

    def _note(self, messages: Sequence[Message]) -> None:
        self.said += [message for message in messages if isinstance(message, OrderReported)]

    async def _handled(self, intent: IntentApproved) -> bool:
        try:
            self._note(await self.handler.on_intent_approved(intent))
        except Transient:
            return False
        return True

    async def _final(self, intent_id: str) -> Order | None:
        order = await self.orders.load(intent_id)
        return order if order is not None and order.state in FINAL_STATES else None

    async def _approved(self, number: int, lasts: timedelta) -> IntentApproved:
        token = self.venue.token()
        market, book = await self.clob.fetch_market(token), await self.clob.fetch_book(token)
        now = utc_now()
        return approved(
            an_intent(intent_id=f"{number:032x}", proxy=self.wallet.proxy, token_id=token),
            message_id=f"judged-{number}",
            occurred_at=now,
            usdc=USDC,
            limit_price=min(
                min(level.price for level in book.asks) + 20 * market.tick_size,
                1 - market.tick_size,
            ),
            expires_at=now + lasts,
            quote=a_quote(
                tick_size=market.tick_size, neg_risk=market.neg_risk, fee_rate=market.fee_rate
            ),
        )


@asynccontextmanager
async def executor_at_venue(
    venue: PaperVenue, rpc_url: str, engine: AsyncEngine
) -> AsyncIterator[ExecutorAtVenue]:
    """A follower with money of his own, and an executor that looks after his orders until the end
    of the test.
    """
    (account,) = await venue.control("accounts", {"kind": "eoa", "count": 1, "usdc": "100"})
    wallet = Wallet(proxy=account["proxy"], private_key=account["private_key"])
    settings = VenueSettings.model_validate(
        {"clob_url": venue.urls["clob"], "venue_timeout_s": ANSWERS_WITHIN_S}
    )
    async with Clob(settings, now=utc_now) as clob, ChainClient(Rpc(rpc_url)) as chain:
        keyring, leases = Keyring({wallet.proxy: wallet}, clob), await executor_leases(engine)
        orders = PostgresOrders(engine, leases)
        at_venue = ClobVenue(clob, keyring, leases, now=utc_now)
        handler = Handler(
            orders=orders, venue=at_venue, chain=ExchangeLogs(chain, now=utc_now), signers=SdkSigners(keyring, now=utc_now),
            controls=FixedControls(controls()), readiness=AlwaysReady(), now=utc_now, verify_for=VERIFY_FOR,
        )  # fmt: skip
        desk = ExecutorAtVenue(
            venue=venue,
            handler=handler,
            orders=orders,
            clob=clob,
            keyring=keyring,
            chain=chain,
            wallet=wallet,
        )
        feed = VenueFeed(
            orders, at_venue, owns=lambda _: True, now=utc_now, poll_interval=timedelta(milliseconds=100), overdue_after=SOON,
            verify_for=VERIFY_FOR, max_wallets_per_poll=40,
        )  # fmt: skip
        looking = asyncio.create_task(feed(desk.publish))
        try:
            yield desk
        finally:
            await desk.faults({})
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
