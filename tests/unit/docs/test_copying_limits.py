"""Each row of docs/copying.md is what the code computes: the limits, at each and over it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from services.preflight.app import build_limits
from services.preflight.decisions import (
    Exit,
    FollowPosition,
    PreflightFacts,
    Verdict,
    judge,
)
from services.pricer.app import build_fallback_limits
from services.pricer.decisions import Book, price
from services.pricer.settings import Settings as PricerSettings
from shared.domain.books import Level
from shared.domain.follows import GLOBAL, Mode, follower_scope, leader_scope
from shared.domain.money import Side, shares_for
from shared.messages.intents import (
    Bound,
    IntentApproved,
    IntentQuoted,
    NoQuote,
    Quote,
    QuoteSource,
)
from tests.builders import (
    LEADER,
    NOON,
    PROXY,
    TOKEN,
    a_market,
    a_quote,
    an_intent,
    controls,
    level,
    levels,
    quoted,
    seconds,
    shares,
    usdc,
)
from tests.unit.docs.copies import (
    LIMITS,
    RICH,
    SETTINGS,
    as_written,
    each_row,
    parse_terms,
    some_facts,
)
from tests.unit.pricer.harness import LIMITS as PRICER_LIMITS
from tests.unit.pricer.harness import MAX_AGE, PricerCaches

HALF = Decimal("0.50")
Build = Callable[[Decimal], PreflightFacts]


def an_entry(
    amount: Decimal = Decimal(26), *, quote: Mapping[str, Any] | None = None, **facts: Any
) -> PreflightFacts:
    """Of so many USDC at 0.50, of a follow with the defaults."""
    spent = usdc(str(amount))
    bought = shares_for(spent, HALF)
    fields = {"levels": levels(("0.50", 10**6)), "shares": bought, "usdc": spent} | {
        **(quote or {})
    }
    given = quoted(a_quote(**fields), usdc=spent, shares=bought, filled_at=NOON)
    return some_facts(**{"quoted": given, "follow": parse_terms("")} | facts)


def a_sale(
    amount: int = shares(10), *, quote: Mapping[str, Any] | None = None, **facts: Any
) -> PreflightFacts:
    """Of so many micro-shares at 0.50, of a follow with the defaults that holds them."""
    fields = {"side": Side.SELL, "leader_held_shares": shares(100), "filled_at": NOON}
    intent = an_intent(**fields)
    exit_ = Exit(
        intent=intent,
        base_shares=amount,
        shares=amount,
        expires_at=NOON + LIMITS.max_exit_age,
    )
    given = {
        "quoted": quoted(a_quote(**(quote or {})), **fields),
        "follow": parse_terms(""),
        "exit": exit_,
        "position": FollowPosition(held_shares=shares(10)),
    }
    return some_facts(**given | facts)


def _span(age: Decimal) -> timedelta:
    return timedelta(microseconds=int(age * 10**6))


def aged(facts: PreflightFacts, age: Decimal) -> PreflightFacts:
    """Judged so many seconds after the leader's trade, by a book that is fetched then."""
    now = NOON + _span(age)
    assert isinstance(facts.quoted.quote, Quote)
    quote = facts.quoted.quote.model_copy(update={"fetched_at": now})
    return replace(facts, now=now, quoted=facts.quoted.model_copy(update={"quote": quote}))


def with_quote_aged(age: Decimal, source: QuoteSource) -> PreflightFacts:
    fetched_at = NOON - _span(age)
    return an_entry(quote={"source": source, "fetched_at": fetched_at})


def with_bound_aged(age: Decimal) -> PreflightFacts:
    bound = Bound(price=HALF, seen_at=NOON - _span(age))
    return an_entry(quote={"source": QuoteSource.LEADER, "bound": bound})


def with_asks_worth(worth: Decimal) -> PreflightFacts:
    """A book whose asks are worth so many USDC, walked as pricer does."""
    facts = an_entry()
    asks = (Level(HALF, shares_for(usdc(str(worth)), HALF)),)
    bid = level("0.49", 100)
    book = Book(bids=(bid,), asks=asks, fetched_at=NOON, source=QuoteSource.SOCKET)
    quote = price(facts.quoted.intent, book=book, market=a_market())
    return replace(facts, quoted=facts.quoted.model_copy(update={"quote": quote}))


def with_follower_cap(amount: Decimal) -> PreflightFacts:
    settings = SETTINGS.model_copy(update={"max_follower_daily_usdc": Decimal(800)})
    funds = replace(RICH, follower_spent_today=usdc(780))
    return an_entry(amount, limits=build_limits(settings), funds=funds)


def with_funds(facts: PreflightFacts, **fields: Any) -> PreflightFacts:
    return replace(facts, funds=replace(RICH, **fields))


AGES: Mapping[tuple[str, str], Build] = {
    ("`PREFLIGHT_MAX_ENTRY_AGE`", "the leader's trade, entry"): lambda age: aged(an_entry(), age),
    ("`PREFLIGHT_MAX_EXIT_AGE`", "the leader's trade, exit"): lambda age: aged(a_sale(), age),
    ("`PREFLIGHT_MAX_QUOTE_AGE`", "a current book"): lambda age: with_quote_aged(
        age, QuoteSource.REST
    ),
    ("`PREFLIGHT_MAX_LAST_BOOK_AGE`", "the last good book"): lambda age: with_quote_aged(
        age, QuoteSource.LAST_BOOK
    ),
    ("`PREFLIGHT_MAX_BOUND_AGE`", "the bound of a fallback price"): with_bound_aged,
}
PRICES: Mapping[tuple[str, str], Build] = {
    ("`--slippage 3`", "worst ask, entry"): lambda worst: an_entry(
        quote={"levels": levels(("0.49", 10), (str(worst), 10**6))}
    ),
    ("`--slippage 3`", "best bid, exit"): lambda best: a_sale(
        quote={"levels": levels((str(best), 1), ("0.01", 100))}
    ),
    ("all of an entry", "USDC of asks for a copy of 26"): with_asks_worth,
}
SIZES: Mapping[tuple[str, str], Build] = {
    ("the venue's minimum", "USDC of an entry"): an_entry,
    ("a hundredth of a share", "shares of an exit"): lambda left: a_sale(shares(str(left))),
    ("`PREFLIGHT_MAX_TRADE_USDC`", "USDC of an entry"): lambda amount: an_entry(
        amount, follow=parse_terms("--daily-cap 5000")
    ),
    ("`--daily-cap 500`", "USDC of an entry, 480 are used"): lambda amount: an_entry(
        amount, funds=replace(RICH, spent_today=usdc(480))
    ),
    (
        "`PREFLIGHT_MAX_FOLLOWER_DAILY_USDC=800`",
        "USDC of an entry, all follows have used 780",
    ): with_follower_cap,
}
FUNDS: Mapping[tuple[str, str], Build] = {
    ("balance", "pUSD on the chain"): lambda held: with_funds(an_entry(), usdc=usdc(str(held))),
    ("balance, 10 reserved", "pUSD on the chain"): lambda held: with_funds(
        an_entry(), usdc=usdc(str(held)), reserved_usdc=usdc(10)
    ),
    ("allowance", "pUSD that the exchange may take"): lambda allowed: with_funds(
        an_entry(), allowance=usdc(str(allowed))
    ),
    ("shares", "shares on the chain, exit"): lambda held: with_funds(
        a_sale(), shares=shares(str(held))
    ),
}


def check_at_and_over(row: list[str], build_by_limit: Mapping[tuple[str, str], Build]) -> None:
    """Also that no number between both is left open: they differ by one of the last digit."""
    limit, subject, passes_at, refused_at, reason = row
    build = build_by_limit[limit, subject]
    at, over = Decimal(passes_at), Decimal(refused_at)

    assert isinstance(judge(build(at)), IntentApproved)
    assert as_written(judge(build(over))) == reason
    assert abs(over - at) == Decimal((0, (1,), int(over.as_tuple().exponent)))


@each_row("### Ages")
def test_an_age_passes_at_its_limit_and_is_refused_over_it(row: list[str]) -> None:
    check_at_and_over(row, AGES)


@each_row("### Price and depth")
def test_a_price_passes_at_its_limit_and_is_refused_over_it(row: list[str]) -> None:
    check_at_and_over(row, PRICES)


@each_row("### Sizes and caps")
def test_a_size_passes_at_its_limit_and_is_refused_over_it(row: list[str]) -> None:
    check_at_and_over(row, SIZES)


@each_row("### Funds")
def test_funds_pass_at_their_limit_and_are_refused_below_it(row: list[str]) -> None:
    check_at_and_over(row, FUNDS)


def _written(verdict: Verdict) -> str:
    return "copied" if isinstance(verdict, IntentApproved) else as_written(verdict)


@each_row("### Modes")
def test_the_strictest_mode_applies(row: list[str]) -> None:
    everything, leader, follower, entry, exit_ = row
    modes = {
        GLOBAL: Mode(everything),
        leader_scope(LEADER): Mode(leader),
        follower_scope(PROXY): Mode(follower),
    }
    mode = controls(modes=modes).mode(leader=LEADER, proxy=PROXY)

    assert _written(judge(an_entry(mode=mode))) == entry
    assert _written(judge(a_sale(mode=mode))) == exit_


def parse_price(cell: str) -> Decimal | None:
    return None if cell == "none" else Decimal(cell)


async def quote_by(
    book: str, midpoint: str, last_trade: str, leader_age: str
) -> tuple[IntentQuoted, datetime]:
    """What pricer's caches and decisions quote, and when. The venue serves no book any more."""
    caches = PricerCaches()
    await caches.market()
    if book != "none":
        ask, age = book.removesuffix(" s").split(", ")
        caches.clob.book = ("0.45", ask)
        await caches.quotes.fetch_book(TOKEN)
        caches.clock.now += seconds(int(age))
    caches.clob.fail()
    caches.clob.midpoint = parse_price(midpoint) or caches.clob.midpoint
    caches.clob.last_trade = parse_price(last_trade) or caches.clob.last_trade
    now = caches.clock.now
    intent = {
        "filled_at": now - seconds(int(leader_age.removesuffix(" s"))),
        "leader_price": HALF,
    }
    return quoted(await caches.quote(**intent), **intent), now


def test_the_pricer_of_these_tests_has_the_defaults_of_its_settings() -> None:
    defaults = PricerSettings.model_construct()

    assert build_fallback_limits(defaults) == PRICER_LIMITS
    assert defaults.max_book_age == MAX_AGE


@each_row("### Where the price comes from")
async def test_the_first_price_that_is_new_enough_and_bounded_is_used(row: list[str]) -> None:
    *known, used, verdict = row

    given, now = await quote_by(*known)

    assert _written_quote(given.quote) == used
    facts = some_facts(quoted=given, follow=parse_terms(""), now=now)
    assert _written(judge(facts)) == verdict


def _written_quote(quote: Quote | NoQuote) -> str:
    return "none" if isinstance(quote, NoQuote) else f"`{quote.source}` {quote.worst}"


def test_a_follow_with_no_daily_cap_left_at_all_still_sells() -> None:
    """How the page says to leave a leader."""
    leaving = parse_terms("--daily-cap 0")

    assert as_written(judge(an_entry(follow=leaving))) == "`daily_cap_reached`"
    assert _written(judge(a_sale(follow=leaving))) == "copied"
