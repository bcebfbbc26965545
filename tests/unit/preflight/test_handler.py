"""When preflight reads balances, and what it publishes after a redelivery."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from services.preflight.decisions import Balance, Limits
from services.preflight.handler import Handler, Verdicts
from shared.domain.errors import Transient
from shared.domain.follows import GLOBAL, Controls, Mode, follower_scope, leader_scope
from shared.messages.base import Message
from shared.messages.intents import (
    Intent,
    IntentApproved,
    IntentRefused,
)
from shared.messages.orders import OrderState
from shared.messages.refusals import Refusal
from tests.builders import (
    LEADER,
    NOON,
    PROXY,
    a_follow,
    an_outcome,
    controls,
    quoted,
    seconds,
    usdc,
)
from tests.fakes import Clock, FakeVerdicts, FixedControls

LIMITS = Limits(
    max_quote_age=seconds(5),
    max_last_book_age=seconds(20),
    max_bound_age=seconds(70),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
)


@dataclass
class FakeBalances:
    """Returns the given results in turn, then the last one for ever; without any it must not be
    called.
    """

    results: list[Balance | Transient] = field(default_factory=list)
    fresh_flags: list[bool] = field(default_factory=list)

    def cached_balance(self, intent: Intent, *, neg_risk: bool) -> Balance | None:
        """The next result where it comes from the cache."""
        result = self.results[0] if self.results else None
        return result if isinstance(result, Balance) and result.cached else None

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        assert self.results, f"the balance of {intent.proxy} was requested"
        self.fresh_flags.append(fresh)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Transient):
            raise result
        return result


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
    limits: Limits = LIMITS

    @property
    def handler(self) -> Handler:
        return Handler(
            controls=self.controls,
            balances=self.balances,
            verdicts=self.verdicts,
            limits=self.limits,
            retry_delay=seconds(5),
            now=self.clock,
        )

    async def verdict(self, **intent: Any) -> Message:
        (verdict,) = await self.handler.on_intent_quoted(quoted(**intent))
        return verdict


def preflight(*results: Balance | Transient, given_controls: Controls | None = None) -> Preflight:
    return Preflight(FakeBalances(list(results)), FixedControls(given_controls or controls()))


@pytest.mark.parametrize("scope", [GLOBAL, leader_scope(LEADER), follower_scope(PROXY)])
async def test_a_halted_mode_is_refused_before_any_balance_is_read(scope: str) -> None:
    verdict = await preflight(given_controls=controls(modes={scope: Mode.HALTED})).verdict()

    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is Refusal.HALTED
    assert (verdict.facts.mode, verdict.facts.balance_usdc) == ("halted", None)


@pytest.mark.parametrize(
    ("late", "given_controls", "reason"),
    [
        (seconds(61), controls(), Refusal.TRADE_TOO_OLD),
        (seconds(0), controls(a_follow(active=False)), Refusal.NOT_FOLLOWED),
    ],
)
async def test_a_copy_that_fails_an_early_check_is_refused_without_reading_a_balance(
    late: timedelta, given_controls: Controls, reason: Refusal
) -> None:
    service = preflight(given_controls=given_controls)
    service.clock.now = NOON + late

    verdict = await service.verdict()

    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is reason


async def test_a_copy_that_the_cached_balance_covers_is_approved_without_a_fresh_one() -> None:
    service = preflight(balance(usdc(100), cached=True))

    assert isinstance(await service.verdict(), IntentApproved)
    assert service.balances.fresh_flags == [False]


async def test_a_refusal_on_a_cached_balance_is_judged_again_on_a_fresh_one() -> None:
    service = preflight(balance(0, cached=True), balance(usdc(100)))

    assert isinstance(await service.verdict(), IntentApproved)
    assert service.balances.fresh_flags == [False, True]


async def test_a_refusal_on_a_fresh_balance_is_final() -> None:
    service = preflight(balance(usdc(1)))

    verdict = await service.verdict()

    assert isinstance(verdict, IntentRefused)
    assert (verdict.reason, verdict.facts.balance_usdc) == (Refusal.BALANCE_TOO_LOW, usdc(1))
    assert service.balances.fresh_flags == [False]


async def test_a_failing_node_is_an_error_and_not_a_zero_balance() -> None:
    service = preflight(Transient("the node is down"), balance(usdc(100)))

    with pytest.raises(Transient):
        await service.verdict()

    assert isinstance(await service.verdict(), IntentApproved)


@pytest.mark.parametrize(("late", "is_judged"), [(seconds(60), True), (seconds(61), False)])
async def test_a_judgement_that_takes_too_long_begins_again(
    late: timedelta, is_judged: bool
) -> None:
    """What was settled before it may not be counted any more."""
    service = preflight(balance(usdc(100)))
    handler, times = service.handler, [NOON, NOON + late]
    slow = replace(handler, now=lambda: times.pop(0))

    if is_judged:
        (verdict,) = await slow.on_intent_quoted(quoted())
        assert isinstance(verdict, IntentApproved)
    else:
        with pytest.raises(Transient, match="has to be judged again"):
            await slow.on_intent_quoted(quoted())


async def test_nothing_is_judged_without_confirmed_controls() -> None:
    service = preflight(balance(usdc(100)))
    service.controls.controls = None

    with pytest.raises(Transient):
        await service.verdict()


def _empty_the_balance(service: Preflight) -> None:
    service.balances.results = [balance(0)]


def _move_the_clock(service: Preflight) -> None:
    service.clock.now += seconds(3600)


def _halt(service: Preflight) -> None:
    service.controls.controls = controls(modes={GLOBAL: Mode.HALTED}, version=8)


def _end_the_follow(service: Preflight) -> None:
    service.controls.controls = controls(a_follow(active=False), version=8)


@pytest.mark.parametrize("change", [_empty_the_balance, _move_the_clock, _halt, _end_the_follow])
async def test_a_redelivery_repeats_the_first_verdict_whatever_changed_since(
    change: Callable[[Preflight], None],
) -> None:
    service = preflight(balance(usdc(100)))
    first = await service.verdict()
    change(service)

    assert await service.verdict() == first


async def test_a_copy_is_judged_on_the_balance_without_other_reservations() -> None:
    service = preflight(balance(usdc(8)))
    assert isinstance(await service.verdict(), IntentApproved)

    second = await service.verdict(intent_id="2b" * 16)

    assert isinstance(second, IntentRefused)
    assert second.reason is Refusal.BALANCE_TOO_LOW
    assert second.facts.reserved_usdc > usdc(5)


@pytest.mark.parametrize("state", OrderState)
async def test_only_a_final_order_releases_its_reservation(state: OrderState) -> None:
    service = preflight(balance(usdc(8)))
    await service.verdict()

    await service.handler.on_order_reported(an_outcome(state=state, shares=0, usdc=0, fee_usdc=0))

    is_open = state in (OrderState.SIGNED, OrderState.UNKNOWN, OrderState.MATCHED)
    assert isinstance(await service.verdict(intent_id="2b" * 16), IntentRefused) is is_open


@pytest.mark.parametrize(
    ("limits", "second", "reason"),
    [
        ({"max_market_daily_usdc": usdc(9)}, {}, Refusal.MARKET_DAILY_CAP_REACHED),
        ({"max_market_daily_usdc": usdc(9)}, {"token_id": "12"}, None),
        ({"max_global_daily_usdc": usdc(9)}, {"token_id": "12"}, Refusal.GLOBAL_DAILY_CAP_REACHED),
        ({"max_open_positions": 1}, {"token_id": "12"}, Refusal.TOO_MANY_POSITIONS),
        ({"max_open_positions": 1}, {}, None),
        ({"max_entries_per_minute": 1}, {}, Refusal.TOO_MANY_ENTRIES),
    ],
)
async def test_what_earlier_entries_took_limits_the_next_one(
    limits: dict[str, Any], second: dict[str, Any], reason: Refusal | None
) -> None:
    service = preflight(balance(usdc(100)))
    service.limits = replace(LIMITS, **limits)
    assert isinstance(await service.verdict(), IntentApproved)

    verdict = await service.verdict(intent_id="2b" * 16, **second)

    assert (verdict.reason if isinstance(verdict, IntentRefused) else None) is reason
