"""An entry over the rate of its follower waits for room, in its turn, or is refused at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preflight.decisions import DelayedEntry, OtherEntries, delay_entry
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyCause, IntentApproved, IntentRefused
from shared.messages.refusals import Refusal
from tests.builders import NOON, a_quote, an_intent, quoted, seconds, shares, usdc
from tests.fakes import FakeVerdicts
from tests.unit.preflight.test_handler import LIMITS, FakeBalances, Preflight, balance

ONE, TWO = (replace(LIMITS, max_entries_per_minute=number) for number in (1, 2))
MINUTE = seconds(60)
INSTANT = timedelta(microseconds=1)
SALE: dict[str, Any] = {
    "side": Side.SELL,
    "leader_shares": shares(500),
    "leader_held_shares": shares(1000),
}


def at(*numbers: int) -> tuple[datetime, ...]:
    return tuple(NOON + seconds(number) for number in numbers)


@pytest.mark.parametrize(
    ("approved_at", "waiting_until", "due_at"),
    [
        (at(), at(), 0),
        (at(-10), at(), 0),
        (at(-50, -10), at(), 10),
        (at(-55, -50, -10), at(), 10),  # by the limit of before
        (at(-50, -10), at(10), 50),
        (at(-50, -40), at(10, 20), None),
        (at(-50), at(-1), 10),  # due, and not judged yet: it takes its room now
        (at(), at(5, 7), None),
    ],
)
def test_an_entry_is_due_when_the_rate_has_room_for_it_behind_the_others(
    approved_at: Sequence[datetime], waiting_until: Sequence[datetime], due_at: int | None
) -> None:
    others = OtherEntries(approved_at=approved_at, waiting_until=waiting_until)

    delayed = delay_entry(an_intent(filled_at=NOON), others, limits=TWO, now=NOON)

    assert (delayed and delayed.due_at) == (None if due_at is None else NOON + seconds(due_at))


@pytest.mark.parametrize(("age", "is_delayed"), [(MINUTE - INSTANT, True), (MINUTE, False)])
def test_an_entry_that_would_be_too_old_by_then_is_not_delayed(
    age: timedelta, is_delayed: bool
) -> None:
    others = OtherEntries(approved_at=at(-60 + 30))
    intent = an_intent(filled_at=NOON + seconds(30) - age)

    delayed = delay_entry(intent, others, limits=ONE, now=NOON)

    assert (delayed is not None) is is_delayed


@pytest.mark.parametrize("age_when_made", [seconds(0), LIMITS.max_quote_age])
async def test_an_entry_that_waited_until_its_quote_was_too_old_is_quoted_again(
    age_when_made: timedelta,
) -> None:
    service = Preflight(FakeBalances([balance(usdc(100))]), verdicts=(store := FakeVerdicts()))
    late = quoted(a_quote(fetched_at=NOON - age_when_made))
    service.clock.now = now = NOON + LIMITS.max_quote_age - age_when_made + INSTANT

    assert await service.handler.on_intent_quoted(late) == []
    (delayed,) = store.delayed.values()
    assert (delayed.intent, delayed.due_at) == (late.intent, now)
    assert delayed.expires_at == late.intent.filled_at + LIMITS.max_entry_age

    new = quoted(a_quote(fetched_at=now))
    (verdict,) = await service.handler.on_intent_quoted(new)
    assert isinstance(verdict, IntentApproved)
    assert store.delayed == {}


@pytest.mark.parametrize(
    ("quote", "intent", "late", "reason"),
    [
        # it was too old when it was made: pricer has no better one
        (
            a_quote(fetched_at=NOON - LIMITS.max_quote_age - INSTANT),
            {},
            seconds(1),
            Refusal.QUOTE_TOO_OLD,
        ),
        # exits are attempted again in any case
        (a_quote(), SALE, seconds(6), Refusal.NO_POSITION),
        (a_quote(), {}, LIMITS.max_entry_age + INSTANT, Refusal.TRADE_TOO_OLD),
    ],
)
async def test_a_copy_that_a_new_quote_would_not_help_is_refused(
    quote: Any, intent: dict[str, Any], late: timedelta, reason: Refusal
) -> None:
    service = Preflight(FakeBalances([balance(usdc(100))]), verdicts=(store := FakeVerdicts()))
    service.clock.now = NOON + late

    (verdict,) = await service.handler.on_intent_quoted(quoted(quote, **intent))

    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is reason
    assert store.delayed == {}


async def test_an_exit_lets_go_of_an_entry_that_is_to_be_quoted_again() -> None:
    service = Preflight(FakeBalances([balance(usdc(100))]), verdicts=(store := FakeVerdicts()))
    entry = quoted(a_quote())
    service.clock.now = NOON + LIMITS.max_quote_age + INSTANT
    await service.handler.on_intent_quoted(entry)

    sale = quoted(a_quote(fetched_at=service.clock.now), **SALE, intent_id="5" * 32)
    await service.handler.on_intent_quoted(sale)
    (verdict,) = await service.handler.on_intent_quoted(
        quoted(a_quote(fetched_at=service.clock.now))
    )

    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is Refusal.EXIT_CAME_FIRST
    assert store.delayed == {}


@dataclass
class Follower:
    """Judges entries of one follower at a rate, and again when they are due."""

    limit: int
    store: FakeVerdicts = field(default_factory=FakeVerdicts)
    service: Preflight = field(init=False)
    verdicts: dict[int, IntentApproved | IntentRefused] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = replace(LIMITS, max_entries_per_minute=self.limit, max_trade_usdc=10**12)
        self.service = Preflight(
            FakeBalances([balance(usdc(10**6))]), verdicts=self.store, limits=limits
        )

    async def judge(self, number: int, *, filled_at: datetime, **intent: Any) -> Sequence[Message]:
        now = self.service.clock.now
        fields = {"intent_id": f"{number:032x}", "filled_at": filled_at, "token_id": str(number)}
        given_quote = quoted(a_quote(fetched_at=now), **fields | intent)
        messages = await self.service.handler.on_intent_quoted(given_quote)
        for message in messages:
            assert isinstance(message, IntentApproved | IntentRefused)
            self.verdicts[number] = message
        return messages

    async def judge_due(self, until: datetime) -> None:
        """As ``DelayFeed`` publishes them."""
        while due := self.due(until):
            entry = due[0]
            self.service.clock.now = max(self.service.clock.now, entry.due_at)
            await self.judge(int(entry.intent.intent_id, 16), filled_at=entry.intent.filled_at)

    def due(self, until: datetime) -> list[DelayedEntry]:
        waiting = [each for each in self.store.delayed.values() if each.due_at <= until]
        return sorted(waiting, key=lambda each: each.due_at)


async def test_an_entry_over_the_rate_waits_and_an_exit_of_another_token_does_not() -> None:
    follower = Follower(limit=1)
    await follower.judge(1, filled_at=NOON)
    follower.service.clock.now += seconds(10)

    assert await follower.judge(2, filled_at=NOON + seconds(9)) == []
    (exit_,) = await follower.judge(3, filled_at=NOON + seconds(9), side=Side.SELL)
    assert isinstance(exit_, IntentRefused)
    assert exit_.reason is Refusal.NO_POSITION

    await follower.judge_due(NOON + MINUTE)
    second = follower.verdicts[2]
    assert isinstance(second, IntentApproved)
    assert second.occurred_at == NOON + MINUTE
    assert second.intent.usdc == usdc(5)
    assert second.intent.shares == shares(10)


@pytest.mark.parametrize(
    ("sale", "is_let_go"),
    [
        ({}, True),
        ({"leader_shares": shares(1), "leader_held_shares": shares(1000)}, True),
        ({"cause": CopyCause.RECONCILED, "leader_price": None}, True),
        ({"cause": CopyCause.ENDED, "leader_price": None}, True),
        ({"filled_at": NOON + seconds(9)}, True),
        ({"filled_at": NOON + seconds(8)}, False),  # the leader bought after it
        ({"token_id": "3"}, False),
        ({"follow_id": "another"}, False),
    ],
)
async def test_an_exit_lets_go_of_the_delayed_entries_before_it(
    sale: dict[str, Any], is_let_go: bool
) -> None:
    follower = Follower(limit=1)
    await follower.judge(1, filled_at=NOON)
    follower.service.clock.now += seconds(15)
    await follower.judge(2, filled_at=NOON + seconds(9))

    given: dict[str, Any] = {"filled_at": NOON + seconds(14), "token_id": "2"} | SALE | sale
    await follower.judge(3, **given)
    await follower.judge_due(NOON + MINUTE)

    entry = follower.verdicts[2]
    assert isinstance(entry, IntentRefused) is is_let_go
    if isinstance(entry, IntentRefused):
        assert entry.reason is Refusal.EXIT_CAME_FIRST
        assert entry.occurred_at == NOON + seconds(15)
        assert entry.intent.side is Side.BUY


async def test_an_entry_that_was_let_go_takes_no_room_and_repeats_its_verdict() -> None:
    follower = Follower(limit=1)
    await follower.judge(1, filled_at=NOON)
    follower.service.clock.now += seconds(10)
    await follower.judge(2, filled_at=NOON + seconds(9))
    await follower.judge(3, filled_at=NOON + seconds(10), token_id="2", **SALE)

    assert await follower.judge(4, filled_at=NOON + seconds(10)) == []
    assert follower.store.delayed[f"{4:032x}"].due_at == NOON + MINUTE
    first = await follower.judge(2, filled_at=NOON + seconds(9))
    follower.service.clock.now += MINUTE
    again = await follower.judge(2, filled_at=NOON + seconds(9))

    assert isinstance(first[0], IntentRefused)
    assert first == again
    assert list(follower.store.delayed) == [f"{4:032x}"]


async def test_an_entry_without_room_in_its_time_is_refused_at_once_with_the_numbers() -> None:
    follower = Follower(limit=1)
    await follower.judge(1, filled_at=NOON)

    (refused,) = await follower.judge(2, filled_at=NOON)

    assert isinstance(refused, IntentRefused)
    assert refused.reason is Refusal.TOO_MANY_ENTRIES
    assert (refused.value, refused.threshold) == (Decimal(2), Decimal(1))


async def test_a_redelivered_message_delays_the_entry_once() -> None:
    follower = Follower(limit=1)
    await follower.judge(1, filled_at=NOON)
    follower.service.clock.now += seconds(30)

    for _ in range(3):
        assert await follower.judge(2, filled_at=NOON + seconds(29)) == []

    assert [each.due_at for each in follower.due(NOON + seconds(600))] == [NOON + MINUTE]


async def test_a_redelivered_message_of_a_judged_entry_publishes_its_verdict() -> None:
    """Meanwhile the rate is used up by others."""
    follower = Follower(limit=1)
    first = await follower.judge(1, filled_at=NOON)
    follower.service.clock.now += MINUTE
    await follower.judge(2, filled_at=NOON + MINUTE)

    assert await follower.judge(1, filled_at=NOON) == first


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 59)).map(
        lambda each: (seconds(each[0]), seconds(each[1]))
    ),
    max_size=15,
)
"""How long after the one before an entry arrives, and how old it is then."""


@given(arrivals=ARRIVALS, limit=st.integers(1, 3))
def test_no_minute_has_more_entries_than_allowed_and_none_is_lost(
    arrivals: Sequence[tuple[timedelta, timedelta]], limit: int
) -> None:
    async def run() -> None:
        follower = Follower(limit=limit)
        for number, (gap, age) in enumerate(arrivals):
            arrives_at = follower.service.clock.now + gap
            await follower.judge_due(arrives_at)
            follower.service.clock.now = max(follower.service.clock.now, arrives_at)
            await follower.judge(number, filled_at=follower.service.clock.now - age)
        await follower.judge_due(NOON + timedelta(days=1))

        assert len(follower.verdicts) == len(arrivals)
        entered = sorted(
            each.occurred_at
            for each in follower.verdicts.values()
            if isinstance(each, IntentApproved)
        )
        for moment in entered:
            assert sum(moment - MINUTE < each <= moment for each in entered) <= limit
        for each in follower.verdicts.values():
            if isinstance(each, IntentRefused):
                assert each.reason is Refusal.TOO_MANY_ENTRIES
                assert each.value > each.threshold == limit

    asyncio.run(run())
