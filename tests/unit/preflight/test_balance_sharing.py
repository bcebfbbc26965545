"""How balances are shared with the other instances: some at a time, and none that is no use."""

import asyncio
import logging

import pytest

from services.preflight.adapters.balance_sharing import GROUP_SIZE, MAX_WAITING, BalanceSharing
from shared.messages.base import Message
from shared.messages.caches import BalancesFetched
from shared.testing.waiting import eventually
from tests.builders import NOON, OTHER_PROXY, PROXY, balances, seconds, usdc
from tests.fakes import Clock

MAX_AGE = seconds(15)


class SlowCache:
    """Acknowledges once ``may_acknowledge`` is set, but for those that fail."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.failing: set[str] = set()
        self.may_acknowledge = asyncio.Event()

    def get(self, _: str) -> bytes | None:
        return None

    async def put(self, message: Message) -> None:
        self.published.append(message)
        await self.may_acknowledge.wait()
        if message.key().decode() in self.failing:
            raise OSError("the broker is away")

    @property
    def proxies(self) -> list[str]:
        return [message.key().decode() for message in self.published]


class Shared:
    def __init__(self) -> None:
        self.cache, self.clock = SlowCache(), Clock(NOON)
        self.sharing = BalanceSharing(self.cache, now=self.clock, max_age=MAX_AGE)

    def share(self, proxy: str, **fields: object) -> BalancesFetched:
        fetched = balances(proxy=proxy, **fields)
        self.sharing.share(fetched)
        return fetched


def number(proxy: int) -> str:
    return f"0x{proxy:040x}"


async def test_of_many_balances_the_next_ones_wait_until_the_first_are_acknowledged() -> None:
    shared = Shared()
    proxies = [number(each) for each in range(2 * GROUP_SIZE + 1)]
    for proxy in proxies:
        shared.share(proxy)

    await eventually(lambda: shared.cache.published)
    waited_for = list(shared.cache.proxies)
    shared.cache.may_acknowledge.set()
    await eventually(lambda: len(shared.cache.published) == len(proxies))

    assert waited_for == proxies[:GROUP_SIZE]
    assert shared.cache.proxies == proxies


async def test_of_two_balances_of_a_proxy_the_newest_is_shared() -> None:
    shared = Shared()
    shared.cache.may_acknowledge.set()
    shared.share(PROXY, usdc=usdc(1))
    shared.share(OTHER_PROXY)
    newest = shared.share(PROXY, usdc=usdc(2))

    await eventually(lambda: len(shared.cache.published) == 2)

    assert shared.cache.published[0] == newest
    assert shared.cache.proxies == [PROXY, OTHER_PROXY]


async def test_a_balance_that_has_become_too_old_is_not_shared() -> None:
    shared = Shared()
    shared.cache.may_acknowledge.set()
    shared.share(PROXY, fetched_at=NOON)
    shared.share(OTHER_PROXY, fetched_at=NOON + seconds(1))
    shared.clock.now = NOON + MAX_AGE + seconds(1)

    await eventually(lambda: shared.cache.published)

    assert shared.cache.proxies == [OTHER_PROXY]


async def test_what_cannot_be_shared_is_logged_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shared = Shared()
    shared.cache.may_acknowledge.set()
    shared.cache.failing = {number(0), number(1)}
    with caplog.at_level(logging.WARNING):
        for each in range(GROUP_SIZE + 1):
            shared.share(number(each))
        await eventually(lambda: number(GROUP_SIZE) in shared.cache.proxies)

    assert [record.getMessage() for record in caplog.records] == [
        "2 balances could not be shared with the other instances: OSError"
    ]


async def test_after_a_pause_sharing_begins_again() -> None:
    shared = Shared()
    shared.cache.may_acknowledge.set()
    shared.share(PROXY)
    await eventually(lambda: len(asyncio.all_tasks()) == 1, what="nothing is shared any more")

    shared.share(OTHER_PROXY)

    await eventually(lambda: shared.cache.proxies == [PROXY, OTHER_PROXY])


async def test_while_the_broker_hangs_only_the_newest_thousand_wait() -> None:
    shared = Shared()
    shared.share(number(0))
    await eventually(lambda: shared.cache.published)
    for each in range(1, MAX_WAITING + 11):
        shared.share(number(each))

    shared.cache.may_acknowledge.set()
    await eventually(lambda: len(shared.cache.published) >= 1 + GROUP_SIZE)

    assert shared.cache.proxies[1] == number(11)
