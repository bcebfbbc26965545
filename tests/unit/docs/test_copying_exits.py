"""Each row of docs/copying.md is what the code computes: the exits."""

from typing import Any

import pytest

from services.executor.decisions import VenueReply, obstacle_may_pass
from services.preflight.app import build_limits
from services.preflight.decisions import (
    Exit,
    ExitState,
    FollowPosition,
    Verdict,
    after_order,
    after_verdict,
    judge,
    open_exit,
)
from services.preflight.decisions.exits import NOTHING_TO_SELL, PASSING_REFUSALS
from services.preflight.handler import Handler
from shared.domain.follows import Follow
from shared.domain.money import Side, as_decimal
from shared.messages.intents import (
    Intent,
    IntentApproved,
)
from shared.messages.orders import OrderState
from shared.messages.refusals import Refusal
from shared.polymarket.replies import Reason
from tests.builders import (
    NOON,
    a_quote,
    an_intent,
    an_outcome,
    controls,
    quoted,
    refused,
    seconds,
    shares,
)
from tests.fakes import Clock, FakeVerdicts, FixedControls
from tests.orders import an_order
from tests.unit.docs.copies import (
    LIMITS,
    PAGE,
    SETTINGS,
    as_written,
    each_row,
    parse_terms,
    parse_two,
    some_facts,
)
from tests.unit.docs.tables import table_after
from tests.unit.preflight.test_exit_stories import Chain, Story


def judge_exit(exit_: Exit, position: FollowPosition, follow: Follow) -> Verdict:
    return judge(
        some_facts(
            quoted=quoted(a_quote(), **dict(exit_.intent)),
            follow=follow,
            exit=exit_,
            position=position,
        )
    )


@each_row("## Exits")
def test_an_exit_sells_what_the_page_says(row: list[str]) -> None:
    terms, sale, held, sells = row
    sold, leader_held = parse_two(sale, " of ")
    follow = parse_terms(terms)
    intent = an_intent(
        side=Side.SELL,
        leader_shares=shares(str(sold)),
        leader_held_shares=shares(str(leader_held)),
    )
    position = FollowPosition(held_shares=shares(held))

    exit_ = open_exit(intent, position, mode=follow.exits, expires_at=NOON + LIMITS.max_exit_age)

    assert as_written(judge_exit(exit_, position, follow)) == sells


class KnownPosition(FakeVerdicts):
    """Preflight's records, with a position that the test gives."""

    def __init__(self, position: FollowPosition) -> None:
        super().__init__()
        self._position = position

    async def load_position(self, intent: Intent) -> FollowPosition:
        return self._position


@each_row("### Whose shares")
async def test_an_exit_sells_the_shares_of_its_follow(row: list[str]) -> None:
    this, others, on_chain, may_sell_own, sells = row
    settings = SETTINGS.model_copy(update={"sell_own_shares": {"yes": True}.get(may_sell_own)})
    held = shares(this)
    handler = Handler(
        controls=FixedControls(controls(parse_terms(""))),
        balances=Chain(held=shares(on_chain)),
        verdicts=KnownPosition(
            FollowPosition(held_shares=held, held_by_all_follows=held + shares(others))
        ),
        limits=build_limits(settings),
        retry_delay=SETTINGS.exit_retry_delay,
        now=Clock(NOON),
    )
    sale: dict[str, Any] = {
        "side": Side.SELL,
        "leader_shares": shares(100),
        "leader_held_shares": shares(100),
    }

    (verdict,) = await handler.on_intent_quoted(quoted(**sale))

    assert as_written(verdict) == sells  # type: ignore[arg-type]


class Steps:
    """Takes the steps of the page's stories."""

    def __init__(self) -> None:
        self.story = Story()
        self.orders: list[IntentApproved] = []

    async def take(self, step: str) -> str:
        """What follows the step, as the page writes it."""
        match step.split():
            case ["the", "leader", "buys", number]:
                await self.story.buy(shares(number))
            case ["the", "leader", "sells", number]:
                await self.story.sell(shares(number))
            case [number, "s", "pass"]:
                self.story.clock.now += seconds(int(number))
                await self.story.attempt_due_exits()
            case ["order", number, "settles"]:
                return await self._settle(self.orders[int(number) - 1])
            case _:
                raise ValueError(f"no step: {step}")
        return self._verdict()

    async def _settle(self, order: IntentApproved) -> str:
        before = self.story.chain.held
        await self.story.settle(self.story.open_orders.index(order), 10, may_pass=True)
        change = self.story.chain.held - before
        return f"{as_decimal(abs(change)):.2f} {'more' if change > 0 else 'less'}"

    def _verdict(self) -> str:
        new = [each for each in self.story.open_orders if each not in self.orders]
        self.orders += new
        if not new:
            (exit_,) = self.story.verdicts.exits.values()
            return f"`{exit_.reason}`"
        (order,) = new
        verb = "buys for" if order.intent.side is Side.BUY else "sells"
        return f"order {len(self.orders)} {verb} {as_written(order)}"


@pytest.mark.parametrize("heading", ["### Two sales in a row", "### Buy, sell, buy"])
async def test_copies_follow_each_other_as_the_page_says(heading: str) -> None:
    steps = Steps()
    for step, follows, held in table_after(PAGE, heading):
        assert (step, await steps.take(step)) == (step, follows)
        total = steps.story.filled[Side.BUY] - steps.story.filled[Side.SELL]
        assert total == shares(held), step


async def test_an_entry_that_was_killed_is_not_attempted_again() -> None:
    steps = Steps()
    await steps.take("the leader buys 100")
    await steps.story.settle(0, 0, may_pass=True)
    steps.story.clock.now += seconds(60)
    await steps.story.attempt_due_exits()

    assert (steps.story.open_orders, steps.story.verdicts.exits) == ([], {})


def an_exit(to_sell: int) -> Exit:
    intent = an_intent(side=Side.SELL, leader_held_shares=shares(100), filled_at=NOON)
    expires_at = NOON + LIMITS.max_exit_age
    return Exit(intent=intent, base_shares=to_sell, shares=to_sell, expires_at=expires_at)


def end_as_written(exit_: Exit) -> str:
    if exit_.state is ExitState.OPEN:
        assert exit_.next_attempt_at is not None
        return "attempted again"
    return exit_.state.value


@each_row("### When an attempt is refused")
def test_a_refusal_ends_the_attempt_or_the_exit(row: list[str]) -> None:
    reasons, end = row
    for reason in reasons.replace("`", "").split():
        verdict = refused(reason=Refusal(reason))
        after = after_verdict(an_exit(shares(10)), verdict, retry_delay=SETTINGS.exit_retry_delay)
        assert (reason, end_as_written(after)) == (reason, end)


def test_every_refusal_that_does_not_leave_an_exit_unsold_is_on_the_page() -> None:
    rows = table_after(PAGE, "### When an attempt is refused")
    listed = [{*reasons.replace("`", "").split()} for reasons, _ in rows]

    assert listed[:2] == [{*map(str, PASSING_REFUSALS)}, {*map(str, NOTHING_TO_SELL)}]


def _orders(cell: str) -> list[dict[str, Any]]:
    """The orders that a cell is about."""
    state, _, rest = cell.removeprefix("`").partition("`")
    named = rest.removeprefix(":").replace("`", "").split()
    match OrderState(state), rest:
        case OrderState.KILLED, " by the venue":
            return [{"state": OrderState.KILLED, "last_reply": VenueReply.KILLED}]
        case OrderState.REJECTED, _:
            others = [each for each in Reason if not each.may_pass]
            reasons = others if named == ["any", "other", "reason"] else map(Reason, named)
            return [
                {"state": OrderState.REJECTED, "reason": f"{each}: refused"} for each in reasons
            ]
        case _:
            return [{"state": OrderState(state)}]


@each_row("### When an order has ended")
def test_the_end_of_an_order_is_the_end_of_the_exit_or_not(row: list[str]) -> None:
    cell, left, end = row
    for fields in _orders(cell):
        report = an_outcome(
            side=Side.SELL,
            state=fields["state"],
            shares=shares(10) - shares(left),
            obstacle_may_pass=obstacle_may_pass(an_order(**fields)),
        )
        after = after_order(
            an_exit(shares(10)), report, now=NOON, retry_delay=SETTINGS.exit_retry_delay
        )
        assert (fields, end_as_written(after)) == (fields, end)


@each_row("### The next attempt")
def test_the_waits_grow_with_the_age_of_the_exit(row: list[str]) -> None:
    age, wait = row
    now = NOON + seconds(int(age))
    verdict = refused(reason=Refusal.EMPTY_BOOK, occurred_at=now)

    after = after_verdict(an_exit(shares(10)), verdict, retry_delay=SETTINGS.exit_retry_delay)

    next_at = after.next_attempt_at
    written = f"none: {after.state}" if next_at is None else f"{(next_at - now).seconds} s"
    assert written == wait
