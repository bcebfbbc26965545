"""Every guardrail within its threshold, at it, and beyond it by the smallest step, in one table.

What is beyond is refused with the value and the threshold of the table: a new reason of refusal
needs a row, or a line among those that measure nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.preflight.decisions import Exit, PreflightFacts
from shared.domain.history import KEPT_FOR
from shared.domain.money import CENT, MICROS, Side
from shared.messages.intents import (
    Bound,
    Quote,
    QuoteSource,
)
from shared.messages.refusals import Refusal
from tests.builders import NOON, a_follow, a_quote, levels, quoted, shares, usdc
from tests.unit.preflight.test_decisions import (
    LIMITS,
    buy,
    refusal,
    sale,
    some_facts,
    with_funds,
)

HALF = Decimal("0.50")
MICRO, CENTS, ONE = Decimal("0.000001"), Decimal("0.01"), Decimal(1)
Build = Callable[[Decimal], PreflightFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    reason: Refusal
    build: Build
    """The facts of a copy with this value."""
    threshold: Decimal
    step: Decimal
    """The smallest, away from what passes: negative where a value below is refused."""
    value: Decimal | None = None
    """In the refusal, where it is rounded."""


def most(reason: Refusal, build: Build, threshold: int | str, step: Decimal) -> Guardrail:
    return Guardrail(reason=reason, build=build, threshold=Decimal(threshold), step=step)


def least(reason: Refusal, build: Build, threshold: int | str, step: Decimal) -> Guardrail:
    return Guardrail(reason=reason, build=build, threshold=Decimal(threshold), step=-step)


def span(value: Decimal) -> timedelta:
    return timedelta(microseconds=int(value * MICROS))


def units(value: Decimal) -> int:
    return int(value * MICROS)


def limited(amount: int = usdc(5), **limits: Any) -> PreflightFacts:
    return buy(amount, limits=replace(LIMITS, **limits))


def aged(facts: PreflightFacts, age: Decimal) -> PreflightFacts:
    """Judged so many seconds after the leader's trade, by a quote of that moment."""
    now = facts.quoted.intent.filled_at + span(age)
    quote = facts.quote.model_copy(update={"fetched_at": now})
    return replace(facts, now=now, quoted=facts.quoted.model_copy(update={"quote": quote}))


def quoted_by(quote: Quote, **intent: Any) -> PreflightFacts:
    return some_facts(quoted=quoted(quote, **intent))


def with_bound(age: Decimal) -> PreflightFacts:
    bound = Bound(price=HALF, seen_at=NOON - span(age))
    return quoted_by(a_quote(source=QuoteSource.LEADER, bound=bound))


def offered(price: Decimal, **limits: Any) -> PreflightFacts:
    """An entry whose worst level is at this price, as the leader's."""
    quote = a_quote(levels=levels((str(price), 10_000)))
    return replace(
        quoted_by(quote, leader_price=price, usdc=usdc(5)), limits=replace(LIMITS, **limits)
    )


def slipped(side: Side, bps: Decimal) -> PreflightFacts:
    """A level so many basis points worse than the leader's price, which is a half."""
    change = HALF * bps / 10_000
    price = HALF + change if side is Side.BUY else HALF - change
    quote = a_quote(levels=levels((str(price), 10_000)), tick_size=Decimal("0.00005"))
    facts = buy(usdc(5)) if side is Side.BUY else sale(shares(10))
    given = facts.quoted.model_copy(update={"quote": quote})
    return replace(facts, quoted=given, follow=a_follow(max_slippage_bps=Decimal(300)))


def spread(bps: Decimal) -> PreflightFacts:
    """Best bid and ask so far apart around a half, by a limit of 400."""
    half = HALF * bps / 20_000
    quote = a_quote(levels=levels((str(HALF + half), 10_000)), opposite_best=HALF - half)
    facts = quoted_by(quote, leader_price=HALF + half)
    return replace(facts, limits=replace(LIMITS, max_spread_bps=Decimal(400)))


def awaiting(settlements: Decimal) -> PreflightFacts:
    """An exit whose size is known once so many entries are settled; with none it is known."""
    facts = sale(shares(10))
    assert isinstance(facts.exit, Exit)
    entries = tuple(str(number) for number in range(max(0, int(settlements))))
    size = None if entries else shares(10)
    return replace(facts, exit=replace(facts.exit, awaited_entries=entries, shares=size))


def future(ahead: Decimal) -> PreflightFacts:
    return replace(some_facts(quoted=quoted(filled_at=NOON + span(ahead))), limits=LIMITS)


def tokens(number: Decimal) -> frozenset[str]:
    return frozenset(f"token-{each}" for each in range(int(number) - 1))


def spent(reason: Refusal, cap: str, counted: str) -> Guardrail:
    """A cap of 50 USDC, of which an entry of 5 USDC takes what is left."""

    def build(value: Decimal) -> PreflightFacts:
        return with_funds(limited(**{cap: usdc(50)}), **{counted: units(value) - usdc(5)})

    return most(reason, build, 50, MICRO)


GUARDRAILS = {
    "age of what may have been pruned": most(
        Refusal.BEFORE_HISTORY,
        lambda age: aged(limited(max_entry_age=2 * KEPT_FOR), age),
        5 * 7 * 24 * 3600,
        MICRO,
    ),
    "age of an entry's trade": most(
        Refusal.TRADE_TOO_OLD, lambda age: aged(buy(usdc(5)), age), 60, MICRO
    ),
    "age of an exit's trade": most(
        Refusal.TRADE_TOO_OLD, lambda age: aged(sale(shares(10)), age), 600, MICRO
    ),
    "date in the future": most(Refusal.TRADE_IN_FUTURE, future, 5, MICRO),
    "age of a current book": most(
        Refusal.QUOTE_TOO_OLD,
        lambda age: quoted_by(a_quote(fetched_at=NOON - span(age))),
        5,
        MICRO,
    ),
    "age of the last book": most(
        Refusal.QUOTE_TOO_OLD,
        lambda age: quoted_by(a_quote(fetched_at=NOON - span(age), source=QuoteSource.LAST_BOOK)),
        20,
        MICRO,
    ),
    "age of a bound": most(Refusal.QUOTE_TOO_OLD, with_bound, 70, MICRO),
    "depth": least(
        Refusal.BOOK_TOO_THIN,
        lambda worth: quoted_by(a_quote(usdc=units(worth), complete=worth >= 5)),
        5,
        MICRO,
    ),
    "slippage of an entry": most(
        Refusal.SLIPPAGE_TOO_HIGH, lambda bps: slipped(Side.BUY, bps), 300, ONE
    ),
    "slippage of an exit": most(
        Refusal.SLIPPAGE_TOO_HIGH, lambda bps: slipped(Side.SELL, bps), 300, ONE
    ),
    "highest price": most(
        Refusal.PRICE_OUT_OF_BAND,
        lambda price: offered(price, max_entry_price=Decimal("0.90")),
        "0.90",
        CENTS,
    ),
    "lowest price": least(
        Refusal.PRICE_OUT_OF_BAND,
        lambda price: offered(price, min_entry_price=Decimal("0.10")),
        "0.10",
        CENTS,
    ),
    "spread": most(Refusal.SPREAD_TOO_WIDE, spread, 400, ONE),
    "smallest entry": least(Refusal.BELOW_MINIMUM, lambda amount: buy(units(amount)), 1, CENTS),
    "smallest exit": replace(
        least(Refusal.BELOW_MINIMUM, lambda amount: sale(units(amount)), "0.01", MICRO),
        value=Decimal(0),
    ),
    "largest trade": most(
        Refusal.ABOVE_TRADE_MAXIMUM,
        lambda amount: limited(units(amount), max_trade_usdc=usdc(100)),
        100,
        CENTS,
    ),
    "cap of the follow": most(
        Refusal.DAILY_CAP_REACHED,
        lambda total: with_funds(buy(usdc(5)), spent_today=units(total) - usdc(5)),
        500,
        MICRO,
    ),
    "cap of the follower": spent(
        Refusal.FOLLOWER_DAILY_CAP_REACHED, "max_follower_daily_usdc", "follower_spent_today"
    ),
    "cap of the token": spent(
        Refusal.MARKET_DAILY_CAP_REACHED, "max_market_daily_usdc", "market_spent_today"
    ),
    "cap of all": spent(
        Refusal.GLOBAL_DAILY_CAP_REACHED, "max_global_daily_usdc", "global_spent_today"
    ),
    "open positions": most(
        Refusal.TOO_MANY_POSITIONS,
        lambda number: with_funds(limited(max_open_positions=3), open_tokens=tokens(number)),
        3,
        ONE,
    ),
    "entries per minute": most(
        Refusal.TOO_MANY_ENTRIES,
        lambda number: with_funds(
            limited(max_entries_per_minute=3), recent_entries=int(number) - 1
        ),
        3,
        ONE,
    ),
    "balance of an entry": least(
        Refusal.BALANCE_TOO_LOW,
        lambda amount: with_funds(buy(usdc(5)), usdc=units(amount)),
        5,
        MICRO,
    ),
    "balance of an entry, beside a reservation": least(
        Refusal.BALANCE_TOO_LOW,
        lambda amount: with_funds(
            buy(usdc(5)), usdc=units(amount) + usdc(7), reserved_usdc=usdc(7)
        ),
        5,
        MICRO,
    ),
    "balance of an exit": least(
        Refusal.BALANCE_TOO_LOW,
        lambda amount: with_funds(sale(shares(10)), shares=units(amount)),
        "0.01",
        CENTS,
    ),
    "allowance of an entry": least(
        Refusal.ALLOWANCE_TOO_LOW,
        lambda amount: with_funds(buy(usdc(5)), allowance=units(amount)),
        5,
        MICRO,
    ),
    "allowance of an exit": least(
        Refusal.ALLOWANCE_TOO_LOW,
        lambda yes: with_funds(sale(shares(10)), shares_approved=yes >= 1),
        1,
        ONE,
    ),
    "position of an exit": least(
        Refusal.NO_POSITION,
        lambda held: sale(CENT, held=units(held)),
        "0.01",
        CENTS,
    ),
    "settlements before an exit": most(Refusal.AWAITS_ENTRY, awaiting, 0, ONE),
}

MEASURE_NOTHING = {
    Refusal.HALTED,
    Refusal.REDUCING,
    Refusal.NOT_FOLLOWED,
    Refusal.FOLLOWER_NOT_ALLOWED,
    Refusal.LEADER_NOT_ALLOWED,
    Refusal.TOKEN_NOT_ALLOWED,
    Refusal.EMPTY_BOOK,
    Refusal.NO_MARKET,
    Refusal.QUOTE_UNAVAILABLE,
    Refusal.EXITS_NOT_COPIED,
    Refusal.ENTRIES_NOT_COPIED,
    Refusal.EQUITY_UNKNOWN,
    Refusal.NO_COMPLEMENT,
    Refusal.COMPLEMENT_UNAVAILABLE,
    Refusal.TAG_FILTERED,
    Refusal.MARKET_FILTERED,
    Refusal.MARKET_DETAILS_UNAVAILABLE,
    Refusal.ALREADY_RECONCILED,
    Refusal.EXIT_CAME_FIRST,
    Refusal.NOT_CLOSED_OUT,
    Refusal.DIRECTION_CHANGED,
}
"""Each is true or not, and has its tests in test_decisions, test_exits, test_guardrails,
test_filters, test_newest_controls, test_reconciliation and test_delays."""

MEASURED_BY_FILTERS = {
    Refusal.LEADER_TRADE_TOO_SMALL,
    Refusal.PRICE_FILTERED,
    Refusal.SPREAD_FILTERED,
    Refusal.LIQUIDITY_FILTERED,
    Refusal.TIME_TO_END_FILTERED,
}
"""Their table is in test_filters."""


@pytest.mark.parametrize("name", GUARDRAILS)
def test_a_copy_passes_within_its_threshold_and_at_it_and_is_refused_beyond(name: str) -> None:
    guardrail = GUARDRAILS[name]
    at = guardrail.threshold
    beyond = at + guardrail.step

    assert refusal(guardrail.build(at - guardrail.step)) is None
    assert refusal(guardrail.build(at)) is None
    value = beyond if guardrail.value is None else guardrail.value
    assert refusal(guardrail.build(beyond)) == (guardrail.reason, value, at)


def test_every_reason_has_its_threshold_or_measures_nothing() -> None:
    measured = {each.reason for each in GUARDRAILS.values()}

    assert measured | MEASURE_NOTHING | MEASURED_BY_FILTERS == set(Refusal)
    assert not measured & (MEASURE_NOTHING | MEASURED_BY_FILTERS)
    assert not MEASURE_NOTHING & MEASURED_BY_FILTERS


@pytest.mark.parametrize(
    "name",
    [
        "date in the future",
        "highest price",
        "lowest price",
        "spread",
        "largest trade",
        "cap of the follow",
        "cap of the follower",
        "cap of the token",
        "cap of all",
        "open positions",
        "entries per minute",
        "depth",
    ],
)
def test_no_limit_of_entries_refuses_an_exit(name: str) -> None:
    guardrail = GUARDRAILS[name]
    entry = guardrail.build(guardrail.threshold + guardrail.step)
    exit_ = sale(shares(10))
    assert refusal(entry) is not None

    given = exit_.quoted.model_copy(
        update={
            "quote": exit_.quote.model_copy(
                update={
                    "complete": entry.quote.complete,
                    "opposite_best": entry.quote.opposite_best,
                }
            )
        }
    )
    assert refusal(replace(exit_, quoted=given, limits=entry.limits, funds=entry.funds)) is None
