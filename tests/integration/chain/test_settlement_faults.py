"""Faults of settlements on a real chain: a failed transaction moves nothing and can be resent."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.exchange.matching import match
from services.paper_venue.exchange.orders import Side
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.lifecycle.settlement import (
    Settlement,
    SettlementDelays,
    SettlementPipeline,
)
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.orders import BUY, SELL
from shared.testing.waiting import eventually
from tests.integration.chain.market import DOLLARS, SHARES, Holdings, PaperMarket, wait_until_mined
from tests.unit.paper_venue.builders import MARKET, USDC, a_spend, an_engine, an_order

pytestmark = pytest.mark.integration


@dataclass
class RecordedEvents:
    events: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)

    def on_mined(self, trade: Trade, *, block: int, now_ms: int) -> None:
        self.events.append("mined")

    def on_retrying(self, trade: Trade, transaction_hash: str, *, now_ms: int) -> None:
        self.events.append("retrying")
        self.hashes.append(transaction_hash)

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None:
        self.events.append("confirmed")

    def on_failed(self, trade: Trade, *, now_ms: int) -> None:
        self.events.append("failed")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def a_trade(transaction_hash: str) -> Trade:
    """The line only reads when it matched."""
    engine = an_engine(an_order(Side.SELL, maker="0xB"))
    matched = match(a_spend(10 * USDC), engine.books[MARKET.condition_id])
    return Trade(
        id="a trade",
        match=matched,
        fee=0,
        transaction_hash=transaction_hash,
        matched_at_ms=now_ms(),
        updated_at_ms=now_ms(),
    )


def a_swap(market: PaperMarket) -> Settlement:
    buy = market.order(0, BUY, gives=5_000_000, wants=10_000_000)
    return market.match(buy, market.order(1, SELL, gives=10_000_000, wants=5_000_000))


async def settle_with(market: PaperMarket, fault: Fault, last: str) -> tuple[RecordedEvents, str]:
    """Run the line over one swap until the event ``last``.

    Return the recorded events, and the first transaction's hash.
    """
    faults, recorded = Faults(), RecordedEvents()
    faults.set({fault: FaultOptions(times=1, seconds=0)})
    delays = SettlementDelays(before_broadcast=0, before_confirmed=0)
    line = SettlementPipeline(market.settler, delays=delays, faults=faults, now_ms=now_ms)
    first = line.sign(a_swap(market))
    line.submit(first, a_trade(first.hash))
    running = asyncio.create_task(line.run(recorded))
    await eventually(lambda: last in recorded.events)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return recorded, first.hash


async def test_a_settlement_hit_by_retrying_reverts_and_settles_in_another_transaction(
    deployment: Deployment,
) -> None:
    market = await PaperMarket.open(deployment)

    recorded, first = await settle_with(market, Fault.RETRYING, "confirmed")

    assert recorded.events == ["retrying", "mined", "confirmed"]
    reverted, done = await market.chain.fetch_receipts([first, recorded.hashes[0]])
    assert reverted is not None
    assert done is not None
    assert (reverted.succeeded, done.succeeded) == (False, True)
    assert (await market.fetch_holdings())[0] == Holdings(
        usd=DOLLARS - 5_000_000, yes=SHARES + 10_000_000, no=SHARES
    )


async def test_a_failed_settlement_moves_nothing(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)

    recorded, _ = await settle_with(market, Fault.FAILED, "failed")

    assert recorded.events == ["failed"]
    assert await market.fetch_holdings() == [Holdings(usd=DOLLARS, yes=SHARES, no=SHARES)] * 2


@pytest.mark.parametrize("exchange", LIVE_EXCHANGES)
async def test_a_transaction_that_is_signed_to_fail_is_mined_and_reverts(
    deployment: Deployment, exchange: str
) -> None:
    market = await PaperMarket.open(deployment, traders=6, exchange=exchange)
    taker = market.order(0, BUY, gives=25_000_000, wants=50_000_000)
    makers = [
        market.order(trader, SELL, gives=10_000_000, wants=5_000_000) for trader in range(1, 6)
    ]
    settlement = market.match(taker, *makers)
    failing = market.settler.sign(settlement, fails=True)

    await market.settler.send(failing)

    assert (await wait_until_mined(market.settler, failing)).status == 0
    assert (await market.settle(settlement)).succeeded
