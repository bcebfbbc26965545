"""Each row of docs/copying.md is what the code computes: how long entries count in a cap."""

from dataclasses import replace
from datetime import datetime, timedelta

from services.preflight.decisions import judge
from shared.messages.intents import IntentApproved
from tests.builders import NOON, an_intent, approved, facts, usdc
from tests.fakes import FakeVerdicts
from tests.unit.docs.copies import LIMITS, RICH, as_written, each_row, parse_terms
from tests.unit.docs.test_copying_limits import an_entry

DAYS = ("Monday", "Tuesday")


def parse_moment(cell: str) -> datetime:
    day, time = cell.split()
    hours, minutes = time.split(":")
    midnight = NOON.replace(hour=0) + timedelta(days=DAYS.index(day))
    return midnight + timedelta(hours=int(hours), minutes=int(minutes))


@each_row("### Daily caps")
async def test_an_entry_counts_until_24_hours_after_its_hour(row: list[str]) -> None:
    spent_at, moment, result = parse_moment(row[0]), parse_moment(row[1]), row[2]
    follow = parse_terms("--daily-cap 500")
    verdicts = FakeVerdicts()
    before = an_intent(intent_id="b" * 32)
    cap = facts(daily_cap_usdc=follow.daily_cap_usdc)
    await verdicts.record(approved(before, usdc=usdc(480), facts=cap, occurred_at=spent_at))

    commitments = await verdicts.load_commitments(
        an_intent(), limits=LIMITS, since=moment, now=moment
    )
    funds = replace(
        RICH,
        spent_today=commitments.spent_today,
        follower_spent_today=commitments.follower_spent_today,
    )
    verdict = judge(an_entry(follow=follow, funds=funds))

    copied = isinstance(verdict, IntentApproved)
    assert ("copied" if copied else as_written(verdict)) == result
