"""The summary succeeds only if every check held, and its file contains no floats."""

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

from cli.demo.checks import Evidence, run_checks
from cli.demo.summary import FaultStrikes, Summary, as_json, format_lines, summarise
from tests.builders import ORDER_HASH, PROXY
from tests.unit.demo.test_checks import GOOD, UNRESOLVED, order

DROPPED_REPLIES = FaultStrikes(
    fault="drop-reply", share=Decimal("0.2"), seconds=Decimal(2), times=3
)


def a_summary(evidence: Evidence = GOOD, *, fault: FaultStrikes | None = None) -> Summary:
    return summarise(
        evidence.orders,
        run_checks(evidence),
        leader_trades=2,
        followers=2,
        copies=Counter(confirmed=1, refused=1),
        refusals=Counter(halted=1),
        exits={"done": 3, "unsold": 1},
        further_attempts=2,
        seconds={"to ready": Decimal("3.1")},
        open_copies=evidence.open_copies,
        fault=fault,
    )


def test_one_failing_check_fails_the_summary() -> None:
    assert a_summary().held
    assert not a_summary(replace(GOOD, dead_letters=("x",))).held


def test_a_summary_without_checks_fails() -> None:
    assert not replace(a_summary(), checks=()).held


def numbers_in(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers_in(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers_in(each)]
    return [value] if isinstance(value, int) or type(value).__name__ == "float" else []


def test_the_file_contains_only_integers_and_text() -> None:
    written = json.loads(json.dumps(as_json(a_summary())))

    assert numbers_in(written)
    assert all(isinstance(number, int) for number in numbers_in(written))
    assert written["fill_against_leader_price_bps"] == {"count": 1, "p50": "0.00", "p95": "0.00"}
    assert written["copies"] == {"confirmed": 1, "refused": 1}
    assert written["latency_ms"]["seen_to_confirmed"] is None


def test_the_lines_show_differences() -> None:
    text = "\n".join(format_lines(a_summary(replace(GOOD, orders=(order(), order("halted"))))))

    assert "FAILED one order per approved intent: approved 1; orders 2" in text
    assert "1 ordered, not approved: halted" in text
    assert "ok     no dead letters" in text


def test_with_a_fault_a_copy_may_stay_unresolved_if_it_is_named() -> None:
    unresolved = replace(GOOD, open_copies=(UNRESOLVED,))
    summary = a_summary(unresolved, fault=DROPPED_REPLIES)
    text = "\n".join(format_lines(summary))

    assert (summary.held, summary.is_accounted_for) == (False, True)
    assert (
        f"follower {PROXY}, order {ORDER_HASH}: unknown\n    no answer came (intent bought)" in text
    )
    assert as_json(summary)["unresolved"][0]["order_hash"] == ORDER_HASH
    assert not a_summary(unresolved).is_accounted_for


def test_a_fault_excuses_no_other_check() -> None:
    assert a_summary(fault=DROPPED_REPLIES).is_accounted_for
    assert not a_summary(
        replace(GOOD, unfinished=("a trade was not seen",)), fault=DROPPED_REPLIES
    ).is_accounted_for
    assert not a_summary(replace(GOOD, dead_letters=("x",)), fault=DROPPED_REPLIES).is_accounted_for


def test_the_fault_is_reported_with_its_strikes() -> None:
    summary = a_summary(fault=DROPPED_REPLIES)

    assert (
        next(format_lines(summary))
        == "Fault: drop-reply, which struck 3 times while the leaders traded (share 0.2, 2 s)"
    )
    assert as_json(summary)["fault"] == {
        "name": "drop-reply",
        "share": "0.2",
        "seconds": "2",
        "struck": 3,
    }


def test_orders_with_equal_endings_are_counted_together() -> None:
    killed = [
        replace(
            order(f"{n}", state="killed", order_hash=f"{n}"), reason=f"order 0x{n:064x} has ended"
        )
        for n in range(2)
    ]
    summary = a_summary(replace(GOOD, orders=(order(), *killed)))

    assert as_json(summary)["ended_without_fill"] == {"killed: order 0x… has ended": 2}
