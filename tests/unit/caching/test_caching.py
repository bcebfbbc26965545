"""Concurrent callers share one request, and an LRU cache has a bound."""

import asyncio
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight


class Source:
    """A source that answers when the test lets it, and records the requested keys."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        self.open = asyncio.Event()
        self.fails = False

    async def fetch(self, key: str) -> str:
        self.requested.append(key)
        await self.open.wait()
        if self.fails:
            raise ConnectionError(key)
        return f"{key} {len(self.requested)}"


async def call_concurrently(flight: SingleFlight[str, str], *keys: str) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(flight(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_concurrent_callers_share_one_request() -> None:
    source = Source()
    tasks = await call_concurrently(SingleFlight(source.fetch), "a", "a", "b", "a")
    source.open.set()

    answers = await asyncio.gather(*tasks)

    assert source.requested == ["a", "b"]
    assert answers[0] == answers[1] == answers[3] != answers[2]


async def test_a_result_is_not_kept_for_later_callers() -> None:
    source = Source()
    source.open.set()
    flight = SingleFlight(source.fetch)

    assert [await flight("a"), await flight("a")] == ["a 1", "a 2"]
    assert not flight.is_running("a")


async def test_a_failure_is_raised_to_all_callers_and_is_not_kept() -> None:
    source = Source()
    source.fails = True
    flight = SingleFlight(source.fetch)
    tasks = await call_concurrently(flight, "a", "a")
    source.open.set()

    assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [
        ConnectionError
    ] * 2
    source.fails = False
    assert await flight("a") == "a 2"


async def test_a_cancelled_caller_does_not_cancel_the_others() -> None:
    source = Source()
    first, second = await call_concurrently(SingleFlight(source.fetch), "a", "a")
    first.cancel()
    await asyncio.sleep(0)
    source.open.set()

    assert await second == "a 1"


@given(
    bound=st.integers(1, 5), used=st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=40)
)
def test_the_least_recently_used_entry_is_evicted_first_with_a_callback(
    bound: int, used: list[tuple[bool, int]]
) -> None:
    evicted: list[tuple[int, int]] = []
    cache: LruCache[int, int] = LruCache(
        bound, on_evicted=lambda key, value: evicted.append((key, value))
    )
    model: OrderedDict[int, int] = OrderedDict()
    evictions = 0

    for moment, (puts, key) in enumerate(used):
        if puts:
            cache.put(key, moment)
            model[key] = moment
            model.move_to_end(key)
        else:
            assert cache.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        if len(model) > bound:
            assert evicted[evictions] == model.popitem(last=False)
            evictions += 1
        assert list(cache) == list(model)

    assert len(evicted) == evictions
    assert len(cache) <= bound


def test_a_peek_does_not_count_as_use() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)

    assert cache.peek("a") == 1
    cache.put("c", 3)

    assert list(cache) == ["b", "c"]


def test_an_entry_can_be_dropped_twice() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)

    cache.drop("a")
    cache.drop("a")

    assert (cache.get("a"), len(cache), list(cache.values())) == (None, 0, [])


@pytest.mark.parametrize("bound", [0, -1])
def test_a_cache_without_room_is_refused(bound: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        LruCache(bound)
