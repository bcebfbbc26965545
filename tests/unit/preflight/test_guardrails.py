"""The limits of entries alone: at, under and over each threshold, and that exits pass them all."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preflight.adapters.rows import VERDICT
from services.preflight.decisions import PreflightFacts, judge
from shared.domain.errors import Transient
from shared.domain.money import CENT
from shared.messages.intents import (
    IntentApproved,
    QuoteSource,
)
from shared.messages.refusals import Refusal
from tests.builders import (
    LEADER,
    NOON,
    OTHER_PROXY,
    PROXY,
    a_quote,
    an_intent,
    an_outcome,
    approved,
    facts,
    levels,
    quoted,
    seconds,
    shares,
    usdc,
)
from tests.fakes import FakeVerdicts
from tests.unit.preflight.test_decisions import (
    INSTANT,
    LIMITS,
    RICH,
    buy,
    refusal,
    sale,
    some_facts,
    with_funds,
)

TOKEN = an_intent().token_id
STRICTEST = replace(
    LIMITS,
    max_follower_daily_usdc=1,
    max_market_daily_usdc=1,
    max_global_daily_usdc=1,
    max_open_positions=1,
    max_entries_per_minute=1,
    max_spread_bps=Decimal(1),
    min_entry_price=Decimal("0.9"),
    allowed_followers=frozenset(),
    allowed_leaders=frozenset(),
    allowed_tokens=frozenset(),
    max_clock_skew=seconds(0),
)
"""Every entry violates each of them."""


def with_limits(**limits: Any) -> PreflightFacts:
    return buy(usdc(5), limits=replace(LIMITS, **limits))


def counted(limits: dict[str, Any], **counts: Any) -> PreflightFacts:
    return with_funds(with_limits(**limits), **counts)


def tokens(number: int) -> frozenset[str]:
    return frozenset(f"token-{each}" for each in range(number))


def priced(*prices: str, limits: dict[str, Any], **quote: Any) -> PreflightFacts:
    given_quote = a_quote(levels=levels(*((price, 10_000) for price in prices)), **quote)
    return some_facts(
        quoted=quoted(given_quote, leader_price=Decimal(prices[-1])),
        limits=replace(LIMITS, **limits),
    )


def sized_by(leader: int | None, follower: int | None, **intent: Any) -> PreflightFacts:
    """Of a follow that copies a share of the equity."""
    fields = {"leader_equity_usdc": leader, "follower_equity_usdc": follower}
    return some_facts(quoted=quoted(sized_by_equity=True, **fields | intent))


def dated(skew: int, *, ahead: Any) -> PreflightFacts:
    limits = replace(LIMITS, max_clock_skew=seconds(skew))
    return some_facts(quoted=quoted(filled_at=NOON + ahead), limits=limits)


def listed(kind: str, *names: str) -> PreflightFacts:
    return with_limits(**{f"allowed_{kind}": frozenset(names)})


MARKET = {"max_market_daily_usdc": usdc(50)}
GLOBAL = {"max_global_daily_usdc": usdc(50)}
POSITIONS = {"max_open_positions": 3}
RATE = {"max_entries_per_minute": 3}
SPREAD = {"max_spread_bps": Decimal(400)}
BAND = {"min_entry_price": Decimal("0.10"), "max_entry_price": Decimal("0.90")}


@pytest.mark.parametrize(
    ("given_facts", "refused_with"),
    [
        (sized_by(1, 1), None),
        (sized_by(0, 0), None),
        (sized_by(None, 1, usdc=0, shares=0), (Refusal.EQUITY_UNKNOWN, 1, 0)),
        (sized_by(1, None, usdc=0, shares=0), (Refusal.EQUITY_UNKNOWN, 1, 0)),
        (sized_by(None, None, usdc=0, shares=0), (Refusal.EQUITY_UNKNOWN, 2, 0)),
        (counted(MARKET, market_spent_today=0), None),
        (counted(MARKET, market_spent_today=usdc(45)), None),
        (
            counted(MARKET, market_spent_today=usdc(45) + 1),
            (Refusal.MARKET_DAILY_CAP_REACHED, Decimal("50.000001"), 50),
        ),
        (counted(GLOBAL, global_spent_today=0), None),
        (counted(GLOBAL, global_spent_today=usdc(45)), None),
        (
            counted(GLOBAL, global_spent_today=usdc(45) + 1),
            (Refusal.GLOBAL_DAILY_CAP_REACHED, Decimal("50.000001"), 50),
        ),
        (counted(POSITIONS, open_tokens=tokens(1)), None),
        (counted(POSITIONS, open_tokens=tokens(2)), None),
        (counted(POSITIONS, open_tokens=tokens(3)), (Refusal.TOO_MANY_POSITIONS, 4, 3)),
        (counted(POSITIONS, open_tokens=tokens(3) | {TOKEN}), None),
        (counted(RATE, recent_entries=1), None),
        (counted(RATE, recent_entries=2), None),
        (counted(RATE, recent_entries=3), (Refusal.TOO_MANY_ENTRIES, 4, 3)),
        (priced("0.51", limits=SPREAD, opposite_best=Decimal("0.50")), None),
        (priced("0.51", limits=SPREAD, opposite_best=Decimal("0.49")), None),
        (
            priced("0.55", limits=SPREAD, opposite_best=Decimal("0.45")),
            (Refusal.SPREAD_TOO_WIDE, 2000, 400),
        ),
        (
            priced("0.51", limits=SPREAD, opposite_best=Decimal(0)),
            (Refusal.SPREAD_TOO_WIDE, 20_000, 400),
        ),
        (priced("0.51", limits={}, opposite_best=Decimal(0)), None),
        (priced("0.51", limits=SPREAD, source=QuoteSource.MIDPOINT), None),
        (priced("0.11", limits=BAND), None),
        (priced("0.10", limits=BAND), None),
        (
            priced("0.09", limits=BAND),
            (Refusal.PRICE_OUT_OF_BAND, Decimal("0.09"), Decimal("0.10")),
        ),
        (priced("0.89", limits=BAND), None),
        (priced("0.90", limits=BAND), None),
        (
            priced("0.90", "0.91", limits=BAND),
            (Refusal.PRICE_OUT_OF_BAND, Decimal("0.91"), Decimal("0.90")),
        ),
        (priced("0.01", limits={}), None),
        (priced("0.99", limits={}), None),
        (listed("followers", PROXY, OTHER_PROXY), None),
        (listed("followers", OTHER_PROXY), (Refusal.FOLLOWER_NOT_ALLOWED, 0, 1)),
        (listed("leaders", LEADER), None),
        (listed("leaders", PROXY), (Refusal.LEADER_NOT_ALLOWED, 0, 1)),
        (listed("tokens", TOKEN, "12"), None),
        (listed("tokens", "12"), (Refusal.TOKEN_NOT_ALLOWED, 0, 1)),
        (dated(5, ahead=seconds(5) - INSTANT), None),
        (dated(5, ahead=seconds(5)), None),
        (dated(5, ahead=seconds(5) + INSTANT), (Refusal.TRADE_IN_FUTURE, Decimal("5.000001"), 5)),
        (dated(0, ahead=INSTANT), (Refusal.TRADE_IN_FUTURE, Decimal("0.000001"), 0)),
    ],
)
def test_an_entry_at_a_threshold_passes_and_beyond_is_refused(
    given_facts: PreflightFacts, refused_with: tuple[Refusal, Decimal, Decimal] | None
) -> None:
    assert refusal(given_facts) == refused_with


def test_every_entry_violates_the_strictest_limits_and_no_exit_does() -> None:
    future = NOON + seconds(60)
    exit_ = sale(shares(10), limits=STRICTEST)
    exit_ = replace(
        exit_,
        quoted=exit_.quoted.model_copy(
            update={
                "quote": exit_.quote.model_copy(update={"opposite_best": Decimal(1)}),
                "intent": exit_.quoted.intent.model_copy(update={"filled_at": future}),
            }
        ),
    )
    funds = replace(
        RICH,
        spent_today=10**12,
        follower_spent_today=10**12,
        market_spent_today=10**12,
        global_spent_today=10**12,
        open_tokens=tokens(9),
        recent_entries=9,
    )

    assert refusal(buy(usdc(5), limits=STRICTEST)) is not None
    assert refusal(replace(exit_, funds=funds)) is None
    assert refusal(replace(exit_, funds=RICH)) is None  # nothing is counted for an exit


@pytest.mark.parametrize("limit", [MARKET, GLOBAL, POSITIONS, RATE])
def test_what_is_limited_and_was_not_counted_is_an_error_and_not_a_zero(
    limit: dict[str, Any],
) -> None:
    with pytest.raises(TypeError):
        judge(with_limits(**limit))


def test_a_verdict_contains_what_was_counted() -> None:
    limits = {**MARKET, **GLOBAL, **POSITIONS, **RATE}
    counts = {"market_spent_today": usdc(7), "global_spent_today": usdc(8), "recent_entries": 1}

    found = judge(counted(limits, **counts, open_tokens=tokens(2))).facts

    assert (found.market_daily_cap_usdc, found.market_spent_today_usdc) == (usdc(50), usdc(7))
    assert (found.global_daily_cap_usdc, found.global_spent_today_usdc) == (usdc(50), usdc(8))
    assert (found.open_positions, found.recent_entries) == (2, 1)


NEW_FACTS = (
    "market_daily_cap_usdc",
    "market_spent_today_usdc",
    "global_daily_cap_usdc",
    "global_spent_today_usdc",
    "open_positions",
    "recent_entries",
)


def test_a_verdict_that_was_stored_without_the_new_facts_is_read() -> None:
    stored = json.loads(approved().model_dump_json())
    for name in NEW_FACTS:
        del stored["facts"][name]
    del stored["quote"]["opposite_best"]

    assert VERDICT.validate_json(json.dumps(stored)) == approved()


CAPS = facts(
    daily_cap_usdc=usdc(40),
    follower_daily_cap_usdc=usdc(60),
    market_daily_cap_usdc=usdc(70),
    global_daily_cap_usdc=usdc(90),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("record"),
            st.integers(0, 11),
            st.integers(100, 3000).map(lambda cents: cents * CENT),
        ),
        st.tuples(st.just("settle"), st.integers(0, 11), st.integers(0, 100)),
    ),
    max_size=40,
)


class CapsOfFollowers:
    """Twelve entries of two followers with two follows each in three tokens."""

    def __init__(self) -> None:
        self.verdicts = FakeVerdicts()
        self.used: dict[int, int] = {}
        """What each approved entry has reserved or spent, in micro-USDC."""
        self.settled: set[int] = set()

    def scopes(self, number: int) -> tuple[str, ...]:
        return f"follow-{number % 4}", f"follower-{number % 2}", f"token-{number % 3}", "all"

    async def record(self, number: int, amount: int) -> None:
        intent = an_intent(
            intent_id=f"{number:032x}",
            follow_id=f"follow-{number % 4}",
            proxy=f"0x{number % 2:040x}",
            token_id=f"token-{number % 3}",
        )
        try:
            verdict = await self.verdicts.record(approved(intent, usdc=amount, facts=CAPS))
        except Transient:
            return
        assert isinstance(verdict, IntentApproved)
        self.used.setdefault(number, verdict.usdc)

    async def settle(self, number: int, percent: int) -> None:
        if number in self.used and number not in self.settled:
            self.used[number] = self.used[number] * percent // 100
            self.settled.add(number)
            report = an_outcome(intent_id=f"{number:032x}", usdc=self.used[number], fee_usdc=0)
            await self.verdicts.settle(report, now=NOON)

    async def require_caps(self) -> None:
        used = Counter[str]()
        for number, amount in self.used.items():
            used.update(dict.fromkeys(self.scopes(number), amount))
        caps = {
            "follow": CAPS.daily_cap_usdc,
            "follower": CAPS.follower_daily_cap_usdc,
            "token": CAPS.market_daily_cap_usdc,
            "all": CAPS.global_daily_cap_usdc,
        }
        for scope, amount in used.items():
            assert amount <= (caps[scope.split("-")[0]] or 0), scope
        loaded = await self.verdicts.load_commitments(
            an_intent(token_id="token-0", follow_id="follow-0", proxy=f"0x{0:040x}"),
            limits=replace(LIMITS, max_market_daily_usdc=1, max_global_daily_usdc=1),
            since=NOON,
            now=NOON,
        )
        assert loaded.spent_today == used["follow-0"]
        assert loaded.follower_spent_today == used["follower-0"]
        assert loaded.market_spent_today == used["token-0"]
        assert loaded.global_spent_today == used["all"]


@given(steps=STEPS)
def test_no_cap_is_exceeded_and_each_counts_exactly_whatever_the_order(
    steps: list[tuple[str, int, int]],
) -> None:
    async def run() -> None:
        copies = CapsOfFollowers()
        for action, number, amount in steps:
            await getattr(copies, action)(number, amount)
            await copies.require_caps()

    asyncio.run(run())
