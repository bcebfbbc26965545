"""One request for many askers, and a memory that does not grow."""

import asyncio
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.caching.recent import LruCache
from shared.caching.single_flight import SingleFlight


class Source:
    """Answers when it is let, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.fails = False

    async def ask(self, key: str) -> str:
        self.asked.append(key)
        await self.open.wait()
        if self.fails:
            raise ConnectionError(key)
        return f"{key} {len(self.asked)}"


async def together(flight: SingleFlight[str, str], *keys: str) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(flight(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_who_asks_at_the_same_time_shares_one_request() -> None:
    source = Source()
    tasks = await together(SingleFlight(source.ask), "a", "a", "b", "a")
    source.open.set()

    answers = await asyncio.gather(*tasks)

    assert source.asked == ["a", "b"]
    assert answers[0] == answers[1] == answers[3] != answers[2]


async def test_an_answer_is_not_kept_for_later() -> None:
    source = Source()
    source.open.set()
    flight = SingleFlight(source.ask)

    assert [await flight("a"), await flight("a")] == ["a 1", "a 2"]
    assert not flight.is_running("a")


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    source = Source()
    source.fails = True
    flight = SingleFlight(source.ask)
    tasks = await together(flight, "a", "a")
    source.open.set()

    assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [
        ConnectionError
    ] * 2
    source.fails = False
    assert await flight("a") == "a 2"


async def test_who_gives_up_does_not_take_the_others_answer_away() -> None:
    source = Source()
    first, second = await together(SingleFlight(source.ask), "a", "a")
    first.cancel()
    await asyncio.sleep(0)
    source.open.set()

    assert await second == "a 1"


@given(
    bound=st.integers(1, 5), used=st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=40)
)
def test_what_was_used_longest_ago_goes_first_and_is_told(
    bound: int, used: list[tuple[bool, int]]
) -> None:
    evicted: list[tuple[int, int]] = []
    recent: LruCache[int, int] = LruCache(
        bound, on_evicted=lambda key, value: evicted.append((key, value))
    )
    model: OrderedDict[int, int] = OrderedDict()
    gone = 0

    for moment, (puts, key) in enumerate(used):
        if puts:
            recent.put(key, moment)
            model[key] = moment
            model.move_to_end(key)
        else:
            assert recent.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        if len(model) > bound:
            assert evicted[gone] == model.popitem(last=False)
            gone += 1
        assert list(recent) == list(model)

    assert len(evicted) == gone
    assert len(recent) <= bound


def test_looking_without_using_saves_nothing_from_going() -> None:
    recent: LruCache[str, int] = LruCache(2)
    recent.put("a", 1)
    recent.put("b", 2)

    assert recent.peek("a") == 1
    recent.put("c", 3)

    assert list(recent) == ["b", "c"]


def test_what_is_dropped_is_gone_and_dropping_it_again_is_no_error() -> None:
    recent: LruCache[str, int] = LruCache(2)
    recent.put("a", 1)

    recent.drop("a")
    recent.drop("a")

    assert (recent.get("a"), len(recent), list(recent.values())) == (None, 0, [])


@pytest.mark.parametrize("bound", [0, -1])
def test_a_memory_of_nothing_is_refused(bound: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        LruCache(bound)
