"""Properties of every approval: it never exceeds a limit."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import event, given
from hypothesis import strategies as st

from services.preflight.decisions import (
    judge,
    reserved_usdc,
)
from shared.domain.money import CENT, MIN_BUY_USDC, Side, cost_floor
from shared.domain.prices import adverse_bps
from shared.messages.intents import (
    IntentApproved,
)
from tests.builders import a_follow, a_quote, levels, quoted, shares, usdc
from tests.unit.preflight.test_decisions import LIMITS, RICH, sale, some_facts, with_funds

PRICES = st.integers(1, 99).map(lambda cent: Decimal(cent).scaleb(-2))


@given(
    leader=PRICES,
    cents_above=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    amount=st.integers(usdc(1), usdc(1100)),
    bounds=st.lists(st.integers(usdc(1), usdc(3000)), min_size=3, max_size=3),
    commitments=st.tuples(st.integers(0, usdc(20)), st.integers(0, usdc(20))),
    slippage=st.integers(0, 5000).map(Decimal),
    fee_rate=st.sampled_from(["0", "0.04", "0.07"]).map(Decimal),
)
def test_an_approved_entry_never_exceeds_slippage_balance_allowance_cap_or_maximum(
    leader: Decimal,
    cents_above: list[int],
    amount: int,
    bounds: list[int],
    commitments: tuple[int, int],
    slippage: Decimal,
    fee_rate: Decimal,
) -> None:
    (balance, allowance, cap), (reserved, spent) = bounds, commitments
    highest = Decimal("0.99")  # an ask is always below 1
    offers = levels(
        *(
            (str(min(leader + Decimal(cents).scaleb(-2), highest)), 10_000)
            for cents in sorted(cents_above)
        )
    )
    quote = a_quote(levels=offers, shares=shares(10_000), usdc=amount, fee_rate=fee_rate)
    funds = replace(
        RICH, usdc=balance, reserved_usdc=reserved, allowance=allowance, spent_today=spent
    )
    follow = a_follow(max_slippage_bps=slippage, daily_cap_usdc=cap)

    verdict = judge(
        some_facts(
            quoted=quoted(quote, leader_price=leader, usdc=amount), follow=follow, funds=funds
        )
    )

    event(type(verdict).__name__)
    if isinstance(verdict, IntentApproved):
        largest_fee = fee_rate * verdict.usdc * (1 - offers[0].price)
        assert MIN_BUY_USDC <= verdict.usdc <= min(amount, LIMITS.max_trade_usdc)
        assert (
            verdict.usdc + largest_fee
            <= reserved_usdc(verdict)
            <= min(balance - reserved, allowance)
        )
        assert spent + verdict.usdc <= cap
        assert offers[-1].price <= verdict.limit_price
        assert adverse_bps(Side.BUY, reference=leader, offered=verdict.limit_price) <= slippage


@given(
    requested=st.integers(1, 10**9),
    held=st.integers(0, 10**9),
    reserved=st.integers(0, 10**9),
    balance=st.integers(0, 10**9),
    leader=PRICES,
)
def test_an_approved_exit_never_sells_more_than_requested_or_unreserved(
    requested: int, held: int, reserved: int, balance: int, leader: Decimal
) -> None:
    quote = a_quote(
        levels=levels((str(leader), 10_000)), shares=requested, usdc=cost_floor(requested, leader)
    )
    facts = replace(
        sale(requested, held=held, reserved=reserved),
        quoted=quoted(quote, side=Side.SELL, leader_price=leader, shares=requested),
    )

    verdict = judge(with_funds(facts, shares=balance))

    if isinstance(verdict, IntentApproved):
        assert 0 < verdict.shares <= min(requested, held - reserved, balance)
        assert verdict.shares % CENT == 0
        assert reserved_usdc(verdict) == 0
