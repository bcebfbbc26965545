"""A balance is what the chain said a moment ago, or what it says now, and never a guess."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from services.preflight.adapters import UNLIMITED, ChainBalances
from services.preflight.handler import Balance
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
    """Answers when it is let, and counts how often it was asked; without an answer the node is
    away.
    """

    def __init__(self) -> None:
        super().__init__(Rpc("http://127.0.0.1:1"))
        self.requests: list[list[tuple[str, tuple[int, ...]]]] = []
        self.mute: set[str] = set()
        """Wallets that cannot be read."""
        self.collateral: int | None = usdc(100)
        self.open = asyncio.Event()
        self.open.set()

    async def fetch_balances_or_failures(
        self, asked: Sequence[tuple[str, tuple[int, ...]]]
    ) -> list[WalletBalances | Transient]:
        self.requests.append(list(asked))
        await self.open.wait()
        if self.collateral is None:
            raise Transient("the node is away")
        return [
            Transient("mute") if wallet in self.mute else self.wallet(wallet, tokens)
            for wallet, tokens in asked
        ]

    def wallet(self, wallet: str, token_ids: Sequence[int]) -> WalletBalances:
        return WalletBalances(
            wallet=wallet, block_number=9, collateral=self.collateral or 0,
            allowance_by_spender={EXCHANGE_V2: usdc(7), NEG_RISK_EXCHANGE_V2: 2**256 - 1, EXCHANGE_V3: 0},
            shares_by_token={token: shares(3) for token in token_ids},
            conditional_tokens_approved=frozenset({EXCHANGE_V2, EXCHANGE_V3}), position_manager_approved=frozenset({NEG_RISK_EXCHANGE_V2}),
        )  # fmt: skip

    @property
    def asked(self) -> list[tuple[str, tuple[int, ...]]]:
        return [one for request in self.requests for one in request]


class Preflight:
    def __init__(self) -> None:
        self.chain, self.table, self.clock = FakeChain(), FakeSharedCache(), Clock(NOON)
        self.balances = ChainBalances(
            self.chain, self.table, now=self.clock, max_age=MAX_AGE, max_accounts=10
        )

    async def of(self, *, fresh: bool = False, neg_risk: bool = False, **intent: Any) -> Balance:
        return await self.balances.fetch_balance(
            an_intent(**intent), neg_risk=neg_risk, fresh=fresh
        )


async def test_what_was_read_is_used_again_while_it_is_young() -> None:
    preflight = Preflight()

    first = await preflight.of()
    preflight.clock.now = NOON + MAX_AGE / 2
    again = await preflight.of()
    preflight.clock.now = NOON + MAX_AGE + timedelta(microseconds=1)
    later = await preflight.of()

    assert [balance.cached for balance in (first, again, later)] == [False, True, False]
    assert [balance.fetched_at for balance in (first, again, later)] == [
        NOON,
        NOON,
        preflight.clock.now,
    ]
    assert len(preflight.chain.asked) == 2


async def test_what_grows_old_is_used_at_once_and_asked_for_anew_beside() -> None:
    preflight = Preflight()
    await preflight.of()
    preflight.clock.now = NOON + MAX_AGE
    preflight.chain.open.clear()

    old = await preflight.of()
    await preflight.of()
    await eventually(lambda: len(preflight.chain.requests) == 2)
    preflight.chain.open.set()
    await eventually(
        lambda: (
            preflight.clock.now.isoformat().replace("+00:00", "Z")
            in preflight.table.entries[PROXY].decode()
        )
    )
    preflight.clock.now += timedelta(seconds=1)
    young = await preflight.of()

    assert [(balance.cached, balance.fetched_at) for balance in (old, young)] == [
        (True, NOON),
        (True, NOON + MAX_AGE),
    ]
    assert len(preflight.chain.requests) == 2, "once for all who use it meanwhile"


async def test_a_node_that_is_away_when_asked_ahead_of_time_is_asked_again_when_it_matters() -> (
    None
):
    preflight = Preflight()
    await preflight.of()
    preflight.clock.now = NOON + MAX_AGE
    preflight.chain.collateral = None
    assert (await preflight.of()).cached
    await eventually(lambda: len(preflight.chain.requests) == 2)

    preflight.clock.now += timedelta(microseconds=1)

    with pytest.raises(Transient):
        await preflight.of()


async def test_all_proxies_that_are_asked_for_at_once_go_out_in_one_request() -> None:
    preflight = Preflight()

    await asyncio.gather(
        preflight.of(), preflight.of(proxy=OTHER_PROXY), preflight.of(side=Side.SELL)
    )

    assert preflight.chain.requests == [[(PROXY, ()), (OTHER_PROXY, ()), (PROXY, (int(TOKEN),))]]


async def test_a_proxy_that_cannot_be_read_fails_alone() -> None:
    preflight = Preflight()
    preflight.chain.mute = {OTHER_PROXY}

    mine, others = await asyncio.gather(
        preflight.of(), preflight.of(proxy=OTHER_PROXY), return_exceptions=True
    )

    assert isinstance(mine, Balance)
    assert isinstance(others, Transient)
    assert len(preflight.chain.requests) == 1


async def test_a_fresh_balance_is_always_asked_for() -> None:
    preflight = Preflight()
    await preflight.of()
    preflight.chain.collateral = usdc(1)

    assert (await preflight.of(fresh=True)).usdc == usdc(1)
    assert (await preflight.of()).usdc == usdc(1)


async def test_all_who_ask_at_once_cause_one_request() -> None:
    preflight = Preflight()
    preflight.chain.open.clear()
    asking = [asyncio.create_task(preflight.of()) for _ in range(20)]
    await eventually(lambda: preflight.chain.asked)
    preflight.chain.open.set()

    assert {balance.usdc for balance in await asyncio.gather(*asking)} == {usdc(100)}
    assert len(preflight.chain.asked) == 1


async def test_a_node_that_is_away_is_not_an_empty_purse_and_is_asked_again() -> None:
    preflight = Preflight()
    preflight.chain.collateral = None
    with pytest.raises(Transient):
        await preflight.of()

    preflight.chain.collateral = usdc(100)

    assert (await preflight.of()).usdc == usdc(100)


async def test_a_token_that_was_not_asked_for_is_unknown_and_not_nothing() -> None:
    preflight = Preflight()
    await preflight.of()

    exit_ = await preflight.of(side=Side.SELL)

    assert (exit_.shares, exit_.cached) == (shares(3), False)
    assert preflight.chain.asked == [(PROXY, ()), (PROXY, (int(TOKEN),))]


@pytest.mark.parametrize("age", [timedelta(0), MAX_AGE], ids=str)
async def test_what_another_instance_has_read_is_used_while_it_is_young(age: timedelta) -> None:
    preflight = Preflight()
    await preflight.table.put(balances(usdc=usdc(4), fetched_at=NOON - age))

    balance = await preflight.of()

    assert (balance.usdc, balance.cached, preflight.chain.asked) == (usdc(4), True, [])


@pytest.mark.parametrize("age", [MAX_AGE + timedelta(microseconds=1), -timedelta(hours=1)], ids=str)
async def test_what_was_read_long_ago_or_by_a_clock_that_runs_ahead_is_not_used(
    age: timedelta,
) -> None:
    preflight = Preflight()
    await preflight.table.put(balances(usdc=usdc(4), fetched_at=NOON - age))

    assert not (await preflight.of()).cached


async def test_an_entry_that_cannot_be_read_is_as_good_as_none() -> None:
    preflight = Preflight()
    preflight.table.entries[PROXY] = b"{}"

    assert (await preflight.of()).usdc == usdc(100)


async def test_what_was_read_is_told_to_the_others_and_belongs_to_one_proxy() -> None:
    preflight = Preflight()

    await preflight.of()
    await preflight.of(proxy=OTHER_PROXY)

    await eventually(lambda: set(preflight.table.entries) == {PROXY, OTHER_PROXY})
    assert len(preflight.chain.asked) == 2


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
    balance = await Preflight().of(token_id=token_id, neg_risk=neg_risk, side=Side.SELL)

    assert (balance.allowance, balance.shares_approved) == (allowance, approved)
