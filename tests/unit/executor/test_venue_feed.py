"""How often the feeds ask the venue, and what one wallet's failure costs the others."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.executor.adapters import startup_check, venue_feed
from services.executor.adapters.startup_check import StartupCheck, StartupCheckPending
from services.executor.adapters.unreadable_rows import ParkedRows
from services.executor.adapters.venue import UnreadableRow, WalletTrades
from services.executor.adapters.venue_feed import VenueFeed
from services.executor.adapters.wallet_retries import MAX_PAUSE, WalletRetries
from services.executor.decisions import Order, VenueReply
from shared.db.leases import Lease
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.orders import OrderOverdue, OrderState
from shared.polymarket.request_budget import Priority
from shared.testing.waiting import eventually
from tests.builders import NOON, a_trade, seconds
from tests.fakes import Clock
from tests.orders import an_order, numbered_order

WALLETS = [f"0x{number:040x}" for number in range(120)]
REFUSED = WALLETS[17]


@dataclass
class FixedOrders:
    """The open orders, as recorded."""

    orders: Sequence[Order]

    async def load_leases(self, lease_ids: object) -> None: ...

    def list_open(self) -> list[Order]:
        return list(self.orders)


@dataclass
class RefusingVenue:
    """Answers for all wallets but these, and counts what it was asked for."""

    refused: set[str] = field(default_factory=set)
    trades: WalletTrades = field(default_factory=lambda: WalletTrades(reports=()))
    requests: Counter[str] = field(default_factory=Counter)

    async def fetch_trades(
        self, proxy: str, orders: Sequence[Order], *, priority: Priority = Priority.LOOKUP
    ) -> WalletTrades:
        self.requests[proxy] += 1
        if proxy in self.refused:
            raise Transient("GET /data/trades: status 403")
        return self.trades


class AllPartitions:
    """Holds the lease of the one partition that all wallets are in."""

    held = (Lease(partition=0, token=1, valid_until=float("inf")),)

    def lease_for(self, proxy: str) -> Lease:
        return self.held[0]


def of_every_wallet(**overrides: Any) -> list[Order]:
    return [
        numbered_order(number, proxy=proxy, **overrides)
        for number, proxy in enumerate(WALLETS, start=1)
    ]


@dataclass
class Published:
    messages: list[Message] = field(default_factory=list)

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)


@asynccontextmanager
async def running(check: StartupCheck) -> AsyncIterator[Published]:
    published = Published()
    task = asyncio.create_task(check(published))
    try:
        yield published
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def a_check(
    venue: Any, orders: Sequence[Order], *, now: Callable[[], datetime], leases: Any = None
) -> StartupCheck:
    fixed: Any = FixedOrders(orders)
    leases = leases or AllPartitions()
    return StartupCheck(fixed, venue, leases, now=now, batch_size=len(WALLETS))


async def test_a_wallet_that_the_venue_refuses_is_withheld_alone_until_it_answers() -> None:
    venue, clock = RefusingVenue(refused={REFUSED}), Clock(NOON)
    check = a_check(venue, of_every_wallet(), now=clock)

    async with running(check) as published:
        await eventually(lambda: check.is_ready)
        for proxy in WALLETS:
            if proxy != REFUSED:
                check.require_ready(proxy)
        with pytest.raises(StartupCheckPending, match=REFUSED):
            check.require_ready(REFUSED)
        assert set(venue.requests.values()) == {1}

        clock.now += seconds(1)
        await eventually(lambda: venue.requests[REFUSED] == 2)
        venue.refused = set()
        clock.now += seconds(2)
        await eventually(lambda: venue.requests[REFUSED] == 3)
        await eventually(lambda: is_ready(check, REFUSED))

    assert sum(venue.requests.values()) == len(WALLETS) + 2
    assert sum(isinstance(each, OrderOverdue) for each in published.messages) == len(WALLETS)


async def test_a_wallet_that_the_venue_does_not_answer_for_is_withheld_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(startup_check, "ANSWER_WITHIN_S", 0.05)
    venue, clock = HangingVenue(refused={REFUSED}), Clock(NOON)
    check = a_check(venue, of_every_wallet(), now=clock)

    async with running(check):
        await eventually(lambda: check.is_ready)
        for proxy in WALLETS:
            if proxy != REFUSED:
                check.require_ready(proxy)
        assert not is_ready(check, REFUSED)

        venue.answers.set()
        clock.now += seconds(1)
        await eventually(lambda: is_ready(check, REFUSED))


@dataclass
class SlowVenue(RefusingVenue):
    """Answers a request for the refused wallets when the test lets it."""

    answers: dict[str, list[asyncio.Event]] = field(default_factory=dict)
    """By refused wallet, one for each request."""

    async def fetch_trades(
        self, proxy: str, orders: Sequence[Order], *, priority: Priority = Priority.LOOKUP
    ) -> WalletTrades:
        if proxy in self.refused:
            self.answers.setdefault(proxy, []).append(asyncio.Event())
            await self.answers[proxy][-1].wait()
        return self.trades


async def test_a_withheld_wallet_has_the_full_time_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(startup_check, "ANSWER_WITHIN_S", 0.0)
    slow, slower = WALLETS[3:5]
    venue, clock = SlowVenue(refused={slow, slower}), Clock(NOON)
    check = a_check(venue, of_every_wallet(), now=clock)

    async with running(check):
        await eventually(lambda: check.is_ready)
        clock.now += seconds(1)
        await eventually(lambda: [len(venue.answers[each]) for each in (slow, slower)] == [2, 2])
        venue.answers[slow][1].set()
        await eventually(lambda: is_ready(check, slow))
        assert not is_ready(check, slower)
        venue.answers[slower][1].set()
        await eventually(lambda: is_ready(check, slower))


async def test_an_answer_that_was_asked_for_under_a_lost_lease_releases_no_wallet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(startup_check, "ANSWER_WITHIN_S", 0.0)
    venue, clock, leases = SlowVenue(refused={REFUSED}), Clock(NOON), AllPartitions()
    check = a_check(venue, of_every_wallet(), now=clock, leases=leases)

    async with running(check) as published:
        await eventually(lambda: check.is_ready)
        clock.now += seconds(1)
        await eventually(lambda: len(venue.answers[REFUSED]) == 2)
        leases.held = (replace(leases.held[0], token=2),)
        await eventually(lambda: check.is_ready)
        reports = len(published.messages)
        venue.answers[REFUSED][1].set()
        await eventually(lambda: len(published.messages) == reports + 1)
        assert not is_ready(check, REFUSED)

        clock.now += MAX_PAUSE
        await eventually(lambda: len(venue.answers[REFUSED]) == 4)
        venue.answers[REFUSED][3].set()
        await eventually(lambda: is_ready(check, REFUSED))


def is_ready(check: StartupCheck, proxy: str) -> bool:
    try:
        check.require_ready(proxy)
    except StartupCheckPending:
        return False
    return True


def test_the_pause_of_a_wallet_doubles_up_to_its_limit_and_ends_with_a_success() -> None:
    clock = Clock(NOON)
    retries = WalletRetries(now=clock)

    pauses = [retries.fail("0xa") for _ in range(8)]

    assert pauses[:3] == [seconds(1), seconds(2), seconds(4)]
    assert pauses[-1] == MAX_PAUSE
    assert retries.is_due("0xb")
    assert not retries.is_due("0xa")
    clock.now += MAX_PAUSE
    assert retries.is_due("0xa")
    retries.succeed("0xa")
    assert retries.fail("0xa") == seconds(1)


def a_feed(
    venue: Any,
    orders: Sequence[Order],
    clock: Clock,
    *,
    wallets_per_poll: int = len(WALLETS),
    fills_within: timedelta = timedelta(0),
) -> VenueFeed:
    fixed: Any = FixedOrders(orders)
    return VenueFeed(
        fixed,
        venue,
        owns=lambda _: True,
        now=clock,
        poll_interval=timedelta(0),
        fills_within=fills_within,
        overdue_after=timedelta(milliseconds=500),
        verify_for=seconds(4),
        max_wallets_per_poll=wallets_per_poll,
    )


async def test_a_refused_wallet_is_polled_ever_less_and_the_others_each_time() -> None:
    venue, clock = RefusingVenue(refused={REFUSED}), Clock(NOON)
    feed = a_feed(venue, of_every_wallet(state=OrderState.MATCHED), clock)

    for _ in range(30):
        await feed._poll(Published())
        clock.now += seconds(1)

    assert venue.requests[REFUSED] == 5  # after 0, 1, 3, 7 and 15 s
    assert {times for proxy, times in venue.requests.items() if proxy != REFUSED} == {30}


@dataclass
class HangingVenue(RefusingVenue):
    """Does not answer for the refused wallets until it is told to."""

    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch_trades(
        self, proxy: str, orders: Sequence[Order], *, priority: Priority = Priority.LOOKUP
    ) -> WalletTrades:
        self.requests[proxy] += 1
        if proxy in self.refused:
            await self.answers.wait()
        return self.trades


async def test_a_wallet_that_the_venue_does_not_answer_for_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue_feed, "GRACE_S", 0.01)
    venue, clock = HangingVenue(refused={REFUSED}), Clock(NOON)
    feed = a_feed(venue, of_every_wallet(state=OrderState.MATCHED), clock)
    task = asyncio.create_task(feed(Published()))

    await eventually(lambda: venue.requests[WALLETS[0]] >= 5)
    assert venue.requests[REFUSED] == 1
    venue.answers.set()
    await eventually(lambda: venue.requests[REFUSED] > 1)

    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_requests_without_an_answer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue_feed, "GRACE_S", 0.0)
    venue, clock = HangingVenue(refused=set(WALLETS)), Clock(NOON)
    orders = of_every_wallet(state=OrderState.MATCHED)
    feed = a_feed(venue, orders, clock, wallets_per_poll=10)

    for _ in range(10):
        await feed._poll(Published())
        await asyncio.sleep(0)
    assert sum(venue.requests.values()) == 10 * venue_feed.MAX_POLLS_IN_FLIGHT

    venue.answers.set()
    while len(venue.requests) < len(WALLETS):
        await feed._poll(Published())
        await asyncio.sleep(0)
    assert set(venue.requests.values()) == {1}
    await asyncio.gather(*feed._fetches.values())


async def test_an_unexpected_error_of_a_slow_request_ends_the_feed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue_feed, "GRACE_S", 0.01)
    venue = HangingVenue(refused={REFUSED})
    feed = a_feed(venue, of_every_wallet(state=OrderState.MATCHED), Clock(NOON))
    task = asyncio.create_task(feed(Published()))
    await eventually(lambda: venue.requests[WALLETS[0]] >= 2)

    venue.trades = "no trades"  # type: ignore[assignment]
    venue.answers.set()

    with pytest.raises(AttributeError):
        await task


@pytest.mark.parametrize(
    ("order", "times"),
    [
        (an_order(state=OrderState.UNKNOWN, expires_at=NOON + seconds(10)), 5),
        (an_order(state=OrderState.UNKNOWN, expires_at=NOON), 20),
        (an_order(state=OrderState.UNKNOWN, last_reply=VenueReply.ARRIVED), 20),
    ],
    ids=["sent again", "expired", "arrived"],
)
async def test_an_order_that_is_sent_again_is_reported_as_overdue_ever_less(
    order: Order, times: int
) -> None:
    clock, published = Clock(NOON), Published()
    feed = a_feed(RefusingVenue(), [order], clock)

    while clock.now <= NOON + seconds(10):
        await feed._poll(published)
        clock.now += timedelta(milliseconds=50)

    assert len(published.messages) == times


async def test_an_unreadable_row_is_parked_once_without_its_api_keys() -> None:
    makers = [{"order_id": "0xb", "owner": "their-key"}]
    row = UnreadableRow(
        order_hash=None,
        reason="no",
        row={"id": "1", "owner": "our-key", "maker_orders": makers},
    )
    published, parked_rows = Published(), ParkedRows(now=Clock(NOON))

    await parked_rows.park([row, row], published)
    await parked_rows.park([row], published)

    (parked,) = published.messages
    assert isinstance(parked, FrameParked)
    assert (parked.feed, parked.reason) == ("trades", "no")
    assert json.loads(parked.frame) == {"id": "1", "maker_orders": [{"order_id": "0xb"}]}


async def test_both_feeds_park_the_unreadable_rows_and_publish_the_others() -> None:
    row = UnreadableRow(order_hash="0xb", reason="no", row={"id": "1"})
    trade = a_trade()
    venue = RefusingVenue(trades=WalletTrades(reports=(trade,), unreadable=(row,)))
    matched = an_order(state=OrderState.MATCHED)
    polled = Published()
    feed, check = a_feed(venue, [matched], Clock(NOON)), a_check(venue, [matched], now=Clock(NOON))

    for _ in range(2):
        await feed._poll(polled)
    async with running(check) as checked:
        await eventually(lambda: check.is_ready)

    for published in (polled, checked):
        assert [type(each) for each in published.messages] == [FrameParked, type(trade)]
