"""What preflight asks, when it asks, and what it says again."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from services.preflight.decisions import Limits
from services.preflight.handler import Balance, Handler, Verdicts
from shared.domain.errors import Transient
from shared.domain.follows import GLOBAL, Controls, Mode, follower_scope, leader_scope
from shared.messages.base import Message
from shared.messages.intents import Intent, IntentApproved, IntentRefused, Refusal
from shared.messages.orders import OrderState
from tests.builders import (
    LEADER,
    NOON,
    PROXY,
    a_follow,
    an_outcome,
    controls,
    quoted,
    refused,
    seconds,
    usdc,
)
from tests.fakes import Clock, FakeVerdicts, FixedControls

LIMITS = Limits(
    max_quote_age=seconds(5),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
)


@dataclass
class FakeBalances:
    """Answers in turn, the last one for ever: what is cached first, then what the chain says.
    Without any it must not be asked.
    """

    answers: list[Balance | Transient] = field(default_factory=list)
    asked_fresh: list[bool] = field(default_factory=list)

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        assert self.answers, f"the balance of {intent.proxy} was asked for"
        self.asked_fresh.append(fresh)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Transient):
            raise answer
        return answer


def balance(amount: int, *, cached: bool = False) -> Balance:
    return Balance(
        usdc=amount,
        allowance=amount,
        shares=0,
        shares_approved=False,
        fetched_at=NOON,
        cached=cached,
    )


@dataclass
class Preflight:
    balances: FakeBalances
    controls: FixedControls = field(default_factory=lambda: FixedControls(controls()))
    verdicts: Verdicts = field(default_factory=FakeVerdicts)
    clock: Clock = field(default_factory=lambda: Clock(NOON))

    @property
    def handler(self) -> Handler:
        return Handler(
            controls=self.controls,
            balances=self.balances,
            verdicts=self.verdicts,
            limits=LIMITS,
            now=self.clock,
        )

    async def verdict(self, **intent: Any) -> Message:
        (verdict,) = await self.handler.on_intent_quoted(quoted(**intent))
        return verdict


def preflight(*answers: Balance | Transient, book: Controls | None = None) -> Preflight:
    return Preflight(FakeBalances(list(answers)), FixedControls(book or controls()))


@pytest.mark.parametrize("scope", [GLOBAL, leader_scope(LEADER), follower_scope(PROXY)])
async def test_a_pause_is_judged_before_any_balance_is_asked_for(scope: str) -> None:
    verdict = await preflight(book=controls(modes={scope: Mode.HALTED})).verdict()

    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is Refusal.HALTED
    assert (verdict.facts.mode, verdict.facts.balance_usdc) == ("halted", None)


@pytest.mark.parametrize(
    ("late", "book", "reason"),
    [
        (seconds(61), controls(), Refusal.TRADE_TOO_OLD),
        (seconds(6), controls(), Refusal.QUOTE_TOO_OLD),
        (seconds(0), controls(a_follow(active=False)), Refusal.NOT_FOLLOWED),
    ],
)
async def test_what_can_be_refused_without_asking_is(
    late: timedelta, book: Controls, reason: Refusal
) -> None:
    service = preflight(book=book)
    service.clock.now = NOON + late

    verdict = await service.verdict()

    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is reason


async def test_a_copy_that_the_cached_balance_can_pay_asks_nobody_again() -> None:
    service = preflight(balance(usdc(100), cached=True))

    assert isinstance(await service.verdict(), IntentApproved)
    assert service.balances.asked_fresh == [False]


async def test_nobody_is_refused_for_an_old_balance() -> None:
    service = preflight(balance(0, cached=True), balance(usdc(100)))

    assert isinstance(await service.verdict(), IntentApproved)
    assert service.balances.asked_fresh == [False, True]


async def test_a_refusal_on_a_balance_that_was_just_read_stands() -> None:
    service = preflight(balance(usdc(1)))

    verdict = await service.verdict()

    assert isinstance(verdict, IntentRefused)
    assert (verdict.reason, verdict.facts.balance_usdc) == (Refusal.BALANCE_TOO_LOW, usdc(1))
    assert service.balances.asked_fresh == [False]


async def test_a_node_that_does_not_answer_is_not_an_empty_purse() -> None:
    service = preflight(Transient("the node is away"), balance(usdc(100)))

    with pytest.raises(Transient):
        await service.verdict()

    assert isinstance(await service.verdict(), IntentApproved)


async def test_without_confirmed_controls_nothing_is_judged() -> None:
    service = preflight(balance(usdc(100)))
    service.controls.controls = None

    with pytest.raises(Transient):
        await service.verdict()


def _poor(service: Preflight) -> None:
    service.balances.answers = [balance(0)]


def _later(service: Preflight) -> None:
    service.clock.now += seconds(3600)


def _paused(service: Preflight) -> None:
    service.controls.controls = controls(modes={GLOBAL: Mode.HALTED}, version=8)


def _unfollowed(service: Preflight) -> None:
    service.controls.controls = controls(a_follow(active=False), version=8)


@pytest.mark.parametrize("changed", [_poor, _later, _paused, _unfollowed])
async def test_a_redelivery_repeats_the_first_verdict_though_the_world_has_changed(
    changed: Callable[[Preflight], None],
) -> None:
    service = preflight(balance(usdc(100)))
    first = await service.verdict()
    changed(service)

    assert await service.verdict() == first


async def test_a_copy_counts_what_others_of_its_proxy_have_reserved() -> None:
    service = preflight(balance(usdc(8)))
    assert isinstance(await service.verdict(), IntentApproved)

    second = await service.verdict(intent_id="2b" * 16)

    assert isinstance(second, IntentRefused)
    assert second.reason is Refusal.BALANCE_TOO_LOW
    assert second.facts.reserved_usdc > usdc(5)


@pytest.mark.parametrize("state", OrderState)
async def test_only_what_is_final_gives_its_reservation_back(state: OrderState) -> None:
    service = preflight(balance(usdc(8)))
    await service.verdict()

    await service.handler.on_order_reported(an_outcome(state=state, shares=0, usdc=0, fee_usdc=0))

    is_open = state in (OrderState.SIGNED, OrderState.UNKNOWN, OrderState.MATCHED)
    assert isinstance(await service.verdict(intent_id="2b" * 16), IntentRefused) is is_open


async def test_our_own_refusal_coming_back_says_nothing_new() -> None:
    assert await preflight().handler.on_intent_refused(refused()) == []
    assert await replace(preflight().handler).on_order_reported(an_outcome()) == []
