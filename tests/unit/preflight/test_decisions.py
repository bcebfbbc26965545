"""Each check at its threshold: a value at the threshold passes, one unit beyond is refused."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.preflight.decisions import (
    Exit,
    FollowPosition,
    Funds,
    Limits,
    PreflightFacts,
    judge,
    max_fee,
    refuse_early,
)
from shared.domain.follows import Mode
from shared.domain.money import CENT, MIN_BUY_USDC, Side, as_decimal, shares_for
from shared.domain.terms import ExitMode
from shared.messages.intents import (
    IntentApproved,
    IntentRefused,
    Missing,
    NoQuote,
    OrderType,
)
from shared.messages.refusals import Refusal
from tests.builders import NOON, a_follow, a_quote, levels, quoted, seconds, shares, usdc

INSTANT = timedelta(microseconds=1)
LIMITS = Limits(
    max_quote_age=seconds(5),
    max_last_book_age=seconds(20),
    max_bound_age=seconds(70),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
)
RICH = Funds(
    usdc=usdc(1000),
    allowance=usdc(1000),
    shares=shares(1000),
    shares_approved=True,
    fetched_at=NOON,
    reserved_usdc=0,
    spent_today=0,
    follower_spent_today=0,
)


def some_facts(**overrides: Any) -> PreflightFacts:
    base = PreflightFacts(
        quoted=quoted(),
        follow=a_follow(),
        mode=Mode.ACTIVE,
        controls_version=7,
        limits=LIMITS,
        now=NOON,
        funds=RICH,
    )
    return replace(base, **overrides)


def buy(amount: int, *, price: str = "0.50", **overrides: Any) -> PreflightFacts:
    """A copy that spends ``amount`` at ``price`` in a market without fees, so that thresholds are
    round.
    """
    bought = shares_for(amount, Decimal(price))
    quote = a_quote(
        levels=levels((price, 10_000)), shares=max(bought, 1), usdc=amount, fee_rate=Decimal(0)
    )
    return some_facts(quoted=quoted(quote, usdc=amount, shares=bought), **overrides)


def sale(
    amount: int, *, held: int = shares(5000), reserved: int = 0, **overrides: Any
) -> PreflightFacts:
    """An attempt of an exit that has ``amount`` left to sell, of a follow that holds ``held``."""
    quote = a_quote(levels=levels(("0.50", 10_000)), shares=max(amount, 1), usdc=amount // 2)
    given = quoted(quote, side=Side.SELL, shares=amount, usdc=amount // 2)
    exit_ = Exit(
        intent=given.intent, base_shares=held, shares=amount, expires_at=NOON + seconds(600)
    )
    position = FollowPosition(held_shares=held, reserved_shares=reserved)
    return some_facts(quoted=given, exit=exit_, position=position, **overrides)


def with_quote(**overrides: Any) -> PreflightFacts:
    return some_facts(quoted=quoted(a_quote(**overrides)))


def with_funds(facts: PreflightFacts, **overrides: Any) -> PreflightFacts:
    return replace(facts, funds=replace(RICH, **overrides))


def refusal(facts: PreflightFacts) -> tuple[Refusal, Decimal | int, Decimal | int] | None:
    verdict = judge(facts)
    return (
        (verdict.reason, verdict.value, verdict.threshold)
        if isinstance(verdict, IntentRefused)
        else None
    )


def test_a_copy_that_passes_every_check_is_approved_with_its_facts() -> None:
    verdict = judge(some_facts())

    assert isinstance(verdict, IntentApproved)
    assert (verdict.usdc, verdict.shares, verdict.order_type, verdict.limit_price) == (
        usdc(5),
        0,
        OrderType.FOK,
        Decimal("0.51"),
    )
    assert (verdict.facts.balance_usdc, verdict.facts.controls_version, verdict.facts.mode) == (
        RICH.usdc,
        7,
        "active",
    )
    assert verdict.expires_at == verdict.intent.filled_at + LIMITS.max_entry_age


@pytest.mark.parametrize(
    ("mode", "side", "reason"),
    [
        (Mode.HALTED, Side.BUY, Refusal.HALTED),
        (Mode.HALTED, Side.SELL, Refusal.HALTED),
        (Mode.REDUCING, Side.BUY, Refusal.REDUCING),
        (Mode.REDUCING, Side.SELL, None),
        (Mode.CLOSING, Side.BUY, Refusal.REDUCING),
        (Mode.CLOSING, Side.SELL, None),
        (Mode.ACTIVE, Side.SELL, None),
    ],
)
def test_the_mode_is_checked_first(mode: Mode, side: Side, reason: Refusal | None) -> None:
    facts = buy(usdc(5), mode=mode) if side is Side.BUY else sale(shares(10), mode=mode)

    early = refuse_early(replace(facts, funds=None))

    assert (early.reason if early else None) is reason


def test_a_copy_without_an_active_follow_is_refused() -> None:
    assert refusal(some_facts(follow=None)) == (Refusal.NOT_FOLLOWED, 0, 1)


@pytest.mark.parametrize("facts", [buy(usdc(5)), sale(shares(10))], ids=["entry", "exit"])
def test_a_copy_exactly_at_its_maximum_age_passes(facts: PreflightFacts) -> None:
    limit = LIMITS.max_entry_age if facts.side is Side.BUY else LIMITS.max_exit_age
    latest = facts.quoted.intent.filled_at + limit
    fresh = replace(
        facts,
        quoted=facts.quoted.model_copy(
            update={"quote": facts.quote.model_copy(update={"fetched_at": latest})}
        ),
    )

    assert refusal(replace(fresh, now=latest)) is None
    assert refusal(replace(fresh, now=latest + INSTANT)) == (
        Refusal.TRADE_TOO_OLD,
        Decimal(limit.seconds) + Decimal("0.000001"),
        limit.seconds,
    )


def test_a_quote_exactly_at_its_maximum_age_passes() -> None:
    oldest = NOON - LIMITS.max_quote_age

    assert refusal(with_quote(fetched_at=oldest)) is None
    assert refusal(with_quote(fetched_at=oldest - INSTANT)) == (
        Refusal.QUOTE_TOO_OLD,
        Decimal("5.000001"),
        5,
    )


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (Missing.EMPTY_BOOK, Refusal.EMPTY_BOOK),
        (Missing.NO_MARKET, Refusal.NO_MARKET),
        (Missing.UNAVAILABLE, Refusal.QUOTE_UNAVAILABLE),
    ],
)
def test_the_refusal_without_a_quote_gives_the_reason_for_its_absence(
    missing: Missing, reason: Refusal
) -> None:
    assert refusal(some_facts(quoted=quoted(NoQuote(missing=missing)))) == (reason, 0, 1)


def test_an_intent_of_size_zero_is_below_the_minimum_and_not_an_empty_book() -> None:
    zero_size = quoted(NoQuote(missing=Missing.EMPTY_BOOK), usdc=0, shares=0)

    assert refusal(some_facts(quoted=zero_size)) == (Refusal.BELOW_MINIMUM, 0, 1)


def test_a_thin_book_refuses_an_entry_but_not_an_exit() -> None:
    thin = with_quote(complete=False, usdc=usdc(4))
    exit_ = sale(shares(10))

    assert refusal(thin) == (Refusal.BOOK_TOO_THIN, 4, 5)
    assert (
        refusal(
            replace(
                exit_, quoted=exit_.quoted.model_copy(update={"quote": a_quote(complete=False)})
            )
        )
        is None
    )


def test_an_entry_whose_worst_level_is_exactly_at_the_slippage_limit_passes() -> None:
    follow = a_follow(max_slippage_bps=Decimal(400))

    at_threshold = replace(with_quote(levels=levels(("0.50", 5), ("0.52", 5))), follow=follow)
    beyond = replace(with_quote(levels=levels(("0.50", 5), ("0.53", 5))), follow=follow)

    assert refusal(at_threshold) is None
    assert refusal(beyond) == (Refusal.SLIPPAGE_TOO_HIGH, 600, 400)


def test_an_exit_is_judged_by_its_best_level_and_its_limit_price_excludes_the_others() -> None:
    exit_ = sale(shares(10))
    falling = exit_.quoted.model_copy(
        update={"quote": a_quote(levels=levels(("0.49", 1), ("0.01", 9)))}
    )

    verdict = judge(replace(exit_, quoted=falling))

    assert isinstance(verdict, IntentApproved)
    assert (verdict.limit_price, verdict.order_type) == (Decimal("0.49"), OrderType.FAK)


@pytest.mark.parametrize(
    ("side", "leader_price", "offered"),
    [(Side.BUY, "0.004", "0.003"), (Side.SELL, "0.996", "0.997")],
)
def test_a_copy_without_any_allowed_price_on_the_grid_is_refused(
    side: Side, leader_price: str, offered: str
) -> None:
    """The market's tick grew from 0.001 to 0.01, and the book was fetched before that."""
    quote = a_quote(levels=levels((offered, 10_000)), tick_size=Decimal("0.01"))
    facts = replace(
        buy(usdc(5)) if side is Side.BUY else sale(shares(10)),
        quoted=quoted(quote, side=side, leader_price=Decimal(leader_price)),
        follow=a_follow(max_slippage_bps=Decimal(10)),
    )

    reason, value, threshold = refusal(facts) or pytest.fail("approved")

    assert (reason, threshold) == (Refusal.SLIPPAGE_TOO_HIGH, 10)
    assert value > threshold


def test_the_smallest_entry_is_one_dollar_in_whole_cents() -> None:
    assert refusal(buy(MIN_BUY_USDC)) is None
    assert refusal(buy(MIN_BUY_USDC + CENT - 1)) is None
    assert refusal(buy(MIN_BUY_USDC - 1)) == (Refusal.BELOW_MINIMUM, Decimal("0.99"), 1)


def test_the_smallest_exit_is_a_hundredth_of_a_share() -> None:
    assert refusal(sale(CENT)) is None
    assert refusal(sale(CENT - 1)) == (Refusal.BELOW_MINIMUM, 0, Decimal("0.01"))


def test_the_maximum_trade_limits_entries_and_not_exits() -> None:
    whole_cap = a_follow(daily_cap_usdc=usdc(10_000))

    assert refusal(buy(LIMITS.max_trade_usdc, follow=whole_cap)) is None
    assert refusal(buy(LIMITS.max_trade_usdc + CENT, follow=whole_cap)) == (
        Refusal.ABOVE_TRADE_MAXIMUM,
        Decimal("1000.01"),
        1000,
    )
    assert refusal(with_funds(sale(shares(5000)), shares=shares(5000))) is None


def test_entries_may_use_the_daily_cap_exactly_and_exits_do_not_count() -> None:
    spent = usdc(495)

    assert refusal(with_funds(buy(usdc(5)), spent_today=spent)) is None
    assert refusal(with_funds(buy(usdc(5)), spent_today=spent + 1)) == (
        Refusal.DAILY_CAP_REACHED,
        Decimal("500.000001"),
        500,
    )
    assert refusal(with_funds(sale(shares(10)), spent_today=usdc(5000))) is None


def test_an_entry_may_spend_the_whole_balance_except_what_is_reserved() -> None:
    assert refusal(with_funds(buy(usdc(5)), usdc=usdc(7), reserved_usdc=usdc(2))) is None
    assert refusal(with_funds(buy(usdc(5)), usdc=usdc(7), reserved_usdc=usdc(2) + 1)) == (
        Refusal.BALANCE_TOO_LOW,
        Decimal("4.999999"),
        5,
    )


def test_an_entry_needs_balance_for_its_fee_too() -> None:
    with_fee = usdc(5) + max_fee(usdc(5), Decimal("0.04"))

    assert refusal(with_funds(some_facts(), usdc=with_fee)) is None
    assert refusal(with_funds(some_facts(), usdc=with_fee - 1)) == (
        Refusal.BALANCE_TOO_LOW,
        as_decimal(with_fee - 1),
        as_decimal(with_fee),
    )


def test_an_allowance_of_exactly_the_cost_is_enough() -> None:
    assert refusal(with_funds(buy(usdc(5)), allowance=usdc(5))) is None
    assert refusal(with_funds(buy(usdc(5)), allowance=usdc(5) - 1)) == (
        Refusal.ALLOWANCE_TOO_LOW,
        Decimal("4.999999"),
        5,
    )
    assert refusal(with_funds(sale(shares(10)), shares_approved=False)) == (
        Refusal.ALLOWANCE_TOO_LOW,
        0,
        1,
    )


@pytest.mark.parametrize(
    ("held", "reserved", "sold"),
    [
        (shares(4), 0, shares(4)),
        (shares(40), 0, shares(10)),
        (shares(10), shares(7), shares(3)),
        (CENT + 5, 0, CENT),
    ],
)
def test_an_exit_sells_held_and_unreserved_shares_in_whole_hundredths(
    held: int, reserved: int, sold: int
) -> None:
    verdict = judge(sale(shares(10), held=held, reserved=reserved))

    assert isinstance(verdict, IntentApproved)
    assert (verdict.shares, verdict.usdc) == (sold, 0)


@pytest.mark.parametrize("held", [0, CENT - 1])
def test_an_exit_of_a_follow_that_holds_nothing_is_refused_before_its_funds_are_read(
    held: int,
) -> None:
    facts = replace(sale(shares(10), held=held), funds=None)

    assert refusal(facts) == (Refusal.NO_POSITION, 0, Decimal("0.01"))


@pytest.mark.parametrize("reserved", [shares(5), shares(9)])
def test_an_exit_whose_shares_are_reserved_for_another_exit_waits(reserved: int) -> None:
    facts = sale(shares(10), held=shares(5), reserved=reserved)

    assert refusal(facts) == (Refusal.BALANCE_TOO_LOW, 0, Decimal("0.01"))


def test_an_exit_sells_what_the_balance_shows_and_waits_where_it_shows_nothing() -> None:
    """A node may lag behind the settlement of the entry."""
    exit_ = sale(shares(10), held=shares(10))

    verdict = judge(with_funds(exit_, shares=shares(4)))

    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(4)
    assert refusal(with_funds(exit_, shares=CENT - 1)) == (
        Refusal.BALANCE_TOO_LOW,
        0,
        Decimal("0.01"),
    )


def test_the_daily_cap_of_a_follower_counts_all_his_follows() -> None:
    limits = replace(LIMITS, max_follower_daily_usdc=usdc(50))
    facts = buy(usdc(5), limits=limits)

    assert refusal(with_funds(facts, follower_spent_today=usdc(45))) is None
    assert refusal(with_funds(facts, follower_spent_today=usdc(45) + 1)) == (
        Refusal.FOLLOWER_DAILY_CAP_REACHED,
        Decimal("50.000001"),
        50,
    )
    assert refusal(with_funds(buy(usdc(5)), follower_spent_today=usdc(5000))) is None
    assert (
        refusal(with_funds(sale(shares(10), limits=limits), follower_spent_today=usdc(50))) is None
    )


def test_a_follow_whose_terms_copy_no_exits_refuses_them() -> None:
    follow = a_follow(exits=ExitMode.NONE)

    assert refusal(sale(shares(10), follow=follow)) == (Refusal.EXITS_NOT_COPIED, 1, 0)
    assert refusal(buy(usdc(5), follow=follow)) is None


def test_an_exit_of_unknown_size_waits_for_its_entries() -> None:
    facts = sale(shares(10), held=0)
    waiting = replace(_exit(facts), shares=None, awaited_entries=("a", "b"))

    assert refusal(replace(facts, exit=waiting, funds=None)) == (Refusal.AWAITS_ENTRY, 2, 0)


def _exit(facts: PreflightFacts) -> Exit:
    assert facts.exit is not None
    return facts.exit


def test_a_refusal_contains_the_margin_to_the_threshold() -> None:
    verdict = judge(with_funds(buy(usdc(5)), usdc=usdc(3)))

    assert isinstance(verdict, IntentRefused)
    assert verdict.margin == 2
