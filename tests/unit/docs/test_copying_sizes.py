"""Each row of docs/copying.md is what the code computes: sizes that rest on more than one trade."""

from collections.abc import Iterator
from datetime import timedelta

from pydantic import TypeAdapter

from services.ingest.settings import Settings
from services.preflight.decisions import judge
from shared.domain.follows import Follow
from shared.domain.money import Side
from shared.messages.intents import Intent, IntentApproved
from tests.builders import NOON, a_quote, levels, quoted
from tests.unit.docs.copies import as_written, each_row, parse_terms, some_facts
from tests.unit.ingest.test_carrying import Copies, a_trade

DURATION = TypeAdapter(timedelta)


def list_steps(cell: str) -> Iterator[str]:
    """The steps of a cell; `3 x buys for 5` are three."""
    for step in cell.split(", "):
        times, separator, repeated = step.partition(" x ")
        yield from [repeated] * int(times) if separator else [step]


def spent_by(intent: Intent, follow: Follow) -> str | None:
    """USDC; None where the copy is refused as below the minimum. The book has all of it."""
    quote = a_quote(levels=levels((str(intent.leader_price), 10**6)), shares=max(intent.shares, 1))
    current = dict(intent) | {"filled_at": NOON}
    verdict = judge(some_facts(quoted=quoted(quote, **current), follow=follow))
    written = as_written(verdict)
    assert isinstance(verdict, IntentApproved) or written == "`below_minimum`"
    return written if isinstance(verdict, IntentApproved) else None


def test_the_page_names_the_default() -> None:
    assert Settings.model_fields["carry_for"].default == timedelta(hours=1)


@each_row("### Small trades")
async def test_small_trades_are_copied_as_the_page_says(row: list[str]) -> None:
    terms, carry_for, steps, expected = row
    follow = parse_terms(terms)
    copies = Copies(follows=[follow], carry_for=DURATION.validate_python(carry_for.strip("`")))
    for number, step in enumerate(list_steps(steps)):
        if step.endswith(" min pass"):
            copies.clock.now += timedelta(minutes=int(step.removesuffix(" min pass")))
        else:
            verb, worth = step.split(" for ")
            side = {"buys": Side.BUY, "sells": Side.SELL}[verb]
            await copies.handle(a_trade(number, worth, side=side))

    bought = [each for each in copies.intents.values() if each.side is Side.BUY]
    spent = [usdc for each in bought if (usdc := spent_by(each, follow)) is not None]

    assert (" + ".join(spent) or "nothing") == expected
