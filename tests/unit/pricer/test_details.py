"""The market's details are cached for their time, requested once for all who wait, and a failure is
no answer.
"""

import asyncio

import pytest

from services.pricer.adapters.details import RETRY_AFTER
from shared.domain.errors import InvalidMessage, Transient
from shared.polymarket.clob import NoMarket
from shared.testing.waiting import eventually
from tests.builders import NOON, TOKEN, market_details, seconds
from tests.unit.pricer.harness import INSTANT, PricerCaches, counted

CACHE = "market_details"


async def test_details_are_read_again_when_their_time_is_over() -> None:
    pricer = PricerCaches()
    hits = counted("cache_requests", cache=CACHE, result="hit")
    evicted = counted("cache_evictions", cache=CACHE, reason="age")

    await pricer.details.fetch_details(TOKEN)
    pricer.clock.now += seconds(300)
    assert await pricer.details.fetch_details(TOKEN) == market_details()
    assert counted("cache_requests", cache=CACHE, result="hit") == hits + 1

    pricer.clock.now += INSTANT
    details = await pricer.details.fetch_details(TOKEN)

    assert details == market_details(read_at=NOON + seconds(300) + INSTANT)
    assert pricer.gamma.requested == [TOKEN, TOKEN]
    assert counted("cache_evictions", cache=CACHE, reason="age") == evicted + 1


async def test_all_who_wait_share_one_request() -> None:
    pricer = PricerCaches()
    shared = counted("cache_requests", cache=CACHE, result="shared")
    pricer.gamma.may_reply.clear()

    waiting = [asyncio.create_task(pricer.details.fetch_details(TOKEN)) for _ in range(50)]
    await eventually(lambda: pricer.gamma.requested)
    pricer.gamma.may_reply.set()

    assert set(map(str, await asyncio.gather(*waiting))) == {str(market_details())}
    assert pricer.gamma.requested == [TOKEN]
    assert counted("cache_requests", cache=CACHE, result="shared") == shared + 49


async def test_the_least_recently_requested_is_evicted_first() -> None:
    pricer = PricerCaches(max_tokens=2)
    evicted = counted("cache_evictions", cache=CACHE, reason="size")

    for token in ("1", "2", "1", "3", "1", "2"):
        await pricer.details.fetch_details(token)

    assert pricer.gamma.requested == ["1", "2", "3", "2"]
    assert counted("cache_evictions", cache=CACHE, reason="size") == evicted + 2


@pytest.mark.parametrize("failure", [Transient("500"), InvalidMessage("no JSON"), NoMarket("x")])
async def test_what_could_not_be_had_is_asked_for_again_only_after_a_while(
    failure: Exception,
) -> None:
    pricer = PricerCaches()
    pricer.gamma.failures = [failure] * 2
    assert await pricer.details.fetch_details(TOKEN) is None
    pricer.gamma.failures = []
    pricer.gamma.requested.clear()

    pricer.clock.now += RETRY_AFTER - INSTANT
    assert await pricer.details.fetch_details(TOKEN) is None
    assert pricer.gamma.requested == []
    assert await pricer.details.fetch_details("1") is not None
    pricer.clock.now += INSTANT
    assert await pricer.details.fetch_details(TOKEN) is not None


async def test_a_single_failure_is_tried_again_at_once() -> None:
    pricer = PricerCaches()
    pricer.gamma.failures = [Transient("status 500")]

    assert await pricer.details.fetch_details(TOKEN) == market_details()


async def test_a_catalogue_that_does_not_answer_in_time_gives_no_details() -> None:
    pricer = PricerCaches(fetch_timeout=INSTANT)
    pricer.gamma.may_reply.clear()

    assert await pricer.details.fetch_details(TOKEN) is None


async def test_details_that_come_late_are_kept() -> None:
    pricer = PricerCaches(max_details_wait=INSTANT)
    pricer.gamma.may_reply.clear()
    assert await pricer.details.fetch_details(TOKEN) is None

    pricer.gamma.may_reply.set()
    await eventually(lambda: pricer.gamma.replied == [TOKEN])
    assert await pricer.details.fetch_details(TOKEN) == market_details()
    assert pricer.gamma.requested == [TOKEN]
