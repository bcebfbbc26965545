"""How the loads of a system are measured, on a system that is a fake."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

import pytest

from shared.clock import utc_now
from tools.bench.followers import Audience, Trade
from tools.bench.loads import Load, parse_loads
from tools.bench.path import Confirmations, LoadResult, TooSlow, measure, run_load


class FakeVenue:
    """Gets the order of every copy at once, but for those that are lost."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[int, float]] = []
        self.frames: list[str] = []
        self.lost = 0
        """Of the copies of each trade, after those of the warm-up."""
        self.warm_up_trades = 0
        self.asked = 0
        self.listened_to_at = 1
        """Somebody listens from the time it is asked so often."""

    @property
    def has_listeners(self) -> bool:
        self.asked += 1
        return self.asked >= self.listened_to_at

    async def send_frame(self, frame: str) -> float:
        at = time.perf_counter()
        self.frames.append(frame)
        salts = [int(salt) for salt in frame.split("|")[1].split(",")]
        lost = self.lost if len(self.frames) > self.warm_up_trades else 0
        self.arrivals += [(salt, at + 0.01) for salt in salts[lost:]]
        return at


class FakeSystem:
    name = "fake"
    processes: Mapping[str, int] = {}
    simulators: Mapping[str, int] = {}

    def __init__(self) -> None:
        self._number = 0
        self.settled = 0

    def trades(self, audience: Audience) -> Iterator[Trade]:
        while True:
            salts = tuple(range(self._number, self._number + audience.followers))
            self._number += audience.followers
            text = ",".join(map(str, salts))
            yield Trade(
                build_frame=lambda at, text=text: f"{at.isoformat()}|{text}",  # type: ignore[misc]
                salts=salts,
            )

    async def settle(self) -> None:
        self.settled += 1

    async def fetch_confirmations(self, since: datetime) -> Confirmations | None:
        return Confirmations(confirmed=1, latency=None)


def short(text: str) -> list[Load]:
    return [replace(load, seconds=0.05, late_s=0.0) for load in parse_loads(text)]


def ignore(row: LoadResult) -> None:
    return None


async def test_each_trade_is_dated_when_it_is_sent_and_every_copy_is_counted() -> None:
    venue, system = FakeVenue(), FakeSystem()
    load = replace(short("100")[0], trades_per_second=50, followers=2)
    before = utc_now()

    row = await run_load(load, system, venue)  # type: ignore[arg-type]

    dates = [datetime.fromisoformat(frame.split("|")[0]) for frame in venue.frames]
    assert before <= dates[0] < dates[1] <= utc_now()
    assert (row.result.expected, row.result.arrived) == (load.copies, load.copies)
    assert row.confirmations == Confirmations(confirmed=1, latency=None)
    assert "load generator and venue" in row.simulators_cpu_per_1000
    assert row.cpu == 0
    assert system.settled == 1


async def test_no_trade_is_sent_before_somebody_listens() -> None:
    venue = FakeVenue()
    venue.listened_to_at = 3

    row = await run_load(short("100")[0], FakeSystem(), venue)  # type: ignore[arg-type]

    assert venue.asked >= 3
    assert row.is_complete


async def test_an_order_that_is_doubled_after_the_load_is_counted() -> None:
    venue, system = FakeVenue(), FakeSystem()

    async def repeat_first() -> None:
        salt, at = venue.arrivals[0]
        venue.arrivals.append((salt, at + 30))

    system.settle = repeat_first  # type: ignore[method-assign]

    row = await run_load(short("100")[0], system, venue)  # type: ignore[arg-type]

    assert (row.result.duplicates, row.is_sustained) == (1, False)


async def test_an_order_that_comes_too_late_is_paid_for_and_has_not_arrived() -> None:
    venue, system = FakeVenue(), FakeSystem()
    venue.lost = 1

    async def deliver_lost() -> None:
        venue.arrivals += [(salt, time.perf_counter()) for salt in range(load.copies)]

    system.settle = deliver_lost  # type: ignore[method-assign]
    load = replace(short("100")[0], trades_per_second=20, followers=2)

    row = await run_load(load, system, venue)  # type: ignore[arg-type]

    assert row.result.arrived == load.copies - 1


async def test_a_rate_that_is_not_sustained_ends_the_rising_series_alone() -> None:
    venue = FakeVenue()

    async def measured(text: str, *, lost_after: str) -> list[str]:
        def lose(row: LoadResult) -> None:
            venue.lost = 1 if row.load.name == lost_after else 0

        rows = await measure(FakeSystem(), venue, short(text), lose)  # type: ignore[arg-type]
        return [row.load.name for row in rows]

    assert await measured("light,200,300,400,burst-3", lost_after="200 copies/s") == [
        "light",
        "200 copies/s",
        "300 copies/s",
        "burst of 3",
    ]


async def test_light_load_that_loses_a_copy_ends_nothing() -> None:
    venue = FakeVenue()
    venue.lost, venue.warm_up_trades = 1, 10

    rows = await measure(FakeSystem(), venue, short("light,200"), ignore)  # type: ignore[arg-type]

    assert [row.is_sustained for row in rows] == [False, False]


async def test_a_system_from_which_nothing_comes_is_an_error() -> None:
    venue = FakeVenue()
    venue.lost = 1000

    with pytest.raises(TooSlow, match="no order arrived"):
        await run_load(short("light")[0], FakeSystem(), venue)  # type: ignore[arg-type]
