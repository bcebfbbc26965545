"""`slipstream drift` shows what preflight would do about each difference."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from cli.drift import Drift, build_drift_table, compare
from services.preflight.decisions.levels import Base, HeldToken, Reading
from shared.domain.follows import GLOBAL, Mode
from shared.domain.terms import EndMode
from tests.builders import LEADER, NOON, PROXY, TOKEN, a_follow, controls, shares

BASE = Base(leader_shares=shares(1000), block_number=100, accounted_at=NOON)


def drift(leader_shares: int = 600, *, mode: Mode = Mode.ACTIVE, **changes: Any) -> Drift:
    held = HeldToken(
        follow=a_follow(),
        token_id=TOKEN,
        leader_token_id=TOKEN,
        shares=shares(50),
        is_under_way=False,
        base=BASE,
    )
    reading = Reading(
        block_number=160, block_at=NOON, leader_shares=shares(leader_shares), mined_in={}
    )
    known = controls(a_follow(), modes={GLOBAL: mode})
    return compare(replace(held, **changes), reading, known, now=NOON)


def render(*drifts: Drift, prices: dict[str, Decimal] | None = None) -> str:
    console = Console(width=400)
    with console.capture() as captured:
        console.print(build_drift_table(drifts, prices or {}))
    return captured.get()


def test_a_difference_is_shown_in_shares_and_money() -> None:
    text = render(drift(), prices={TOKEN: Decimal("0.25")})

    columns = text.splitlines()[-1].split("  ")
    cells = [cell.strip() for cell in columns if cell.strip()]
    assert cells[:-1] == [
        LEADER,
        TOKEN,
        PROXY,
        "1000",
        "100",
        "600",
        "1000",
        "50",
        "30",
        "20",
        "5",
    ]
    assert "at block 160" in text


def test_without_a_price_the_money_is_a_dash() -> None:
    assert " - " in render(drift())


@pytest.mark.parametrize(
    ("given", "sells", "happens"),
    [
        (drift(), 20, "PREFLIGHT_RECONCILE_AFTER (reconciled)"),
        (drift(1000), 0, "nothing to do"),
        (drift(mode=Mode.HALTED), 0, "halted"),
        (drift(is_under_way=True), 0, "an entry or exit is under way"),
        (drift(base=None), 0, "not compared yet"),
        (
            drift(1000, follow=a_follow(active=False, at_end=EndMode.CLOSE_OUT)),
            50,
            "all is sold",
        ),
        (drift(0, base=replace(BASE, leader_shares=0)), 50, "(leader_out)"),
    ],
)
def test_what_happens_is_shown(given: Drift, sells: int, happens: str) -> None:
    assert given.sells == shares(sells)
    assert happens in given.what_happens
    assert happens in render(given)
