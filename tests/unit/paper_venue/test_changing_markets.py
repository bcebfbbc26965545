"""Markets that change: a new tick, an end, other best prices."""

import pytest

from services.paper_venue.exchange.matching_engine import Refused
from services.paper_venue.exchange.orders import Side
from tests.unit.paper_venue.builders import MARKET, NO, USDC, YES, a_spend, an_order
from tests.unit.paper_venue.venue_harness import NOW, DelayingVenue, VenueHarness

CONDITION = MARKET.condition_id


def test_a_new_tick_binds_new_orders_and_is_told_before_the_books() -> None:
    scene = VenueHarness(an_order(Side.BUY, price=4_100))
    scene.channels.market.clear()

    scene.venue.on_tick_size_changed(CONDITION, 10, NOW)

    assert [(event["event_type"], event["asset_id"]) for event in scene.channels.market] == [
        ("tick_size_change", YES),
        ("tick_size_change", NO),
        ("book", YES),
        ("book", NO),
    ]
    assert (
        scene.channels.market[0]["old_tick_size"],
        scene.channels.market[0]["new_tick_size"],
    ) == (
        "0.01",
        "0.001",
    )
    assert scene.channels.market[2]["tick_size"] == "0.001"
    assert isinstance(scene.post(an_order(Side.BUY, price=4_010)), tuple)


def test_orders_of_a_finer_tick_keep_their_price_and_trade_at_it() -> None:
    scene = VenueHarness()
    scene.venue.on_tick_size_changed(CONDITION, 10, NOW)
    scene.post(an_order(Side.SELL, price=4_010, maker="0xB"))
    scene.venue.on_tick_size_changed(CONDITION, 100, NOW)

    result = scene.post(an_order(Side.BUY, price=4_100))

    assert isinstance(result, tuple)
    assert result[0].match.fills[0].price == 4_010
    refused = scene.post(an_order(Side.SELL, price=4_010, id="0x1"))
    assert isinstance(refused, Refused)
    assert "breaks minimum tick size rule: 0.01" in refused.text


def test_a_resolved_market_cancels_everything_and_takes_nothing() -> None:
    scene = DelayingVenue(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.post(a_spend(10 * USDC))

    scene.venue.on_market_resolved(CONDITION, 1, 0, NOW)

    assert (
        scene.order_events("key-of-0xA")[-1]
        == scene.order_events("key-of-0xB")[-1]
        == ("CANCELLATION", "CANCELED_MARKET_RESOLVED")
    )
    assert (scene.engine.resting, scene.engine.held) == ({}, {})
    assert scene.engine.resolution(CONDITION) == (1, 0)
    refused = scene.post(an_order(Side.BUY, price=4_000))
    assert isinstance(refused, Refused)
    assert refused.text == f"the orderbook {YES} does not exist"
    scene.venue.on_timer(NOW + 1_000)
    assert scene.settlements.submitted == []
    for wallet in ("0xA", "0xB"):
        account = scene.engine.accounts.get(wallet)
        assert (account.reserved_collateral, account.reserved_shares.get(YES, 0)) == (0, 0)


@pytest.mark.parametrize(
    ("yes", "no", "winner"),
    [(1, 0, (YES, "Yes")), (0, 1, (NO, "No")), (1, 1, ("", ""))],
    ids=["win", "loss", "split"],
)
def test_a_resolution_names_the_winner_if_there_is_one(
    yes: int, no: int, winner: tuple[str, str]
) -> None:
    scene = VenueHarness()

    scene.venue.on_market_resolved(CONDITION, yes, no, NOW)

    (event,) = scene.channels.market
    assert (event["event_type"], event["winning_asset_id"], event["winning_outcome"]) == (
        "market_resolved",
        *winner,
    )


def test_best_prices_are_told_when_they_change_and_only_then() -> None:
    scene = VenueHarness(an_order(Side.BUY, price=4_000))
    best = [event for event in scene.channels.market if event["event_type"] == "best_bid_ask"]
    assert [
        (event["asset_id"], event["best_bid"], event["best_ask"], event["spread"]) for event in best
    ] == [
        (YES, "0.4", "1", "0.6"),
        (NO, "0", "0.6", "0.6"),
    ]

    scene.channels.market.clear()
    scene.post(an_order(Side.BUY, price=4_000, maker="0xB"))

    assert [event["event_type"] for event in scene.channels.market] == ["price_change"]
