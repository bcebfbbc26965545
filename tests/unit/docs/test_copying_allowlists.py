"""Each row of docs/copying.md is what the code computes: the lists of the operator."""

from dataclasses import replace

from services.preflight.decisions import Verdict, judge
from shared.messages.intents import IntentApproved
from tests.builders import LEADER, PROXY, TOKEN
from tests.unit.docs.copies import LIMITS, as_written, each_row
from tests.unit.docs.test_copying_limits import a_sale, an_entry


def parse_list(cell: str, name: str) -> frozenset[str] | None:
    if cell == "not set":
        return None
    return frozenset({"another"} if cell == "names others" else {"another", name})


def written(verdict: Verdict) -> str:
    return "copied" if isinstance(verdict, IntentApproved) else as_written(verdict)


@each_row("### Allowlists")
def test_the_lists_hold_back_entries_alone(row: list[str]) -> None:
    limits = replace(
        LIMITS,
        allowed_followers=parse_list(row[0], PROXY),
        allowed_leaders=parse_list(row[1], LEADER),
        allowed_tokens=parse_list(row[2], TOKEN),
    )

    assert [written(judge(an_entry(limits=limits))), written(judge(a_sale(limits=limits)))] == (
        row[3:]
    )
