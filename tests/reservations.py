"""What must be true of the recorded reservations at any time."""

WRONG_RESERVATION_SUMS = """
select each.proxy, sum(each.usdc)::bigint as too_much_usdc
from (
    select proxy, open_usdc as usdc from preflight.reservation_sums
    union all
    select proxy, -reserved_usdc from preflight.reservations where settled_at is null
) as each
group by each.proxy having sum(each.usdc) <> 0
"""
"""Empty where the sum of each follower is that of his open reservations."""
