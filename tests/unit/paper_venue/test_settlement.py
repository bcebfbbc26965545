"""Settlements are sent in the order of their nonces, after a delay and with retries; their outcome
is reported.
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
class RecordingListener:
    clock: Clock
    events: list[tuple[str, str]] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)

    def on_mined(self, trade: Trade, *, block: int, now_ms: int) -> None:
        self._record("mined", trade)

    def on_retrying(self, trade: Trade, transaction_hash: str, *, now_ms: int) -> None:
        self._record(f"retrying as {int(transaction_hash, 16)}", trade)

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None:
        self._record("confirmed", trade)

    def on_failed(self, trade: Trade, *, now_ms: int) -> None:
        self._record("failed", trade)

    def _record(self, what: str, trade: Trade) -> None:
        self.events.append((what, trade.id))
        self.times_ms.append(self.clock.ms)


def submit_one(pipeline: SettlementPipeline, clock: Clock, name: str) -> None:
    engine = an_engine(an_order(Side.SELL, price=5_000, maker="0xB"))
    matched = match(a_spend(10 * USDC), engine.books[MARKET.condition_id])
    transaction = pipeline.sign(Settlement.from_match(matched))
    pipeline.submit(
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


async def run_pipeline(
    settler: FakeSettler, *names: str, ends: int, faults: Faults | None = None
) -> RecordingListener:
    clock = Clock()
    delays = SettlementDelays(before_broadcast=2, before_confirmed=3)
    pipeline = SettlementPipeline(
        settler, delays=delays, faults=faults or Faults(), now_ms=clock.now_ms, sleep=clock.sleep
    )
    for name in names:
        submit_one(pipeline, clock, name)
    reports = RecordingListener(clock)
    running = asyncio.create_task(pipeline.run(reports))
    await eventually(lambda: len(reports.events) == ends)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return reports


async def test_a_trade_is_mined_and_then_confirmed_each_after_its_delay() -> None:
    reports = await run_pipeline(FakeSettler(), "one", ends=2)

    assert reports.events == [("mined", "one"), ("confirmed", "one")]
    start = Clock().ms
    assert reports.times_ms[0] >= start + 2_000
    assert reports.times_ms[1] >= reports.times_ms[0] + 3_000


async def test_setting_the_clock_back_does_not_delay_a_settlement() -> None:
    clock, settler = Clock(), FakeSettler()
    delays = SettlementDelays(before_broadcast=2, before_confirmed=3)
    pipeline = SettlementPipeline(
        settler, delays=delays, faults=Faults(), now_ms=clock.now_ms, sleep=clock.sleep
    )
    submit_one(pipeline, clock, "one")
    clock.ms -= 90_000
    start_ms, reports = clock.ms, RecordingListener(clock)
    running = asyncio.create_task(pipeline.run(reports))

    await eventually(lambda: len(reports.events) == 2)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert reports.times_ms[-1] <= start_ms + 6_000


async def test_settlements_are_sent_in_the_order_of_their_nonces() -> None:
    settler = FakeSettler()

    await run_pipeline(settler, "one", "two", "three", ends=6)

    assert settler.sent == [1, 2, 3]


async def test_a_request_is_repeated_while_the_node_is_unreachable() -> None:
    settler = FakeSettler(failures=5)

    reports = await run_pipeline(settler, "one", ends=2)

    assert reports.events[-1] == ("confirmed", "one")
    assert settler.sent == [1]


async def test_a_reverted_settlement_is_reported_as_failed_and_blocks_no_other() -> None:
    reports = await run_pipeline(FakeSettler(statuses={1: 0}), "one", "two", ends=3)

    assert reports.events == [("failed", "one"), ("mined", "two"), ("confirmed", "two")]


def triggered_once(fault: Fault, *, seconds: int = 30) -> Faults:
    faults = Faults()
    faults.set({fault: FaultOptions(times=1, seconds=Decimal(seconds))})
    return faults


async def test_a_retried_settlement_is_sent_under_a_new_hash_and_settled() -> None:
    settler = FakeSettler()

    reports = await run_pipeline(settler, "one", ends=3, faults=triggered_once(Fault.RETRYING))

    assert reports.events == [("retrying as 2", "one"), ("mined", "one"), ("confirmed", "one")]
    assert settler.sent == [1, 2]
    assert settler.signed[0] == settler.signed[1]


async def test_a_retry_is_sent_after_earlier_transactions_and_blocks_none() -> None:
    settler = FakeSettler()

    reports = await run_pipeline(
        settler, "one", "two", "three", ends=7, faults=triggered_once(Fault.RETRYING)
    )

    assert settler.sent == [1, 2, 3, 4]
    assert [what for what, name in reports.events if name == "one"] == [
        "retrying as 4",
        "mined",
        "confirmed",
    ]
    assert all(
        [what for what, reported in reports.events if reported == name] == ["mined", "confirmed"]
        for name in ("two", "three")
    )


async def test_a_failed_settlement_is_reported_after_its_delay_and_blocks_no_other() -> None:
    reports = await run_pipeline(
        FakeSettler(), "one", "two", ends=3, faults=triggered_once(Fault.FAILED)
    )

    assert [what for what, name in reports.events if name == "two"] == ["mined", "confirmed"]
    assert reports.times_ms[reports.events.index(("failed", "one"))] >= Clock().ms + 30_000


async def test_the_venues_own_traders_are_exempt() -> None:
    faults = Faults()
    faults.exempt(["0xA"])
    faults.set({Fault.RETRYING: FaultOptions(), Fault.FAILED: FaultOptions()})

    reports = await run_pipeline(FakeSettler(), "one", ends=2, faults=faults)

    assert reports.events == [("mined", "one"), ("confirmed", "one")]
