"""Orders whose wallet lacks funds, or that meet their own wallet: which are cancelled."""

import pytest

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.book import RestingOrder
from services.paper_venue.exchange.matching_engine import Accepted, Refused
from services.paper_venue.exchange.orders import OrderKind, Side
from tests.unit.paper_venue.builders import NO, SHARE, USDC, YES, a_spend, an_order, rich
from tests.unit.paper_venue.venue_harness import NOW, VenueHarness


async def test_the_newest_orders_are_cancelled_when_funds_are_missing() -> None:
    harness = VenueHarness()
    for price in (4_000, 4_100, 4_200):
        harness.post(an_order(Side.BUY, price=price))
    harness.post(an_order(Side.SELL, price=6_000))
    harness.chain.collateral = 85 * USDC

    await harness.venue.refresh_wallet("0xA")
    harness.venue.on_timer(NOW + 1)

    assert [resting.order.price for resting in harness.engine.resting.values()] == [
        4_000,
        4_100,
        6_000,
    ]
    assert harness.user_events("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")


def test_an_order_is_cancelled_when_a_failed_settlement_removes_its_funds() -> None:
    harness = VenueHarness(an_order(Side.BUY, price=5_000, maker="0xB"))
    harness.engine.accounts.refresh("0xA", rich(collateral=0))
    harness.post(an_order(Side.SELL, price=5_000))
    harness.post(an_order(Side.BUY, price=4_000))
    (trade,) = harness.settlements.submitted

    harness.venue.on_failed(trade, now_ms=NOW + 1)
    harness.venue.on_timer(NOW + 2)

    assert harness.user_events("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")


async def test_a_deposit_after_the_first_read_counts_from_the_balance_update_on() -> None:
    harness = VenueHarness()
    harness.chain.collateral = 0
    await harness.venue.ensure_wallet_loaded("0xNew")
    harness.chain.collateral = 100 * USDC
    await harness.venue.ensure_wallet_loaded("0xNew")

    refused = harness.post(an_order(Side.BUY, maker="0xNew"))
    assert isinstance(refused, Refused)
    assert refused.text == rules.NOT_ENOUGH
    await harness.venue.refresh_wallet("0xNew")

    assert isinstance(harness.post(an_order(Side.BUY, maker="0xNew")), tuple)


def test_no_wallet_trades_with_itself_and_the_older_order_is_cancelled() -> None:
    own, other = (
        an_order(Side.SELL, price=5_000),
        an_order(Side.BUY, token=NO, price=4_900, maker="0xB"),
    )
    harness = VenueHarness(own, other)

    result = harness.post(an_order(Side.BUY, price=5_200, shares=120 * SHARE))

    assert isinstance(result, tuple)
    accepted = result[0]
    assert isinstance(accepted, Accepted)
    assert [fill.maker.maker for fill in accepted.match.fills] == ["0xB"]
    assert accepted.rests
    assert [resting.order.price for resting in harness.engine.resting.values()] == [5_200]
    assert ("CANCELLATION", "CANCELED") in harness.user_events("key-of-0xA")
    assert harness.engine.accounts.get("0xA").reserved_shares[YES] == 0


def test_a_killed_order_does_not_cancel_its_wallets_other_orders() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000))

    result = harness.post(a_spend(10 * USDC, kind=OrderKind.FOK))

    assert isinstance(result, Refused)
    assert result.is_killed
    assert len(harness.engine.resting) == 1


def test_a_post_only_order_that_crosses_its_own_wallets_order_is_refused() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000))

    result = harness.post(an_order(Side.BUY, price=5_000), post_only=True)

    assert isinstance(result, Refused)
    assert result.text == rules.POST_ONLY_CROSSES


@pytest.mark.parametrize("kind", [OrderKind.FOK, OrderKind.FAK])
def test_a_post_only_order_of_a_kind_that_may_not_rest_is_refused(kind: OrderKind) -> None:
    result = VenueHarness().post(a_spend(10 * USDC, kind=kind), post_only=True)

    assert isinstance(result, Refused)
    assert result.text == rules.POST_ONLY_KIND


@pytest.mark.parametrize(
    ("shares", "price", "spent"),
    [
        (1_000, 5_000, True),
        (1_001, 5_000, False),
        (9_999, 1, True),
        (10_000, 1, False),
        (9_999, 9_999, True),
        (10_000, 9_999, False),
    ],
)
def test_a_remainder_worth_less_than_a_base_unit_counts_as_filled(
    shares: int, price: int, spent: bool
) -> None:
    """Else it would stay the best price, buy nothing, and block all behind it."""
    assert RestingOrder(order=an_order(Side.BUY, price=price), remaining=shares).is_filled is spent
