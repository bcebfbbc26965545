"""Each row of docs/copying.md is what the code computes: sizes that rest on more than one trade."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from pydantic import TypeAdapter

from services.ingest.settings import Settings
from services.preflight.decisions import judge
from shared.domain.follows import Follow
from shared.domain.money import Side
from shared.messages.intents import Intent
from tests.builders import NOON, a_fill, a_quote, levels, quoted, usdc
from tests.fakes import FakeEquities
from tests.unit.docs.copies import as_written, each_row, parse_terms, parse_two, some_facts
from tests.unit.ingest.test_carrying import Copies, a_trade

DURATION = TypeAdapter(timedelta)


def list_steps(cell: str) -> Iterator[str]:
    """The steps of a cell; `3 x buys for 5` are three."""
    for step in cell.split(", "):
        times, separator, repeated = step.partition(" x ")
        yield from [repeated] * int(times) if separator else [step]


def list_readings(cell: str) -> list[str]:
    """What was read, the newest first; a single number was read more than once."""
    if cell == "unknown":
        return []
    if cell.endswith(" once"):
        return [cell.removesuffix(" once")]
    readings = cell.split(", ")
    return readings if len(readings) > 1 else readings * 2


def judge_at_once(intent: Intent, follow: Follow) -> str:
    """The USDC that the copy spends, or the reason of its refusal. The book has all of it."""
    quote = a_quote(levels=levels((str(intent.leader_price), 10**6)), shares=max(intent.shares, 1))
    current = dict(intent) | {"filled_at": NOON}
    return as_written(judge(some_facts(quoted=quoted(quote, **current), follow=follow)))


def test_the_page_names_the_defaults() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}

    assert defaults["carry_for"] == timedelta(hours=1)
    assert defaults["equity_interval"] == timedelta(minutes=1)
    assert defaults["max_equity_age"] == timedelta(minutes=10)


@each_row("### Small trades")
async def test_small_trades_are_copied_as_the_page_says(row: list[str]) -> None:
    terms, carry_for, steps, expected = row
    follow = parse_terms(terms)
    copies = Copies(follows=[follow], carry_for=DURATION.validate_python(carry_for.strip("`")))
    for number, step in enumerate(list_steps(steps)):
        if step.endswith(" min pass"):
            copies.clock.now += timedelta(minutes=int(step.removesuffix(" min pass")))
        elif step == "terms are changed":
            copies.follows = [replace(copies.follows[0], version=2)]
        else:
            verb, worth = step.split(" for ")
            side = {"buys": Side.BUY, "sells": Side.SELL}[verb]
            await copies.handle(a_trade(number, worth, side=side))

    bought = [each for each in copies.intents.values() if each.side is Side.BUY]
    verdicts = [judge_at_once(each, follow) for each in bought]

    spent = [verdict for verdict in verdicts if verdict != "`below_minimum`"]
    assert (" + ".join(spent) or "nothing") == expected


@each_row("### Share of the equity")
async def test_a_share_of_the_equity_is_copied_as_the_page_says(row: list[str]) -> None:
    terms, of_leader, of_follower, trade, expected = row
    follow, equities = parse_terms(terms), FakeEquities()
    for wallet, worth in ((follow.leader, of_leader), (follow.proxy, of_follower)):
        equities.readings += [
            (wallet, NOON - timedelta(minutes=minutes), usdc(each))
            for minutes, each in enumerate(list_readings(worth))
        ]
    bought, price = parse_two(trade, " at ")
    copies = Copies(follows=[follow], equities=equities)

    await copies.handle(a_fill(shares=usdc(str(bought)), price=price))

    (intent,) = copies.intents.values()
    assert judge_at_once(intent, follow) == expected
