"""The summary is good only if every check held, and its file holds no binary fraction."""

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.unit.demo.test_checks import GOOD, order
from tools.demo.checks import Evidence, checked
from tools.demo.summary import Summary, as_json, lines, summarised


def a_summary(evidence: Evidence = GOOD) -> Summary:
    return summarised(
        evidence.orders,
        checked(evidence),
        leader_trades=2,
        followers=2,
        copies=Counter(confirmed=1, refused=1),
        refusals=Counter(halted=1),
        seconds={"to ready": Decimal("3.1")},
    )


def test_one_check_that_fails_spoils_the_summary() -> None:
    assert a_summary().held
    assert not a_summary(replace(GOOD, dead_letters=("x",))).held


def test_without_checks_nothing_is_good() -> None:
    assert not replace(a_summary(), checks=()).held


def numbers_in(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers_in(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers_in(each)]
    return [value] if isinstance(value, int) or type(value).__name__ == "float" else []


def test_the_file_holds_whole_numbers_and_text_alone() -> None:
    told = json.loads(json.dumps(as_json(a_summary())))

    assert numbers_in(told)
    assert all(isinstance(number, int) for number in numbers_in(told))
    assert told["fill_against_leader_price_bps"] == {"count": 1, "p50": "0.00", "p95": "0.00"}
    assert told["copies"] == {"confirmed": 1, "refused": 1}
    assert told["latency_ms"]["seen_to_confirmed"] is None


def test_the_lines_tell_what_differs() -> None:
    text = "\n".join(lines(a_summary(replace(GOOD, orders=(order(), order("halted"))))))

    assert "FAILED one order per approved intent: approved 1; orders 2" in text
    assert "1 ordered, not approved: halted" in text
    assert "ok     no dead letters" in text
