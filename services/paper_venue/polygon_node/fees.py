"""Fees: the base fee of the next block, tips that were paid, and the fee history. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BASE_FEE_DENOMINATOR = 64
"""Polygon's since its Delhi fork; Ethereum's, and anvil's, is 8."""
ELASTICITY = 2
"""A block may use so many times the gas at which the base fee stays."""
TIP_PERCENTILE = 60
"""Of go-ethereum's oracle for eth_maxPriorityFeePerGas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidTip:
    """What one mined transaction paid the producer, in wei per gas, and the gas that it used."""

    tip: int
    gas_used: int


def compute_next_base_fee(header: Mapping[str, Any]) -> int:
    """The base fee of the block after this one, as Polygon computes it, in wei per gas."""
    base_fee, gas_used = int(header["baseFeePerGas"], 16), int(header["gasUsed"], 16)
    target = int(header["gasLimit"], 16) // ELASTICITY
    change = base_fee * abs(gas_used - target) // target // BASE_FEE_DENOMINATOR
    if gas_used > target:
        return base_fee + max(change, 1)
    return base_fee - change


def list_paid_tips(
    header: Mapping[str, Any], receipts: Sequence[Mapping[str, Any]]
) -> list[PaidTip]:
    """What the transactions of a block paid, lowest first."""
    base_fee = int(header["baseFeePerGas"], 16)
    paid = [
        PaidTip(
            tip=max(0, int(each["effectiveGasPrice"], 16) - base_fee),
            gas_used=int(each["gasUsed"], 16),
        )
        for each in receipts
    ]
    return sorted(paid, key=lambda each: each.tip)


def compute_rewards(paid: Sequence[PaidTip], percentiles: Sequence[int | float]) -> list[int]:
    """The tip at each percentile of the gas that a block used; 0 for a block without transactions,
    as from bor. ``paid``: lowest first.
    """
    total = sum(each.gas_used for each in paid)
    rewards = []
    for percentile in percentiles:
        reward, used = 0, 0
        for each in paid:
            reward, used = each.tip, used + each.gas_used
            if used * 100 >= total * percentile:
                break
        rewards.append(reward)
    return rewards


def suggest_tip(paid: Sequence[PaidTip], *, floor: int) -> int:
    """What eth_maxPriorityFeePerGas answers from the tips of the last blocks: never below the tip
    floor.
    """
    tips = sorted(each.tip for each in paid)
    if not tips:
        return floor
    return max(floor, tips[(len(tips) - 1) * TIP_PERCENTILE // 100])
