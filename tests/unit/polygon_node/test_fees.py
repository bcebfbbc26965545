"""The base fee follows Polygon's formula; tips are what was paid."""

import pytest

from services.paper_venue.polygon_node.fees import (
    PaidTip,
    compute_next_base_fee,
    compute_rewards,
    list_paid_tips,
    suggest_tip,
)
from tests.signed_transactions import GWEI


def a_header(gas_used: int, *, base_fee: int = 64 * GWEI) -> dict[str, str]:
    return {
        "baseFeePerGas": hex(base_fee),
        "gasUsed": hex(gas_used),
        "gasLimit": hex(60_000_000),
    }


def paid(*tips: int) -> list[PaidTip]:
    return [PaidTip(tip=each, gas_used=100) for each in tips]


@pytest.mark.parametrize(
    ("gas_used", "base_fee"),
    [
        (60_000_000, 65 * GWEI),
        (45_000_000, 64 * GWEI + GWEI // 2),
        (30_000_000, 64 * GWEI),
        (0, 63 * GWEI),
    ],
)
def test_a_full_block_raises_the_base_fee_by_a_64th_and_an_empty_one_lowers_it(
    gas_used: int, base_fee: int
) -> None:
    assert compute_next_base_fee(a_header(gas_used)) == base_fee


def test_the_base_fee_rises_by_one_wei_at_least() -> None:
    assert compute_next_base_fee(a_header(30_000_001, base_fee=7)) == 8


def test_what_was_paid_is_the_price_without_the_base_fee_lowest_first() -> None:
    receipts = [
        {"effectiveGasPrice": hex(104 * GWEI), "gasUsed": hex(21_000)},
        {"effectiveGasPrice": hex(94 * GWEI), "gasUsed": hex(50_000)},
    ]

    assert list_paid_tips(a_header(71_000), receipts) == [
        PaidTip(tip=30 * GWEI, gas_used=50_000),
        PaidTip(tip=40 * GWEI, gas_used=21_000),
    ]


def test_rewards_are_percentiles_of_the_gas_that_was_used() -> None:
    spread = [
        PaidTip(tip=1, gas_used=100),
        PaidTip(tip=2, gas_used=800),
        PaidTip(tip=9, gas_used=100),
    ]

    assert compute_rewards(spread, [0, 10, 11, 90, 91, 100]) == [1, 1, 2, 2, 9, 9]


def test_an_empty_block_rewards_nothing() -> None:
    assert compute_rewards([], [10, 60]) == [0, 0]


def test_the_suggested_tip_is_never_below_the_floor() -> None:
    assert suggest_tip([], floor=25) == 25
    assert suggest_tip(paid(1, 2, 3), floor=25) == 25
    assert suggest_tip(paid(30, 90, 40, 50, 60), floor=25) == 50
