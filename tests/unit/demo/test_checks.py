"""Every check holds on what agrees, and fails on what does not: a check that cannot fail checks
nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from cli.demo import checks
from cli.demo.checks import CHECKS, Check, Evidence, checked
from cli.demo.copies import APPROVED, REFUSED, Verdict
from cli.demo.figures import OpenCopy, OrderRecord
from shared.domain.money import Side
from tests.builders import NOON, ORDER_HASH, OTHER_PROXY, PROXY, TOKEN, shares, usdc


def verdict(kind: str, *, contradicted: bool = False) -> Verdict:
    return Verdict(
        kind=kind,
        reason="" if kind == APPROVED else "halted",
        told_at=NOON,
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
    verdicts_kept=frozenset({"bought", "halted"}),
    orders=(order(),),
    venue_matches=1,
    fills_on_chain=frozenset({ORDER_HASH}),
    positions={(PROXY, TOKEN): shares(10)},
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


def test_all_checks_hold_where_everybody_agrees() -> None:
    assert [check.name for check in checked(GOOD) if not check.held] == []
    assert len(checked(GOOD)) == 9


BAD: list[tuple[Callable[[Evidence], Check], Evidence, str]] = [
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
        "nothing was tried",
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
        replace(GOOD, verdicts_kept=frozenset({"bought"})),
        "1 told, not kept: halted",
    ),
    (
        checks.every_intent_has_one_verdict,
        replace(GOOD, verdicts_kept=GOOD.intents | {"silent"}),
        "1 kept, not told: silent",
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
        checks.the_venue_knows_exactly_our_fills,
        replace(GOOD, fills_on_chain=frozenset()),
        "1 ours, not on the chain",
    ),
    (
        checks.the_venue_knows_exactly_our_fills,
        replace(GOOD, fills_on_chain=frozenset({ORDER_HASH, "stranger"})),
        "1 on the chain, not ours: stranger",
    ),
    (
        checks.the_venue_knows_exactly_our_fills,
        replace(GOOD, venue_matches=2),
        "the venue counts 2 matches, we 1 filled and 0 failed",
    ),
    (
        checks.the_venue_knows_exactly_our_fills,
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
        checks.nothing_was_parked,
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
def test_what_differs_fails_its_check_and_is_named(
    check: Callable[[Evidence], Check], evidence: Evidence, wrong: str
) -> None:
    found = check(evidence)

    assert not found.held
    assert any(wrong in told for told in found.wrong), found.wrong


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _, _ in BAD} == set(CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_tells_both_figures(check: Callable[[Evidence], Check]) -> None:
    found = check(GOOD)

    assert any(character.isdigit() for character in found.left)
    assert any(character.isdigit() for character in found.right)


def test_a_failed_settlement_is_a_match_of_the_venue_and_no_fill() -> None:
    failed = replace(
        GOOD,
        orders=(order(), order("failed", state="failed", order_hash="failed")),
        venue_matches=2,
    )

    assert checks.the_venue_knows_exactly_our_fills(failed).held


def test_of_many_differences_some_are_named_and_the_rest_counted() -> None:
    found = checks.nothing_else_is_unfinished(
        replace(GOOD, unfinished=tuple(f"intent {number}" for number in range(10)))
    )

    assert found.wrong == ("intent 0", "intent 1", "intent 2", "and 7 more")
    assert found.right == "found 10"


@pytest.mark.parametrize("on_chain", [frozenset[str](), frozenset({ORDER_HASH})])
@pytest.mark.parametrize("matches", [0, 1])
def test_what_an_unresolved_copy_did_is_open_either_way(
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

    assert [check.name for check in checked(unresolved) if not check.held] == [
        "no copy is unresolved"
    ]
    assert "(1 unresolved left out)" in checks.the_venue_knows_exactly_our_fills(unresolved).right


def test_an_unresolved_copy_excuses_nobody_else() -> None:
    stranger = replace(
        GOOD,
        open_copies=(UNRESOLVED,),
        fills_on_chain=GOOD.fills_on_chain | {"stranger"},
        positions_on_chain={**GOOD.positions_on_chain, (OTHER_PROXY, TOKEN): 1},
        cash_on_chain={**GOOD.cash_on_chain, OTHER_PROXY: -1},
        venue_matches=3,
    )

    assert len([check for check in checked(stranger) if not check.held]) == 4
