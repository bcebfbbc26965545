"""Each row of docs/copying.md is what the code computes: entries over the rate of a follower."""

from dataclasses import replace

from services.preflight.decisions import OtherEntries, delay_entry, is_over_rate, judge
from tests.builders import NOON, seconds
from tests.unit.docs.copies import LIMITS, RICH, as_written, each_row
from tests.unit.docs.test_copying_limits import an_entry

LIMITED = replace(LIMITS, max_entries_per_minute=2)


def parse_seconds(cell: str) -> list[int]:
    return [] if cell == "none" else [int(number) for number in cell.split(",")]


@each_row("### Entries per minute")
def test_an_entry_over_the_rate_waits_for_room_or_is_refused(row: list[str]) -> None:
    ago, waiting, (age,) = map(parse_seconds, row[:3])
    others = OtherEntries(
        approved_at=[NOON - seconds(each) for each in ago],
        waiting_until=[NOON + seconds(each) for each in waiting],
    )
    funds = replace(RICH, recent_entries=len(ago) + len(waiting))
    facts = an_entry(limits=LIMITED, funds=funds)
    intent = facts.quoted.intent.model_copy(update={"filled_at": NOON - seconds(age)})

    verdict = judge(replace(facts, quoted=facts.quoted.model_copy(update={"intent": intent})))
    delayed = delay_entry(intent, others, limits=LIMITED, now=NOON)

    if not is_over_rate(verdict):
        result = "copied"
    elif delayed is None:
        result = as_written(verdict)
    else:
        result = f"waits {int((delayed.due_at - NOON).total_seconds())} s"
    assert result == row[3]
