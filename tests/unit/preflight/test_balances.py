"""Balances from the chain and from the cache."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from services.preflight.adapters.balances import UNLIMITED, ChainBalances, choose_refresh_delay
from services.preflight.decisions import Balance
from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.chain.wallet_balances import WalletBalances
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.testing.waiting import eventually
from tests.builders import (
    NOON,
    OTHER_PROXY,
    PROXY,
    TOKEN,
    an_intent,
    balances,
    seconds,
    shares,
    usdc,
)
from tests.fakes import Clock, FakeSharedCache

MAX_AGE = seconds(15)
V3_TOKEN = str(5 << 104 | 7)


class FakeChain(ChainClient):
    """Replies once ``may_reply`` is set, and records requests; down without ``collateral``."""

    def __init__(self) -> None:
        super().__init__(Rpc("http://127.0.0.1:1"))
        self.requests: list[list[tuple[str, tuple[int, ...]]]] = []
        self.unreadable: set[str] = set()
        """Wallets that cannot be read."""
        self.collateral: int | None = usdc(100)
        self.may_reply = asyncio.Event()
        self.may_reply.set()

    async def fetch_balances_or_failures(
        self, queries: Sequence[tuple[str, tuple[int, ...]]]
    ) -> list[WalletBalances | Transient]:
        self.requests.append(list(queries))
        await self.may_reply.wait()
        if self.collateral is None:
            raise Transient("the node is down")
        return [
            Transient("unreadable") if wallet in self.unreadable else self.wallet(wallet, tokens)
            for wallet, tokens in queries
        ]

    def wallet(self, wallet: str, token_ids: Sequence[int]) -> WalletBalances:
        return WalletBalances(
            wallet=wallet,
            block_number=9,
            collateral=self.collateral or 0,
            allowance_by_spender={
                EXCHANGE_V2: usdc(7),
                NEG_RISK_EXCHANGE_V2: 2**256 - 1,
                EXCHANGE_V3: 0,
            },
            shares_by_token={token: shares(3) for token in token_ids},
            conditional_tokens_approved=frozenset({EXCHANGE_V2, EXCHANGE_V3}),
            position_manager_approved=frozenset({NEG_RISK_EXCHANGE_V2}),
        )

    @property
    def requested(self) -> list[tuple[str, tuple[int, ...]]]:
        return [query for request in self.requests for query in request]


class CachedBalances:
    def __init__(self, *, refresh_delay_s: float = 0) -> None:
        self.chain, self.table, self.clock = FakeChain(), FakeSharedCache(), Clock(NOON)
        self.balances = ChainBalances(
            self.chain,
            self.table,
            now=self.clock,
            max_age=MAX_AGE,
            max_accounts=10,
            refresh_delay_s=refresh_delay_s,
        )

    async def fetch(self, *, fresh: bool = False, neg_risk: bool = False, **intent: Any) -> Balance:
        return await self.balances.fetch_balance(
            an_intent(**intent), neg_risk=neg_risk, fresh=fresh
        )


async def test_a_balance_is_reused_while_it_is_fresh() -> None:
    cached = CachedBalances()

    first = await cached.fetch()
    cached.clock.now = NOON + MAX_AGE / 2
    again = await cached.fetch()
    cached.clock.now = NOON + MAX_AGE + timedelta(microseconds=1)
    later = await cached.fetch()

    assert [balance.cached for balance in (first, again, later)] == [False, True, False]
    assert [balance.fetched_at for balance in (first, again, later)] == [
        NOON,
        NOON,
        cached.clock.now,
    ]
    assert len(cached.chain.requested) == 2


async def test_an_aging_balance_is_used_and_refreshed_in_the_background() -> None:
    cached = CachedBalances()
    await cached.fetch()
    cached.clock.now = NOON + MAX_AGE
    cached.chain.may_reply.clear()

    old = await cached.fetch()
    await cached.fetch()
    await eventually(lambda: len(cached.chain.requests) == 2)
    cached.chain.may_reply.set()
    await eventually(
        lambda: (
            cached.clock.now.isoformat().replace("+00:00", "Z")
            in cached.table.entries[PROXY].decode()
        )
    )
    cached.clock.now += timedelta(seconds=1)
    refreshed = await cached.fetch()

    assert [(balance.cached, balance.fetched_at) for balance in (old, refreshed)] == [
        (True, NOON),
        (True, NOON + MAX_AGE),
    ]
    assert len(cached.chain.requests) == 2, "one refresh, however many use the balance meanwhile"


async def test_copies_come_before_the_refresh_of_their_balance() -> None:
    cached = CachedBalances(refresh_delay_s=60)
    await cached.fetch()
    cached.clock.now = NOON + MAX_AGE
    assert (await cached.fetch()).cached
    await cached.fetch(proxy=OTHER_PROXY)  # what is fetched at once passes it

    assert cached.chain.requested == [(PROXY, ()), (OTHER_PROXY, ())]


async def test_a_balance_that_is_too_old_does_not_wait_for_its_refresh() -> None:
    cached = CachedBalances(refresh_delay_s=60)
    await cached.fetch()
    cached.clock.now = NOON + MAX_AGE
    await cached.fetch()
    cached.clock.now += seconds(1)

    assert not (await cached.fetch()).cached


@pytest.mark.parametrize(
    ("max_age", "delay_s"), [(seconds(15), 2), (seconds(8), 2), (seconds(2), 0.5)], ids=str
)
def test_a_refresh_comes_before_the_balance_is_too_old(max_age: timedelta, delay_s: float) -> None:
    assert choose_refresh_delay(max_age) == delay_s


async def test_a_balance_that_was_fetched_meanwhile_is_not_refreshed() -> None:
    cached = CachedBalances()
    await cached.fetch()
    cached.clock.now = NOON + MAX_AGE
    await cached.fetch()
    await cached.fetch(fresh=True)

    await eventually(lambda: len(asyncio.all_tasks()) == 1)

    assert len(cached.chain.requests) == 2


async def test_after_a_failed_background_refresh_the_next_stale_read_asks_the_node_again() -> None:
    cached = CachedBalances()
    await cached.fetch()
    cached.clock.now = NOON + MAX_AGE
    cached.chain.collateral = None
    assert (await cached.fetch()).cached
    await eventually(lambda: len(cached.chain.requests) == 2)

    cached.clock.now += timedelta(microseconds=1)

    with pytest.raises(Transient):
        await cached.fetch()


async def test_concurrent_reads_of_several_proxies_go_out_as_one_request() -> None:
    cached = CachedBalances()

    await asyncio.gather(
        cached.fetch(), cached.fetch(proxy=OTHER_PROXY), cached.fetch(side=Side.SELL)
    )

    assert cached.chain.requests == [[(PROXY, ()), (OTHER_PROXY, ()), (PROXY, (int(TOKEN),))]]


async def test_an_unreadable_proxy_fails_alone() -> None:
    cached = CachedBalances()
    cached.chain.unreadable = {OTHER_PROXY}

    mine, others = await asyncio.gather(
        cached.fetch(), cached.fetch(proxy=OTHER_PROXY), return_exceptions=True
    )

    assert isinstance(mine, Balance)
    assert isinstance(others, Transient)
    assert len(cached.chain.requests) == 1


async def test_a_fresh_balance_is_always_read_from_the_chain() -> None:
    cached = CachedBalances()
    await cached.fetch()
    cached.chain.collateral = usdc(1)

    assert (await cached.fetch(fresh=True)).usdc == usdc(1)
    assert (await cached.fetch()).usdc == usdc(1)


async def test_concurrent_reads_of_one_proxy_cause_one_request() -> None:
    cached = CachedBalances()
    cached.chain.may_reply.clear()
    fetches = [asyncio.create_task(cached.fetch()) for _ in range(20)]
    await eventually(lambda: cached.chain.requested)
    cached.chain.may_reply.set()

    assert {balance.usdc for balance in await asyncio.gather(*fetches)} == {usdc(100)}
    assert len(cached.chain.requested) == 1


async def test_a_failing_node_is_not_a_zero_balance_and_is_asked_again() -> None:
    cached = CachedBalances()
    cached.chain.collateral = None
    with pytest.raises(Transient):
        await cached.fetch()

    cached.chain.collateral = usdc(100)

    assert (await cached.fetch()).usdc == usdc(100)


async def test_a_token_that_was_not_read_is_unknown_and_not_zero() -> None:
    cached = CachedBalances()
    await cached.fetch()

    exit_ = await cached.fetch(side=Side.SELL)

    assert (exit_.shares, exit_.cached) == (shares(3), False)
    assert cached.chain.requested == [(PROXY, ()), (PROXY, (int(TOKEN),))]


@pytest.mark.parametrize("age", [timedelta(0), MAX_AGE], ids=str)
async def test_a_balance_shared_by_another_instance_is_used_while_it_is_fresh(
    age: timedelta,
) -> None:
    cached = CachedBalances()
    await cached.table.put(balances(usdc=usdc(4), fetched_at=NOON - age))

    balance = await cached.fetch()

    assert (balance.usdc, balance.cached, cached.chain.requested) == (usdc(4), True, [])


@pytest.mark.parametrize("age", [MAX_AGE + timedelta(microseconds=1), -timedelta(hours=1)], ids=str)
async def test_a_shared_balance_that_is_too_old_or_from_the_future_is_not_used(
    age: timedelta,
) -> None:
    cached = CachedBalances()
    await cached.table.put(balances(usdc=usdc(4), fetched_at=NOON - age))

    assert not (await cached.fetch()).cached


async def test_an_unreadable_cache_entry_counts_as_missing() -> None:
    cached = CachedBalances()
    cached.table.entries[PROXY] = b"{}"

    assert (await cached.fetch()).usdc == usdc(100)


async def test_each_proxys_balance_is_shared_with_the_other_instances() -> None:
    cached = CachedBalances()

    await cached.fetch()
    await cached.fetch(proxy=OTHER_PROXY)

    await eventually(lambda: set(cached.table.entries) == {PROXY, OTHER_PROXY})
    assert len(cached.chain.requested) == 2


@pytest.mark.parametrize(
    ("token_id", "neg_risk", "allowance", "approved"),
    [
        (TOKEN, False, usdc(7), True),
        (TOKEN, True, UNLIMITED, False),
        (V3_TOKEN, False, 0, False),
    ],
)
async def test_the_allowance_is_that_of_the_exchange_that_settles_the_token(
    token_id: str, neg_risk: bool, allowance: int, approved: bool
) -> None:
    balance = await CachedBalances().fetch(token_id=token_id, neg_risk=neg_risk, side=Side.SELL)

    assert (balance.allowance, balance.shares_approved) == (allowance, approved)
