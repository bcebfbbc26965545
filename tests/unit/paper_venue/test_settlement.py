"""A settlement is sent in its turn, not before its delay, as often as the node needs, and its end
is told.
"""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

from services.paper_venue.exchange.matching import match
from services.paper_venue.exchange.orders import Side
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.lifecycle.settlement import (
    Settlement,
    SettlementDelays,
    SettlementPipeline,
)
from shared.testing.waiting import eventually
from tests.unit.paper_venue.builders import MARKET, USDC, a_spend, an_engine, an_order
from tests.unit.paper_venue.fakes import Clock, FakeSettler


@dataclass
class Told:
    clock: Clock
    events: list[tuple[str, str]] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)

    def on_mined(self, trade: Trade, *, block: int, now_ms: int) -> None:
        self._tell("mined", trade)

    def on_retrying(self, trade: Trade, transaction_hash: str, *, now_ms: int) -> None:
        self._tell(f"retrying as {int(transaction_hash, 16)}", trade)

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None:
        self._tell("confirmed", trade)

    def on_failed(self, trade: Trade, *, now_ms: int) -> None:
        self._tell("failed", trade)

    def _tell(self, what: str, trade: Trade) -> None:
        self.events.append((what, trade.id))
        self.times_ms.append(self.clock.ms)


def follow_one(line: SettlementPipeline, clock: Clock, name: str) -> None:
    engine = an_engine(an_order(Side.SELL, price=5_000, maker="0xB"))
    matched = match(a_spend(10 * USDC), engine.books[MARKET.condition_id])
    transaction = line.sign(Settlement.from_match(matched))
    line.submit(
        transaction,
        Trade(
            id=name,
            match=matched,
            fee=0,
            transaction_hash=transaction.hash,
            matched_at_ms=clock.ms,
            updated_at_ms=clock.ms,
        ),
    )


async def told_of(
    settler: FakeSettler, *names: str, ends: int, faults: Faults | None = None
) -> Told:
    clock = Clock()
    delays = SettlementDelays(before_broadcast=2, before_confirmed=3)
    line = SettlementPipeline(
        settler, delays=delays, faults=faults or Faults(), now_ms=clock.now_ms, sleep=clock.sleep
    )
    for name in names:
        follow_one(line, clock, name)
    told = Told(clock)
    running = asyncio.create_task(line.run(told))
    await eventually(lambda: len(told.events) == ends)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return told


async def test_a_trade_is_mined_and_then_confirmed_each_after_its_delay() -> None:
    told = await told_of(FakeSettler(), "one", ends=2)

    assert told.events == [("mined", "one"), ("confirmed", "one")]
    start = Clock().ms
    assert told.times_ms[0] >= start + 2_000
    assert told.times_ms[1] >= told.times_ms[0] + 3_000


async def test_setting_the_clock_back_does_not_delay_a_settlement() -> None:
    clock, settler = Clock(), FakeSettler()
    delays = SettlementDelays(before_broadcast=2, before_confirmed=3)
    line = SettlementPipeline(
        settler, delays=delays, faults=Faults(), now_ms=clock.now_ms, sleep=clock.sleep
    )
    follow_one(line, clock, "one")
    clock.ms -= 90_000
    start_ms, told = clock.ms, Told(clock)
    running = asyncio.create_task(line.run(told))

    await eventually(lambda: len(told.events) == 2)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told.times_ms[-1] <= start_ms + 6_000


async def test_settlements_are_sent_in_the_order_of_their_nonces() -> None:
    settler = FakeSettler()

    await told_of(settler, "one", "two", "three", ends=6)

    assert settler.sent == [1, 2, 3]


async def test_a_request_is_repeated_while_the_node_is_unreachable() -> None:
    settler = FakeSettler(failures=5)

    told = await told_of(settler, "one", ends=2)

    assert told.events[-1] == ("confirmed", "one")
    assert settler.sent == [1]


async def test_a_reverted_settlement_is_reported_as_failed_and_blocks_no_other() -> None:
    told = await told_of(FakeSettler(statuses={1: 0}), "one", "two", ends=3)

    assert told.events == [("failed", "one"), ("mined", "two"), ("confirmed", "two")]


def struck_once(fault: Fault, *, seconds: int = 30) -> Faults:
    faults = Faults()
    faults.set({fault: FaultOptions(times=1, seconds=Decimal(seconds))})
    return faults


async def test_a_retried_settlement_is_sent_under_a_new_hash_and_settled() -> None:
    settler = FakeSettler()

    told = await told_of(settler, "one", ends=3, faults=struck_once(Fault.RETRYING))

    assert told.events == [("retrying as 2", "one"), ("mined", "one"), ("confirmed", "one")]
    assert settler.sent == [1, 2]
    assert settler.signed[0] == settler.signed[1]


async def test_a_retry_is_sent_after_earlier_transactions_and_blocks_none() -> None:
    settler = FakeSettler()

    told = await told_of(settler, "one", "two", "three", ends=7, faults=struck_once(Fault.RETRYING))

    assert settler.sent == [1, 2, 3, 4]
    assert [what for what, name in told.events if name == "one"] == [
        "retrying as 4",
        "mined",
        "confirmed",
    ]
    assert all(
        [what for what, who in told.events if who == name] == ["mined", "confirmed"]
        for name in ("two", "three")
    )


async def test_a_failed_settlement_is_reported_after_its_delay_and_blocks_no_other() -> None:
    told = await told_of(FakeSettler(), "one", "two", ends=3, faults=struck_once(Fault.FAILED))

    assert [what for what, name in told.events if name == "two"] == ["mined", "confirmed"]
    assert told.times_ms[told.events.index(("failed", "one"))] >= Clock().ms + 30_000


async def test_the_venues_own_traders_are_exempt() -> None:
    faults = Faults()
    faults.exempt(["0xA"])
    faults.set({Fault.RETRYING: FaultOptions(), Fault.FAILED: FaultOptions()})

    told = await told_of(FakeSettler(), "one", ends=2, faults=faults)

    assert told.events == [("mined", "one"), ("confirmed", "one")]
