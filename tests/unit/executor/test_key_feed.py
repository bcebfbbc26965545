"""API keys are had before orders need them, and outlive the process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from eth_account import Account

from services.executor.adapters import keyring as keyring_module
from services.executor.adapters.api_keys import PostgresApiKeys
from services.executor.adapters.key_feed import READY_AFTER, KeyFeed
from services.executor.adapters.keyring import Keyring
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.base import Message
from shared.polymarket.clob import Clob
from shared.polymarket.request_budget import Priority
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet
from shared.testing.waiting import eventually
from tests.builders import NOON, seconds
from tests.fakes import Clock


def a_wallet(number: int) -> Wallet:
    key = "0x" + f"{number:02x}" * 32
    return Wallet(proxy=Account.from_key(key).address, private_key=key)


WALLETS = {wallet.proxy: wallet for wallet in map(a_wallet, range(1, 21))}
FIRST, SECOND, *_ = WALLETS


class IssuingClob(Clob):
    """Issues a key for each wallet, but for those that are refused; each may have to wait."""

    def __init__(self) -> None:
        super().__init__(VenueSettings(), now=Clock(NOON))
        self.requested: list[tuple[str, Priority]] = []
        self.errors: dict[str, Exception] = {}
        self.issues = asyncio.Event()
        self.issues.set()
        self.waiting: set[Priority] = set()
        """Of these priorities no request is answered."""
        self.number = 1

    async def fetch_credentials(
        self, wallet: Wallet, *, priority: Priority = Priority.LOOKUP
    ) -> Credentials:
        self.requested.append((wallet.proxy, priority))
        await self.issues.wait()
        if priority in self.waiting:
            await asyncio.Event().wait()
        if error := self.errors.get(wallet.proxy):
            raise error
        return issued(wallet, self.number)


def issued(wallet: Wallet, number: int = 1) -> Credentials:
    return Credentials(
        address=wallet.signer, key=f"key-{number}", secret=f"secret-{number}", passphrase="phrase"
    )


class StoredKeys(PostgresApiKeys):
    """The stored API keys, in memory."""

    def __init__(self) -> None:
        self.keys: dict[str, Credentials] = {}
        self.is_down = False

    async def load(self, wallets: Mapping[str, Wallet]) -> dict[str, Credentials]:
        return {proxy: self.keys[proxy] for proxy in wallets if proxy in self.keys}

    async def save(self, keys: Mapping[str, Credentials], wallets: Mapping[str, Wallet]) -> None:
        if self.is_down:
            raise Transient("the database cannot be reached")
        self.keys |= keys


class Executor:
    """The parts of an executor that have to do with API keys."""

    def __init__(self, stored: StoredKeys | None = None) -> None:
        self.clock, self.clob, self.stored = Clock(NOON), IssuingClob(), stored or StoredKeys()
        self.owned = set(WALLETS)
        self.keyring = Keyring(WALLETS, self.clob, stored=self.stored, now=self.clock)
        self.feed = KeyFeed(self.keyring, owns=self.owned.__contains__, now=self.clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def publish(_: Message) -> None: ...

        task = asyncio.create_task(self.feed(publish))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_every_wallets_key_is_requested_and_stored_without_an_order() -> None:
    executor = Executor()

    assert not executor.feed.is_ready
    async with executor.running():
        await eventually(lambda: executor.feed.is_ready)
        await eventually(lambda: len(executor.stored.keys) == len(WALLETS))

    assert executor.stored.keys == {proxy: issued(wallet) for proxy, wallet in WALLETS.items()}
    assert {priority for _, priority in executor.clob.requested} == {Priority.BACKGROUND}


async def test_a_restart_requests_nothing() -> None:
    executor = Executor()
    async with executor.running():
        await eventually(lambda: len(executor.stored.keys) == len(WALLETS))

    restarted = Executor(executor.stored)
    await restarted.keyring.restore()

    assert restarted.feed.is_ready
    assert await restarted.keyring.fetch_credentials(FIRST) == issued(WALLETS[FIRST])
    assert restarted.clob.requested == []


async def test_wallets_of_another_instance_are_left_to_it() -> None:
    executor = Executor()
    executor.owned = {FIRST}
    executor.feed = KeyFeed(executor.keyring, owns=executor.owned.__contains__, now=executor.clock)

    async with executor.running():
        await eventually(lambda: executor.feed.is_ready)

    assert [proxy for proxy, _ in executor.clob.requested] == [FIRST]


async def test_an_order_that_waits_does_not_wait_behind_the_background() -> None:
    executor = Executor()
    executor.clob.issues.clear()
    async with executor.running():
        await eventually(lambda: (FIRST, Priority.BACKGROUND) in executor.clob.requested)
        order = asyncio.create_task(executor.keyring.fetch_credentials(FIRST))
        await eventually(lambda: (FIRST, Priority.ENTRY_KEY) in executor.clob.requested)
        executor.clob.issues.set()

        assert await order == issued(WALLETS[FIRST])


async def test_a_request_that_still_waits_is_withdrawn_once_the_key_is_known() -> None:
    executor = Executor()
    executor.clob.waiting = {Priority.BACKGROUND}
    background = asyncio.create_task(
        executor.keyring.fetch_credentials(FIRST, priority=Priority.BACKGROUND)
    )
    await eventually(lambda: executor.clob.requested)

    assert await executor.keyring.fetch_credentials(FIRST) == issued(WALLETS[FIRST])

    assert await background == issued(WALLETS[FIRST])


@pytest.mark.parametrize("error", [Transient("429"), InvalidMessage("400")])
async def test_a_refused_wallet_is_asked_for_ever_less_and_the_service_is_ready_without_it(
    error: Exception,
) -> None:
    executor = Executor()
    executor.clob.errors[FIRST] = error

    def requests() -> int:
        return sum(proxy == FIRST for proxy, _ in executor.clob.requested)

    def has_requested(times: int) -> Callable[[], bool]:
        return lambda: requests() == times

    async with executor.running():
        await eventually(lambda: len(executor.stored.keys) == len(WALLETS) - 1)
        assert not executor.feed.is_ready
        for pause_s, times in ((1, 2), (2, 3), (4, 4)):
            executor.clock.now += seconds(pause_s)
            await eventually(has_requested(times))
        executor.clock.now = NOON + READY_AFTER
        assert executor.feed.is_ready

    assert requests() <= 5


async def test_a_key_that_is_derived_anew_replaces_the_stored_one() -> None:
    executor = Executor()
    async with executor.running():
        await eventually(lambda: len(executor.stored.keys) == len(WALLETS))
        executor.clob.number = 2
        renewed = await executor.keyring.renew_credentials(FIRST, refused=issued(WALLETS[FIRST]))
        await eventually(lambda: executor.stored.keys[FIRST] == issued(WALLETS[FIRST], 2))

    assert renewed == issued(WALLETS[FIRST], 2)
    assert executor.stored.keys[SECOND] == issued(WALLETS[SECOND])


async def test_keys_are_used_while_they_cannot_be_stored_and_stored_later() -> None:
    executor = Executor()
    executor.stored.is_down = True
    async with executor.running():
        await eventually(lambda: executor.feed.is_ready)
        assert await executor.keyring.fetch_credentials(FIRST) == issued(WALLETS[FIRST])
        executor.stored.is_down = False
        await eventually(lambda: len(executor.stored.keys) == len(WALLETS))


async def test_an_order_is_attempted_again_where_the_venue_issues_no_key_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keyring_module, "WAIT_S", 0.0)
    executor = Executor()
    executor.clob.issues.clear()

    for _ in range(2):
        with pytest.raises(Transient, match="no API key"):
            await executor.keyring.fetch_credentials(FIRST)
    executor.clob.issues.set()
    await eventually(lambda: executor.keyring.has_credentials(FIRST))

    assert executor.clob.requested == [(FIRST, Priority.ENTRY_KEY)]


async def test_no_secret_is_in_a_log_line_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    executor = Executor()
    executor.clob.errors[FIRST] = Transient("429")
    executor.stored.is_down = True
    caplog.set_level(logging.DEBUG)

    async with executor.running():
        await eventually(lambda: executor.keyring.has_credentials(SECOND))
        await eventually(lambda: "could not be stored" in caplog.text)
        await executor.keyring.renew_credentials(SECOND, refused=issued(WALLETS[SECOND]))
        with pytest.raises(Transient) as refused:
            await executor.keyring.fetch_credentials(FIRST)
    restored = Executor(executor.stored)
    await restored.keyring.restore()

    shown: Any = caplog.text + repr(refused.value) + repr(issued(WALLETS[FIRST]))
    assert "API key" in shown
    for secret in ("secret-1", "phrase", "key-1"):
        assert secret not in shown
