"""How the requests of a process share the venue's limits; time is virtual."""

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.polymarket.request_budget import (
    MAX_PAUSE_S,
    MIN_SIGNERS,
    BudgetExhausted,
    Priority,
    RequestBudget,
    TokenBucket,
)
from shared.polymarket.request_families import (
    CLOB_LIMIT,
    DATA_API_LIMIT,
    LIMITS,
    SIGNER_LIMIT,
    Family,
    Limit,
)
from tests.fakes import VirtualTime


class Requests:
    """Requests to the venue, as they are sent."""

    def __init__(self, *, share: str = "1") -> None:
        self.time = VirtualTime()
        self.budget = RequestBudget(share=Decimal(share), clock=self.time, sleep=self.time.sleep)
        self.sent: list[tuple[float, str]] = []

    async def send(
        self,
        family: Family,
        name: str = "",
        *,
        priority: Priority = Priority.LOOKUP,
        wallet: str = "",
    ) -> None:
        await self.budget.wait_for_room(family, priority=priority, wallet=wallet)
        self.sent.append((self.time.now_s, name))

    async def use_up(self, family: Family) -> None:
        """Send as many as may be sent at once."""
        for _ in range(min(limit.burst for limit in LIMITS[family])):
            await self.send(family)
        self.sent.clear()

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.sent]


async def send_all(*requests: Coroutine[Any, Any, None]) -> None:
    """Begin the requests in this order, and wait for all."""
    await asyncio.gather(*requests)


CLOB_FAMILIES = (
    Family.ORDERS,
    Family.TRADES,
    Family.API_KEYS,
    Family.BALANCE_UPDATES,
    Family.BOOKS,
    Family.OTHER,
)
DATA_FAMILIES = (Family.DATA_TRADES, Family.DATA_POSITIONS, Family.DATA_OTHER)


@pytest.mark.parametrize(
    ("families", "limit"), [(CLOB_FAMILIES, CLOB_LIMIT), (DATA_FAMILIES, DATA_API_LIMIT)]
)
def test_no_family_can_take_from_another(families: tuple[Family, ...], limit: int) -> None:
    assert sum(LIMITS[family][0].requests for family in families) <= limit


@given(
    pauses=st.lists(st.sampled_from([0.0, 0.01, 0.3, 2.0, 11.0]), min_size=50, max_size=400),
    limit=st.sampled_from([Limit(requests=50, within_s=10, burst=5), SIGNER_LIMIT]),
)
def test_no_period_has_more_requests_than_the_limit(pauses: list[float], limit: Limit) -> None:
    now_s, sent = 0.0, list[float]()
    bucket = TokenBucket(limit, share=1, now_s=0)
    for pause in pauses:
        now_s += pause
        now_s += bucket.wait_s(now_s)
        bucket.take(now_s)
        sent.append(now_s)

    for number, at in enumerate(sent[limit.requests :]):
        assert at - sent[number] >= limit.within_s - 0.001


@pytest.mark.parametrize("family", [Family.TRADES, Family.API_KEYS, Family.GAMMA])
async def test_a_burst_is_sent_at_once_and_what_is_more_at_the_limits_pace(family: Family) -> None:
    requests, (limit,) = Requests(), LIMITS[family]

    await send_all(*(requests.send(family) for _ in range(limit.requests)))

    sent_at = [at for at, _ in requests.sent]
    assert sent_at[limit.burst - 1] == 0
    assert sent_at[-1] == pytest.approx(limit.within_s)


async def test_requests_that_wait_are_sent_by_priority() -> None:
    requests = Requests()
    await requests.use_up(Family.API_KEYS)

    await send_all(
        *(
            requests.send(Family.API_KEYS, priority.name, priority=priority)
            for priority in reversed(Priority)
        )
    )

    assert requests.names == ["LOOKUP", "ENTRY_KEY", "POLL", "BACKGROUND"]


async def test_an_urgent_request_overtakes_those_that_wait_already() -> None:
    requests = Requests()
    await requests.use_up(Family.TRADES)
    polls = [
        asyncio.create_task(
            requests.send(Family.TRADES, "poll", priority=Priority.POLL, wallet=f"0x{number}")
        )
        for number in range(100)
    ]
    await asyncio.sleep(0)

    await requests.send(Family.TRADES, "lookup")
    await asyncio.gather(*polls)

    assert requests.names.index("lookup") <= 1


async def test_wallets_take_turns() -> None:
    requests = Requests()
    await requests.use_up(Family.TRADES)

    await send_all(
        *(requests.send(Family.TRADES, f"a{number}", wallet="a") for number in range(5)),
        requests.send(Family.TRADES, "b0", wallet="b"),
        requests.send(Family.TRADES, "c0", wallet="c"),
        requests.send(Family.TRADES, "b1", wallet="b"),
    )

    assert requests.names == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]


async def test_a_queue_of_reads_never_delays_an_order() -> None:
    requests = Requests()
    reads = [
        asyncio.create_task(requests.send(family, wallet=str(number)))
        for family in (Family.TRADES, Family.API_KEYS, Family.BOOKS, Family.OTHER)
        for number in range(2_000)
    ]
    await asyncio.sleep(0)

    before_s = requests.time.now_s
    await requests.budget.wait_for_order("0xa", within_s=1)

    assert requests.time.now_s == before_s
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


async def test_an_order_overtakes_every_read_that_waits() -> None:
    requests = Requests()
    reads = [family for family in CLOB_FAMILIES if family is not Family.ORDERS]
    for family in reads:
        await requests.use_up(family)
    waiting = [
        asyncio.create_task(requests.send(family, "read", wallet=str(number)))
        for family in reads
        for number in range(200)
    ]
    await asyncio.sleep(0)

    for signer in range(LIMITS[Family.ORDERS][0].burst):
        posting = requests.budget.wait_for_order(str(signer), within_s=0)
        with pytest.raises(StopIteration):  # it does not even yield to the event loop
            posting.send(None)

    assert requests.sent == []
    for task in waiting:
        task.cancel()


async def test_signers_that_have_their_whole_limit_again_are_forgotten() -> None:
    requests = Requests(share="100")
    for number in range(5 * MIN_SIGNERS):
        await requests.budget.wait_for_order(f"once {number}", within_s=0)
        if number % 2 == 0:
            await requests.budget.wait_for_order("always", within_s=60)
        requests.time.now_s += 0.01

    assert len(requests.budget._signers) <= 2 * MIN_SIGNERS


async def test_a_signer_without_room_is_not_forgotten() -> None:
    requests = Requests(share="100")
    for number in range(MIN_SIGNERS - 1):
        await requests.budget.wait_for_order(f"once {number}", within_s=0)
    requests.time.now_s += 60
    for _ in range(100 * SIGNER_LIMIT.burst):
        await requests.budget.wait_for_order("busy", within_s=0)

    await requests.budget.wait_for_order("another", within_s=0)

    assert set(requests.budget._signers) == {"busy", "another"}
    with pytest.raises(BudgetExhausted):
        await requests.budget.wait_for_order("busy", within_s=0)


async def test_a_signer_has_a_limit_of_his_own() -> None:
    requests = Requests()
    for _ in range(SIGNER_LIMIT.burst):
        await requests.budget.wait_for_order("0xa", within_s=0)

    with pytest.raises(BudgetExhausted, match="per signer"):
        await requests.budget.wait_for_order("0xa", within_s=0)
    await requests.budget.wait_for_order("0xb", within_s=0)
    await requests.budget.wait_for_order("0xa", within_s=1)

    assert requests.time.now_s == pytest.approx(1 / 40)


async def test_an_order_that_finds_no_room_in_time_is_refused_at_once() -> None:
    requests = Requests()
    requests.budget.slow_down(Family.ORDERS, retry_after_s=5)

    with pytest.raises(BudgetExhausted, match="per address"):
        await requests.budget.wait_for_order("0xa", within_s=2)

    assert requests.time.now_s == 0


async def test_a_429_slows_down_its_family_alone() -> None:
    requests = Requests()
    requests.budget.slow_down(Family.TRADES, retry_after_s=7)

    await requests.send(Family.BOOKS, "book")
    await requests.budget.wait_for_order("0xa", within_s=0)
    await requests.send(Family.TRADES, "trades")

    assert requests.sent == [(0, "book"), (7, "trades")]


@pytest.mark.parametrize(("asked_s", "pause_s"), [(None, 1), (86_400, MAX_PAUSE_S)])
async def test_a_pause_has_a_default_and_a_limit(asked_s: int | None, pause_s: int) -> None:
    requests = Requests()
    requests.budget.slow_down(Family.GAMMA, retry_after_s=asked_s)

    await requests.send(Family.GAMMA)

    assert requests.time.now_s == pause_s


async def test_a_later_and_shorter_pause_does_not_shorten_the_first() -> None:
    requests = Requests()
    requests.budget.slow_down(Family.GAMMA, retry_after_s=30)
    requests.budget.slow_down(Family.GAMMA, retry_after_s=1)

    await requests.send(Family.GAMMA)

    assert requests.time.now_s == 30


async def test_a_request_that_is_cancelled_takes_no_room() -> None:
    requests = Requests()
    await requests.use_up(Family.API_KEYS)
    cancelled = [asyncio.create_task(requests.send(Family.API_KEYS, "x")) for _ in range(50)]
    await asyncio.sleep(0)
    for request in cancelled:
        request.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)

    await requests.send(Family.API_KEYS, "kept")

    assert requests.names == ["kept"]
    assert requests.time.now_s == pytest.approx(1 / 9)


async def test_processes_behind_one_address_share_its_limits() -> None:
    requests = Requests(share="0.5")

    await send_all(*(requests.send(Family.TRADES) for _ in range(250)))

    assert requests.time.now_s == pytest.approx(10)
