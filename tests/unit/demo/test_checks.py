"""Every check holds where its sources agree, and fails where they differ."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from cli.demo import checks
from cli.demo.checks import CHECKS, Check, Evidence, run_checks
from cli.demo.copies import APPROVED, REFUSED, Verdict
from cli.demo.figures import OpenCopy, OrderRecord
from shared.domain.money import Side
from tests.builders import NOON, ORDER_HASH, OTHER_PROXY, PROXY, TOKEN, shares, usdc


def verdict(kind: str, *, contradicted: bool = False) -> Verdict:
    return Verdict(
        kind=kind,
        reason="" if kind == APPROVED else "halted",
        published_at=NOON,
        contradicted=contradicted,
    )


def order(
    intent_id: str = "bought", state: str = "confirmed", order_hash: str = ORDER_HASH
) -> OrderRecord:
    at: dict[str, datetime] = {"seen": NOON}
    return OrderRecord(
        intent_id=intent_id,
        order_hash=order_hash,
        proxy=PROXY,
        side=Side.BUY,
        state=state,
        reason="",
        leader_price=Decimal("0.50"),
        shares=shares(10),
        usdc=usdc(5),
        at=at,
    )


GOOD = Evidence(
    leader_trades_made=2,
    leader_trades_on_chain=frozenset({"t1", "t2"}),
    leader_trades_seen=frozenset({"t1", "t2"}),
    intents=frozenset({"bought", "halted"}),
    verdicts={"bought": verdict(APPROVED), "halted": verdict(REFUSED)},
    verdicts_recorded=frozenset({"bought", "halted"}),
    orders=(order(),),
    venue_matches=1,
    fills_on_chain=frozenset({ORDER_HASH}),
    positions={(PROXY, TOKEN): shares(10)},
    positions_of_follows={(PROXY, TOKEN): shares(10)},
    positions_on_chain={(PROXY, TOKEN): shares(10), (OTHER_PROXY, TOKEN): 0},
    cash={PROXY: -usdc(5)},
    cash_on_chain={PROXY: -usdc(5), OTHER_PROXY: 0},
    dead_letters=(),
    open_copies=(),
    unfinished=(),
)

UNRESOLVED = OpenCopy(
    intent_id="bought",
    proxy=PROXY,
    token_id=TOKEN,
    order_hash=ORDER_HASH,
    state="unknown",
    why="no answer came",
)


def test_all_checks_hold_where_all_sources_agree() -> None:
    assert [check.name for check in run_checks(GOOD) if not check.held] == []
    assert len(run_checks(GOOD)) == 10


BAD: list[tuple[Callable[[Evidence], Check], Evidence, str]] = [
    (
        checks.follows_add_up,
        replace(GOOD, positions_of_follows={(PROXY, TOKEN): shares(9)}),
        "positions 10.000000, follows 9.000000",
    ),
    (
        checks.every_leader_trade_was_seen,
        replace(GOOD, leader_trades_seen=frozenset({"t1"})),
        "1 on the chain, never seen: t2",
    ),
    (
        checks.every_leader_trade_was_seen,
        replace(GOOD, leader_trades_seen=frozenset({"t1", "t2", "t3"})),
        "1 seen, not on the chain: t3",
    ),
    (
        checks.every_leader_trade_was_seen,
        replace(GOOD, leader_trades_made=3),
        "the venue counts 3, the chain has 2",
    ),
    (
        checks.every_leader_trade_was_seen,
        replace(
            GOOD,
            leader_trades_made=0,
            leader_trades_on_chain=frozenset(),
            leader_trades_seen=frozenset(),
        ),
        "nothing was tested",
    ),
    (
        checks.every_intent_has_one_verdict,
        replace(GOOD, intents=GOOD.intents | {"lost"}),
        "1 intended, never judged: lost",
    ),
    (
        checks.every_intent_has_one_verdict,
        replace(GOOD, intents=frozenset({"bought"})),
        "1 judged, never intended: halted",
    ),
    (
        checks.every_intent_has_one_verdict,
        replace(GOOD, verdicts_recorded=frozenset({"bought"})),
        "1 published, not recorded: halted",
    ),
    (
        checks.every_intent_has_one_verdict,
        replace(GOOD, verdicts_recorded=GOOD.intents | {"unpublished"}),
        "1 recorded, not published: unpublished",
    ),
    (
        checks.every_intent_has_one_verdict,
        replace(GOOD, verdicts={**GOOD.verdicts, "bought": verdict(APPROVED, contradicted=True)}),
        "bought: approved and refused",
    ),
    (checks.every_approval_has_one_order, replace(GOOD, orders=()), "1 approved, no order: bought"),
    (
        checks.every_approval_has_one_order,
        replace(GOOD, orders=(order(), order("halted"))),
        "1 ordered, not approved: halted",
    ),
    (
        checks.every_approval_has_one_order,
        replace(GOOD, orders=(order(), order())),
        "1 intents have more than one order",
    ),
    (
        checks.fills_agree,
        replace(GOOD, fills_on_chain=frozenset()),
        "1 ours, not on the chain",
    ),
    (
        checks.fills_agree,
        replace(GOOD, fills_on_chain=frozenset({ORDER_HASH, "stranger"})),
        "1 on the chain, not ours: stranger",
    ),
    (
        checks.fills_agree,
        replace(GOOD, venue_matches=2),
        "the venue counts 2 matches, we 1 filled and 0 failed",
    ),
    (
        checks.fills_agree,
        replace(GOOD, orders=(order(state="killed"),)),
        "1 on the chain, not ours",
    ),
    (
        checks.positions_agree,
        replace(GOOD, positions={(PROXY, TOKEN): shares(9)}),
        "ours 9.000000, chain 10.000000",
    ),
    (checks.positions_agree, replace(GOOD, positions={}), "ours 0.000000, chain 10.000000"),
    (
        checks.positions_agree,
        replace(GOOD, positions={(PROXY, TOKEN): shares(9), (OTHER_PROXY, TOKEN): shares(1)}),
        "ours 1.000000, chain 0.000000",
    ),
    (
        checks.cash_agrees,
        replace(GOOD, cash={PROXY: -usdc(5) + 1}),
        "ours -4.999999, chain -5.000000",
    ),
    (
        checks.cash_agrees,
        replace(GOOD, cash_on_chain={PROXY: -usdc(5), OTHER_PROXY: 1}),
        "ours 0.000000, chain 0.000001",
    ),
    (
        checks.no_dead_letters,
        replace(GOOD, dead_letters=("pricer: not JSON",)),
        "pricer: not JSON",
    ),
    (checks.no_copy_is_unresolved, replace(GOOD, open_copies=(UNRESOLVED,)), "is unknown"),
    (
        checks.nothing_else_is_unfinished,
        replace(GOOD, unfinished=("intent a is approved",)),
        "intent a is approved",
    ),
]


@pytest.mark.parametrize(("check", "evidence", "wrong"), BAD)
def test_a_difference_fails_its_check_and_is_named(
    check: Callable[[Evidence], Check], evidence: Evidence, wrong: str
) -> None:
    result = check(evidence)

    assert not result.held
    assert any(wrong in text for text in result.wrong), result.wrong


def test_there_is_a_failing_example_of_every_check() -> None:
    assert {check for check, _, _ in BAD} == set(CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_shows_both_figures(check: Callable[[Evidence], Check]) -> None:
    result = check(GOOD)

    assert any(character.isdigit() for character in result.left)
    assert any(character.isdigit() for character in result.right)


def test_a_failed_settlement_is_a_match_at_the_venue_but_not_a_fill() -> None:
    failed = replace(
        GOOD,
        orders=(order(), order("failed", state="failed", order_hash="failed")),
        venue_matches=2,
    )

    assert checks.fills_agree(failed).held


def test_only_some_of_many_differences_are_named_and_the_rest_is_counted() -> None:
    result = checks.nothing_else_is_unfinished(
        replace(GOOD, unfinished=tuple(f"intent {number}" for number in range(10)))
    )

    assert result.wrong == ("intent 0", "intent 1", "intent 2", "and 7 more")
    assert result.right == "found 10"


@pytest.mark.parametrize("on_chain", [frozenset[str](), frozenset({ORDER_HASH})])
@pytest.mark.parametrize("matches", [0, 1])
def test_both_outcomes_of_an_unresolved_copy_are_accepted(
    on_chain: frozenset[str], matches: int
) -> None:
    unresolved = replace(
        GOOD,
        open_copies=(UNRESOLVED,),
        orders=(order(state="unknown"),),
        fills_on_chain=on_chain,
        venue_matches=matches,
        positions={},
        cash={},
    )

    assert [check.name for check in run_checks(unresolved) if not check.held] == [
        "no copy is unresolved"
    ]
    assert "(1 unresolved left out)" in checks.fills_agree(unresolved).right


def test_an_unresolved_copy_excuses_no_other_difference() -> None:
    stranger = replace(
        GOOD,
        open_copies=(UNRESOLVED,),
        fills_on_chain=GOOD.fills_on_chain | {"stranger"},
        positions_on_chain={**GOOD.positions_on_chain, (OTHER_PROXY, TOKEN): 1},
        cash_on_chain={**GOOD.cash_on_chain, OTHER_PROXY: -1},
        venue_matches=3,
    )

    assert len([check for check in run_checks(stranger) if not check.held]) == 4
