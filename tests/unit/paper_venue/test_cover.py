"""Orders that lose their cover, or meet their own wallet: which of them goes, and which may stay."""

import pytest

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.book import RestingOrder
from services.paper_venue.exchange.matching_engine import Accepted, Refused
from services.paper_venue.exchange.orders import OrderKind, Side
from tests.unit.paper_venue.builders import NO, SHARE, USDC, YES, a_spend, an_order, rich
from tests.unit.paper_venue.venue_harness import NOW, VenueHarness


async def test_the_newest_orders_go_when_the_money_is_gone() -> None:
    scene = VenueHarness()
    for price in (4_000, 4_100, 4_200):
        scene.post(an_order(Side.BUY, price=price))
    scene.post(an_order(Side.SELL, price=6_000))
    scene.chain.collateral = 85 * USDC

    await scene.venue.refresh_wallet("0xA")
    scene.venue.on_timer(NOW + 1)

    assert [resting.order.price for resting in scene.engine.resting.values()] == [
        4_000,
        4_100,
        6_000,
    ]
    assert scene.order_events("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")


def test_money_that_a_failed_settlement_takes_back_may_be_missing() -> None:
    scene = VenueHarness(an_order(Side.BUY, price=5_000, maker="0xB"))
    scene.engine.accounts.refresh("0xA", rich(collateral=0))
    scene.post(an_order(Side.SELL, price=5_000))
    scene.post(an_order(Side.BUY, price=4_000))
    (trade,) = scene.settlements.submitted

    scene.venue.on_failed(trade, now_ms=NOW + 1)
    scene.venue.on_timer(NOW + 2)

    assert scene.order_events("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")


async def test_what_a_fresh_wallet_gets_later_counts_from_the_update_on() -> None:
    scene = VenueHarness()
    scene.chain.collateral = 0
    await scene.venue.ensure_wallet_loaded("0xNew")
    scene.chain.collateral = 100 * USDC
    await scene.venue.ensure_wallet_loaded("0xNew")

    refused = scene.post(an_order(Side.BUY, maker="0xNew"))
    assert isinstance(refused, Refused)
    assert refused.text == rules.NOT_ENOUGH
    await scene.venue.refresh_wallet("0xNew")

    assert isinstance(scene.post(an_order(Side.BUY, maker="0xNew")), tuple)


def test_nobody_trades_with_himself_the_older_order_gives_way() -> None:
    own, other = (
        an_order(Side.SELL, price=5_000),
        an_order(Side.BUY, token=NO, price=4_900, maker="0xB"),
    )
    scene = VenueHarness(own, other)

    result = scene.post(an_order(Side.BUY, price=5_200, shares=120 * SHARE))

    assert isinstance(result, tuple)
    accepted = result[0]
    assert isinstance(accepted, Accepted)
    assert [fill.maker.maker for fill in accepted.match.fills] == ["0xB"]
    assert accepted.rests
    assert [resting.order.price for resting in scene.engine.resting.values()] == [5_200]
    assert ("CANCELLATION", "CANCELED") in scene.order_events("key-of-0xA")
    assert scene.engine.accounts.get("0xA").reserved_shares[YES] == 0


def test_a_killed_order_leaves_its_wallets_others_alone() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000))

    result = scene.post(a_spend(10 * USDC, kind=OrderKind.FOK))

    assert isinstance(result, Refused)
    assert result.is_killed
    assert len(scene.engine.resting) == 1


def test_a_post_only_order_does_not_cross_its_own_wallet_either() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000))

    result = scene.post(an_order(Side.BUY, price=5_000), post_only=True)

    assert isinstance(result, Refused)
    assert result.text == rules.POST_ONLY_CROSSES


@pytest.mark.parametrize("kind", [OrderKind.FOK, OrderKind.FAK])
def test_a_post_only_order_may_rest_or_is_none(kind: OrderKind) -> None:
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
def test_what_is_worth_less_than_a_base_unit_is_spent(shares: int, price: int, spent: bool) -> None:
    """Else it would stay the best price, buy nothing, and block all behind it."""
    assert RestingOrder(order=an_order(Side.BUY, price=price), remaining=shares).is_filled is spent
