"""What an attempt pays for gas, in wei. Pure."""

from collections.abc import Sequence

from services.tx_monitor.decisions.policy import Policy
from services.tx_monitor.decisions.transfers import Fees

FIRST_RAISE_PERCENT = 115
RAISE_PERCENT = 125
MIN_RAISE_PERCENT = 110
"""Pools replace a transaction only where both of its fees rise by 10 %."""
NODE_TIP_PERCENT = 110


def suggest_fees(
    *, base_fee: int, rewards: Sequence[int], node_tip: int | None, policy: Policy
) -> Fees:
    """Return the fees of a transaction that is to be in one of the next blocks.

    ``base_fee``: of the next block. ``rewards``: the tips that were paid in the last blocks, one
    for each. ``node_tip``: what the node advises; None: it does not.
    """
    tips = [policy.min_tip, _find_median(rewards)]
    if node_tip is not None:
        tips.append(_raise_by(node_tip, NODE_TIP_PERCENT))
    tip = max(tips)
    max_fee = min(2 * base_fee + tip, policy.max_fee_cap)
    return Fees(max_fee=max_fee, tip=min(tip, max_fee))


def raise_fees(last: Fees, suggested: Fees, *, bumps: int, cap: int) -> Fees | None:
    """Return the fees that replace ``last``: at least the suggested, and both at least 10 % higher.

    ``bumps``: how often the fees of this nonce were raised before. ``cap``: of the maximum fee.
    None: the cap does not allow it.
    """
    lowest = _raise_both(last, MIN_RAISE_PERCENT)
    if lowest.max_fee > cap:
        return None
    wanted = _raise_both(last, RAISE_PERCENT if bumps else FIRST_RAISE_PERCENT)
    max_fee = min(max(wanted.max_fee, suggested.max_fee), cap)
    return Fees(max_fee=max_fee, tip=min(max(wanted.tip, suggested.tip), max_fee))


def is_replacement(last: Fees, fees: Fees) -> bool:
    """Whether both fees are so much higher that every pool replaces the one by the other."""
    lowest = _raise_both(last, MIN_RAISE_PERCENT)
    return fees.max_fee >= lowest.max_fee and fees.tip >= lowest.tip


def _raise_both(fees: Fees, percent: int) -> Fees:
    return Fees(max_fee=_raise_by(fees.max_fee, percent), tip=_raise_by(fees.tip, percent))


def _raise_by(fee: int, percent: int) -> int:
    """Return the fee by so many percent, rounded up, and at least 1 wei more."""
    return max(-(-fee * percent // 100), fee + 1)


def _find_median(rewards: Sequence[int]) -> int:
    """Return the middle one, of two the higher; 0 where there is none."""
    return sorted(rewards)[len(rewards) // 2] if rewards else 0
