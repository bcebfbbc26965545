"""Each row of docs/copying.md is what the code computes: filters, modes and direction."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from services.ingest.decisions import CopySlice, RowKey
from services.preflight.decisions import (
    FollowPosition,
    PreflightFacts,
    Verdict,
    judge,
    open_exit,
)
from shared.domain.money import Side, as_decimal
from shared.domain.outcomes import OutcomeToken
from shared.messages.filters import MarketDetails
from shared.messages.intents import IntentApproved
from shared.messages.leader_fills import FillSource
from tests.builders import (
    NOON,
    a_fill,
    a_quote,
    controls,
    levels,
    market_details,
    quoted,
    shares,
    usdc,
)
from tests.unit.docs.copies import LIMITS, as_written, each_row, parse_terms, some_facts
from tests.unit.docs.test_copying_limits import Build, a_sale, an_entry, check_at_and_over
from tests.unit.ingest.test_sizing import size_slice

CONDITION = "0x" + "aa" * 32
NO = OutcomeToken(token_id="7" * 70, outcome="No")


def filtered(terms: str, *, details: MarketDetails | None = None, **intent: Any) -> PreflightFacts:
    """An entry whose book has all of it at the price that the leader paid."""
    price = intent.pop("price", Decimal("0.50"))
    bid = intent.pop("bid", None)
    quote = a_quote(levels=levels((str(price), 10**6)), opposite_best=bid, market=details)
    leader_price = Decimal("0.50") if bid is not None else price
    given = quoted(quote, **{"leader_price": leader_price, "leader_usdc": usdc(500)} | intent)
    return some_facts(quoted=given, follow=parse_terms(terms))


def ending_after(seconds: Decimal) -> MarketDetails:
    return market_details(ends_at=NOON + timedelta(microseconds=int(seconds * 10**6)))


FILTERS: Mapping[tuple[str, str], Build] = {
    ("`--min-leader 100`", "USDC of the leader's trade"): lambda worth: filtered(
        "--min-leader 100", leader_usdc=usdc(str(worth))
    ),
    ("`--min-price 0.10`", "worst ask"): lambda price: filtered("--min-price 0.10", price=price),
    ("`--max-price 0.90`", "worst ask"): lambda price: filtered("--max-price 0.90", price=price),
    ("`--max-spread 4`", "best ask above a bid of 0.49"): lambda price: filtered(
        "--max-spread 4", price=price, bid=Decimal("0.49")
    ),
    ("`--min-liquidity 10000`", "USDC of the market's liquidity"): lambda amount: filtered(
        "--min-liquidity 10000", details=market_details(liquidity_usdc=usdc(str(amount)))
    ),
    ("`--min-time-left 2h`", "seconds to the market's announced end"): lambda left: filtered(
        "--min-time-left 2h", details=ending_after(left)
    ),
    ("`--max-time-left 3d`", "seconds to the market's announced end"): lambda left: filtered(
        "--max-time-left 3d", details=ending_after(left)
    ),
}


@each_row("### Filters")
def test_an_entry_passes_a_filter_at_its_limit_and_is_refused_beyond(row: list[str]) -> None:
    check_at_and_over(row, FILTERS)


def written(verdict: Verdict) -> str:
    return "copied" if isinstance(verdict, IntentApproved) else as_written(verdict)


def in_full(terms: str) -> str:
    """With condition ids of 32 bytes."""
    return terms.replace("0xaa", CONDITION).replace("0xbb", "0x" + "bb" * 32)


@each_row("### Tags and markets")
def test_tags_and_markets_are_filtered_as_the_page_says(row: list[str]) -> None:
    terms, tags, entry = row
    known = {"none": (), "not known": None}.get(tags, tuple(tags.split(", ")))
    details = None if known is None else market_details(tags=known, condition_id=CONDITION)

    assert written(judge(filtered(in_full(terms), details=details))) == entry


@each_row("### Entries or exits alone")
def test_entries_and_exits_are_copied_as_the_page_says(row: list[str]) -> None:
    terms, entry, exit_ = row
    follow = parse_terms(terms)

    assert written(judge(an_entry(follow=follow))) == entry
    assert written(judge(a_sale(follow=follow))) == exit_


@each_row("### The complementary outcome")
def test_a_counter_follow_copies_what_the_page_says(row: list[str]) -> None:
    terms, leader, holds, copy, reference, limit = row
    verb, traded = leader.split(" ", 1)
    sold, price = traded.replace(" Yes", "").split(" at ")
    traded_shares, _, held = sold.partition(" of ")
    fill = a_fill(
        side={"buys": Side.BUY, "sells": Side.SELL}[verb],
        shares=shares(traded_shares),
        price=Decimal(price),
        filled_at=NOON,
    )
    follow = parse_terms(terms)
    copied = CopySlice(
        sequence=0,
        from_shares=0,
        to_shares=fill.shares,
        caused_by=RowKey(FillSource.RTDS, fill.row_id),
        controls_version=7,
        intended_at=NOON,
        leader_held_shares=shares(held) if held else None,
    )
    (intent,) = size_slice(copied, fill, [copied], {7: controls(follow)}, complement=NO)
    position = FollowPosition(held_shares=shares(holds.removesuffix(" No")))
    expires_at = NOON + LIMITS.max_exit_age
    verdict = judge(
        some_facts(
            quoted=quoted(
                a_quote(levels=levels((str(intent.leader_price), 10**6))), **dict(intent)
            ),
            follow=follow,
            position=position,
            exit=open_exit(intent, position, mode=follow.exits, expires_at=expires_at),
        )
    )

    assert intent.token_id == NO.token_id
    assert intent.leader_price == Decimal(reference)
    if isinstance(verdict, IntentApproved):
        amount = as_decimal(verdict.usdc or verdict.shares)
        assert (f"{amount:.2f} of No", str(verdict.limit_price)) == (copy, limit)
    else:
        assert (as_written(verdict), "none") == (copy, limit)
