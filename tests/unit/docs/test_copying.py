"""Each row of docs/copying.md is what the code computes: the entries. Sizes that rest on more than
one trade, the exits and the limits have files of their own.
"""

from decimal import Decimal
from typing import Any

from services.ingest.decisions import RepeatedRows
from services.preflight.decisions import (
    Verdict,
    judge,
)
from shared.domain.follows import Follow
from shared.domain.money import as_decimal
from shared.messages.intents import Intent, IntentApproved
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import (
    NOON,
    a_fill,
    a_quote,
    levels,
    quoted,
    seconds,
    shares,
    usdc,
)
from tests.unit.docs.copies import (
    PAGE,
    as_written,
    each_row,
    parse_terms,
    parse_two,
    some_facts,
)
from tests.unit.docs.tables import DOCS
from tests.unit.ingest.test_identity import Ingest

FIRST, SECOND = "0x" + "a1" * 32, "0x" + "b2" * 32
TABLES = {
    "## Entries",
    "### A trade in many rows",
    "### Small trades",
    "### Share of the equity",
    "### A leader who repeats himself",
    "### Filters",
    "### Tags and markets",
    "### Entries or exits alone",
    "### The complementary outcome",
    "## Exits",
    "### Whose shares",
    "### Two sales in a row",
    "### Buy, sell, buy",
    "### When an attempt is refused",
    "### When an order has ended",
    "### The next attempt",
    "## What the leader holds",
    "### Mirroring a leader",
    "## When a follow ends",
    "### Ages",
    "### Price and depth",
    "### Sizes and caps",
    "### Daily caps",
    "### Entries per minute",
    "### Allowlists",
    "### Before the order is signed",
    "### Funds",
    "### Modes",
    "### Where the price comes from",
}
"""The headings whose tables this file and those beside it compute."""


def judge_entry(intent: Intent, follow: Follow) -> Verdict:
    """By a book that has all of it at the leader's price, and funds for anything."""
    quote = a_quote(levels=levels((str(intent.leader_price), 10**6)), shares=max(intent.shares, 1))
    return judge(some_facts(quoted=quoted(quote, **dict(intent)), follow=follow))


async def intents_for(follow: Follow, *fills: LeaderFillSeen) -> list[Intent]:
    ingest = Ingest(follows=[follow])
    ingest.topic += fills
    await ingest.handle_all()
    return list(ingest.intents.values())


def test_every_table_of_the_page_is_computed() -> None:
    heading, with_tables = "", set()
    for line in (DOCS / PAGE).read_text().splitlines():
        heading = line if line.startswith("#") else heading
        if line.startswith("|--"):
            assert heading not in with_tables, "a second table under one heading is not read"
            with_tables.add(heading)

    assert with_tables == TABLES


def test_the_defaults_of_the_page_are_those_of_the_command() -> None:
    page = " ".join((DOCS / PAGE).read_text().split())
    options = page.partition("`slipstream follow`: `")[2].partition("`")[0]

    assert parse_terms(options) == parse_terms("")


@each_row("## Entries")
async def test_an_entry_spends_what_the_page_says(row: list[str]) -> None:
    terms, trade, spends = row
    bought, price = parse_two(trade, " at ")
    follow = parse_terms(terms)
    fill = a_fill(shares=usdc(str(bought)), price=price, filled_at=NOON)

    (intent,) = await intents_for(follow, fill)

    assert as_written(judge_entry(intent, follow)) == spends


@each_row("### A trade in many rows")
async def test_a_trade_is_copied_alike_in_one_row_and_in_ten(row: list[str]) -> None:
    terms, rows, copies, in_all = row
    number, worth = parse_two(rows, " of ")
    follow = parse_terms(terms)
    fills = [
        a_fill(row_id=f"row-{index}", shares=usdc(str(worth * 2)), price=Decimal("0.50"))
        for index in range(int(number))
    ]

    verdicts = [judge_entry(each, follow) for each in await intents_for(follow, *fills)]
    spent = sum(each.usdc for each in verdicts if isinstance(each, IntentApproved))

    assert " + ".join(map(as_written, verdicts)) == copies
    assert f"{as_decimal(spent):.2f}" == in_all


@each_row("### A leader who repeats himself")
async def test_an_equal_trade_is_copied_at_once_or_when_it_is_in_a_block(row: list[str]) -> None:
    setting, later, in_block, at_once, in_the_end = row
    ingest = Ingest(follows=[parse_terms("")], repeated_rows=RepeatedRows(setting.strip("`")))
    matched_at = {FIRST: NOON, SECOND: NOON + seconds(int(later))}
    mined = {"both": [FIRST, SECOND], "the second": [SECOND]}[in_block]

    def report(transaction: str, **fields: Any) -> None:
        fields = {"filled_at": matched_at[transaction], "shares": shares(100)} | fields
        ingest.topic.append(a_fill(transaction_hash=transaction, **fields))

    async def copied() -> str:
        await ingest.handle_all()
        return f"{as_decimal(sum(each.leader_shares for each in ingest.intents.values())):.0f}"

    report(FIRST)
    report(SECOND)
    assert await copied() == at_once
    for transaction in mined:
        block_at = matched_at[transaction] + seconds(2)
        report(transaction, source=FillSource.CHAIN, row_id="log", filled_at=block_at)
    assert await copied() == in_the_end
