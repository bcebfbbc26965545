"""The numbers of the worked example in docs/architecture.md are those that the code computes."""

from decimal import Decimal

from shared.domain.books import Level, spend
from shared.domain.follows import Follow
from shared.domain.money import MICROS, Side, as_decimal, cost_ceiling, cost_floor, shares_for
from shared.domain.prices import adverse_bps, limit_price
from tests.unit.docs.tables import DOCS

PRICE, WORST, TICK, FEE_RATE = Decimal("0.52"), Decimal("0.53"), Decimal("0.01"), Decimal("0.04")
FOLLOW = Follow(
    follow_id="follow",
    version=1,
    leader="leader",
    proxy="proxy",
    percent=Decimal(10),
    fixed_usdc=None,
    min_usdc=1 * MICROS,
    max_usdc=100 * MICROS,
    max_slippage_bps=Decimal(300),
    daily_cap_usdc=500 * MICROS,
)
ASKS = (Level(PRICE, 30 * MICROS), Level(WORST, 200 * MICROS))
PAGE = (DOCS / "architecture.md").read_text()


def test_the_copy_is_sized_quoted_and_limited_as_the_page_says() -> None:
    usdc = FOLLOW.copy_usdc(cost_floor(500 * MICROS, PRICE))
    walk = spend(ASKS, usdc)
    assert walk is not None
    slippage = adverse_bps(Side.BUY, reference=PRICE, offered=WORST)
    limit = limit_price(Side.BUY, reference=PRICE, slippage_bps=Decimal(300), tick=TICK)

    assert (usdc, shares_for(usdc, PRICE)) == (26 * MICROS, 50 * MICROS)
    assert (walk.usdc, walk.complete, walk.worst, limit) == (usdc, True, WORST, WORST)
    assert f"**{as_decimal(walk.shares)} shares for 26.00 USDC**" in PAGE
    assert f"{walk.levels[1].shares / Decimal(MICROS)} at 0.53" in PAGE
    assert f"{slippage:.1f} bps above 0.52" in PAGE
    assert f"**{as_decimal(usdc + cost_ceiling(usdc, FEE_RATE)):.2f} USDC** of 1,000" in PAGE


def test_the_fee_is_estimated_as_the_page_says() -> None:
    walk = spend(ASKS, 26 * MICROS)
    assert walk is not None
    fees = [
        (as_decimal(level.shares) * FEE_RATE * level.price * (1 - level.price)).quantize(
            Decimal("0.00001")
        )
        for level in walk.levels
    ]

    assert f"{fees[0]} + {fees[1]} = **{sum(fees)} USDC**" in PAGE
