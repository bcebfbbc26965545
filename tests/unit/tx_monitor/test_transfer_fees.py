"""A replacement raises both fees enough for every pool, and no fee exceeds its cap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tx_monitor.decisions.fees import raise_fees, suggest_fees
from services.tx_monitor.decisions.policy import GWEI, Policy
from services.tx_monitor.decisions.transfers import Fees
from tests.unit.tx_monitor.transfer_facts import POLICY

WEI = st.integers(0, 4_000 * GWEI)


@st.composite
def draw_fees(draw: st.DrawFn) -> Fees:
    max_fee = draw(WEI)
    return Fees(max_fee=max_fee, tip=draw(st.integers(0, max_fee)))


@pytest.mark.parametrize(
    ("base_fee", "rewards", "node_tip", "expected"),
    [
        (50, [], None, (130, 30)),
        (50, [10, 20, 26], 27, (130, 30)),
        (50, [1, 40, 90], None, (140, 40)),
        (50, [40, 1, 90, 60], None, (160, 60)),
        (50, [40], 100, (210, 110)),
        (800, [30], None, (1_500, 30)),
        (2_000, [], None, (1_500, 30)),
        (10, [5_000], None, (1_500, 1_500)),
    ],
)
def test_the_suggested_fees_follow_the_chain(
    base_fee: int, rewards: list[int], node_tip: int | None, expected: tuple[int, int]
) -> None:
    fees = suggest_fees(
        base_fee=base_fee * GWEI,
        rewards=[reward * GWEI for reward in rewards],
        node_tip=None if node_tip is None else node_tip * GWEI,
        policy=POLICY,
    )

    assert fees == Fees(max_fee=expected[0] * GWEI, tip=expected[1] * GWEI)


@given(base_fee=WEI, rewards=st.lists(WEI, max_size=10), node_tip=st.none() | WEI)
def test_the_suggested_fees_keep_floor_and_cap(
    base_fee: int, rewards: list[int], node_tip: int | None
) -> None:
    fees = suggest_fees(base_fee=base_fee, rewards=rewards, node_tip=node_tip, policy=Policy())

    assert 30 * GWEI <= fees.tip <= fees.max_fee <= 1_500 * GWEI


@pytest.mark.parametrize(
    ("last", "suggested", "bumps", "cap", "expected"),
    [
        ((100, 40), (90, 30), 0, 1_500, (115, 46)),
        ((100, 40), (90, 30), 1, 1_500, (125, 50)),
        ((100, 40), (200, 30), 1, 1_500, (200, 50)),
        ((100, 40), (90, 80), 1, 1_500, (125, 80)),
        ((100, 40), (90, 30), 1, 112, (112, 50)),
        ((100, 100), (90, 30), 1, 112, (112, 112)),
        ((100, 40), (90, 30), 1, 110, (110, 50)),
        ((100, 40), (90, 30), 1, 109, None),
        ((1_500, 40), (1_500, 30), 0, 1_500, None),
        ((1_500, 40), (1_500, 30), 0, 3_000, (1_725, 46)),
        ((0, 0), (0, 0), 0, 1_500, (1, 1)),
        ((1, 1), (0, 0), 0, 1_500, (2, 2)),
    ],
)
def test_fees_are_raised_by_15_and_then_25_percent_within_the_cap(
    last: tuple[int, int],
    suggested: tuple[int, int],
    bumps: int,
    cap: int,
    expected: tuple[int, int] | None,
) -> None:
    raised = raise_fees(
        Fees(max_fee=last[0], tip=last[1]),
        Fees(max_fee=suggested[0], tip=suggested[1]),
        bumps=bumps,
        cap=cap,
    )

    assert raised == (None if expected is None else Fees(max_fee=expected[0], tip=expected[1]))


@given(last=draw_fees(), suggested=draw_fees(), bumps=st.integers(0, 9), cap=WEI)
def test_both_fees_rise_by_10_percent_or_there_is_no_attempt(
    last: Fees, suggested: Fees, bumps: int, cap: int
) -> None:
    """Invariant I5."""
    raised = raise_fees(last, suggested, bumps=bumps, cap=cap)

    if raised is None:
        assert cap * 10 < last.max_fee * 11 or cap <= last.max_fee
    else:
        assert raised.max_fee * 10 >= last.max_fee * 11
        assert raised.tip * 10 >= last.tip * 11
        assert raised.max_fee > last.max_fee
        assert raised.tip > last.tip
        assert raised.tip <= raised.max_fee <= cap
        assert raised.max_fee >= min(suggested.max_fee, cap)


@given(last=draw_fees(), suggested=draw_fees(), cap=WEI)
def test_at_the_cap_nothing_is_raised_any_more(last: Fees, suggested: Fees, cap: int) -> None:
    """Invariant I5: repeated until there is no answer, the fees end at most at the cap."""
    fees, bumps = last, 0
    while (raised := raise_fees(fees, suggested, bumps=bumps, cap=cap)) is not None:
        fees, bumps = raised, bumps + 1
        assert bumps < 500

    assert fees == last or fees.max_fee <= cap
    assert raise_fees(fees, suggested, bumps=bumps, cap=cap) is None
