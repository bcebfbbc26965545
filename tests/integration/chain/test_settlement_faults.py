"""A settlement that a fault strikes fails on the real chain too, moves nothing, and settles when it
goes out again.
"""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.exchange.matching import match
from services.paper_venue.exchange.orders import Side
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.faults.catalogue import Fault, Faults, FaultOptions
from services.paper_venue.lifecycle.settlement import (
    Settlement,
    SettlementDelays,
    SettlementPipeline,
)
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.orders import BUY, SELL
from shared.testing.waiting import eventually
from tests.integration.chain.market import DOLLARS, SHARES, Held, PaperMarket, settled
from tests.unit.paper_venue.builders import MARKET, USDC, a_spend, an_engine, an_order

pytestmark = pytest.mark.integration


@dataclass
class Told:
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


async def settle_with(market: PaperMarket, fault: Fault, last: str) -> tuple[Told, str]:
    """Run the line over one swap until it has told ``last``; returns what it told, and the first
    transaction's hash.
    """
    faults, told = Faults(), Told()
    faults.set({fault: FaultOptions(times=1, seconds=0)})
    delays = SettlementDelays(before_broadcast=0, before_confirmed=0)
    line = SettlementPipeline(market.settler, delays=delays, faults=faults, now_ms=now_ms)
    first = line.sign(a_swap(market))
    line.submit(first, a_trade(first.hash))
    running = asyncio.create_task(line.run(told))
    await eventually(lambda: last in told.events)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return told, first.hash


async def test_a_struck_settlement_reverts_and_is_settled_by_another_transaction(
    deployment: Deployment,
) -> None:
    market = await PaperMarket.open(deployment)

    told, first = await settle_with(market, Fault.RETRYING, "confirmed")

    assert told.events == ["retrying", "mined", "confirmed"]
    reverted, done = await market.chain.fetch_receipts([first, told.hashes[0]])
    assert reverted is not None
    assert done is not None
    assert (reverted.succeeded, done.succeeded) == (False, True)
    assert (await market.held())[0] == Held(
        usd=DOLLARS - 5_000_000, yes=SHARES + 10_000_000, no=SHARES
    )


async def test_a_failed_settlement_moves_nothing(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)

    told, _ = await settle_with(market, Fault.FAILED, "failed")

    assert told.events == ["failed"]
    assert await market.held() == [Held(usd=DOLLARS, yes=SHARES, no=SHARES)] * 2


@pytest.mark.parametrize("exchange", LIVE_EXCHANGES)
async def test_a_transaction_signed_to_fail_is_taken_by_the_node_and_fails(
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

    assert (await settled(market.settler, failing)).status == 0
    assert (await market.settle(settlement)).succeeded
