"""The summary is good only if every check held, and its file holds no binary fraction."""

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

from cli.demo.checks import Evidence, checked
from cli.demo.summary import Struck, Summary, as_json, lines, summarised
from tests.builders import ORDER_HASH, PROXY
from tests.unit.demo.test_checks import GOOD, UNRESOLVED, order

DROPPED = Struck(fault="drop-reply", share=Decimal("0.2"), seconds=Decimal(2), times=3)


def a_summary(evidence: Evidence = GOOD, *, fault: Struck | None = None) -> Summary:
    return summarised(
        evidence.orders,
        checked(evidence),
        leader_trades=2,
        followers=2,
        copies=Counter(confirmed=1, refused=1),
        refusals=Counter(halted=1),
        seconds={"to ready": Decimal("3.1")},
        open_copies=evidence.open_copies,
        fault=fault,
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


def test_with_a_fault_a_copy_may_stay_unresolved_if_it_is_named() -> None:
    unresolved = replace(GOOD, open_copies=(UNRESOLVED,))
    summary = a_summary(unresolved, fault=DROPPED)
    text = "\n".join(lines(summary))

    assert (summary.held, summary.is_accounted_for) == (False, True)
    assert (
        f"follower {PROXY}, order {ORDER_HASH}: unknown\n    no answer came (intent bought)" in text
    )
    assert as_json(summary)["unresolved"][0]["order_hash"] == ORDER_HASH
    assert not a_summary(unresolved).is_accounted_for


def test_a_fault_excuses_no_other_check() -> None:
    assert a_summary(fault=DROPPED).is_accounted_for
    assert not a_summary(
        replace(GOOD, unfinished=("a trade was not seen",)), fault=DROPPED
    ).is_accounted_for
    assert not a_summary(replace(GOOD, dead_letters=("x",)), fault=DROPPED).is_accounted_for


def test_the_fault_is_told_with_how_often_it_struck() -> None:
    summary = a_summary(fault=DROPPED)

    assert (
        next(lines(summary))
        == "Fault: drop-reply, which struck 3 times while the leaders traded (share 0.2, 2 s)"
    )
    assert as_json(summary)["fault"] == {
        "name": "drop-reply",
        "share": "0.2",
        "seconds": "2",
        "struck": 3,
    }


def test_orders_that_ended_alike_are_told_as_one() -> None:
    killed = [
        replace(
            order(f"{n}", state="killed", order_hash=f"{n}"), reason=f"order 0x{n:064x} is gone"
        )
        for n in range(2)
    ]
    summary = a_summary(replace(GOOD, orders=(order(), *killed)))

    assert as_json(summary)["ended_without_fill"] == {"killed: order 0x… is gone": 2}
