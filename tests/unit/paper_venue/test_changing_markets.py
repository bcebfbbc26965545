"""Markets that change: a new tick, a resolution, new best prices."""

import pytest

from services.paper_venue.exchange.matching_engine import Refused
from services.paper_venue.exchange.orders import Side
from tests.unit.paper_venue.builders import MARKET, NO, USDC, YES, a_spend, an_order
from tests.unit.paper_venue.venue_harness import NOW, DelayingVenue, VenueHarness

CONDITION = MARKET.condition_id


def test_a_new_tick_applies_to_new_orders_and_is_published_before_the_books() -> None:
    harness = VenueHarness(an_order(Side.BUY, price=4_100))
    harness.channels.market.clear()

    harness.venue.on_tick_size_changed(CONDITION, 10, NOW)

    assert [(event["event_type"], event["asset_id"]) for event in harness.channels.market] == [
        ("tick_size_change", YES),
        ("tick_size_change", NO),
        ("book", YES),
        ("book", NO),
    ]
    assert (
        harness.channels.market[0]["old_tick_size"],
        harness.channels.market[0]["new_tick_size"],
    ) == (
        "0.01",
        "0.001",
    )
    assert harness.channels.market[2]["tick_size"] == "0.001"
    assert isinstance(harness.post(an_order(Side.BUY, price=4_010)), tuple)


def test_resting_orders_of_a_finer_tick_keep_their_price_and_trade_at_it() -> None:
    harness = VenueHarness()
    harness.venue.on_tick_size_changed(CONDITION, 10, NOW)
    harness.post(an_order(Side.SELL, price=4_010, maker="0xB"))
    harness.venue.on_tick_size_changed(CONDITION, 100, NOW)

    result = harness.post(an_order(Side.BUY, price=4_100))

    assert isinstance(result, tuple)
    assert result[0].match.fills[0].price == 4_010
    refused = harness.post(an_order(Side.SELL, price=4_010, id="0x1"))
    assert isinstance(refused, Refused)
    assert "breaks minimum tick size rule: 0.01" in refused.text


def test_a_resolved_market_cancels_all_orders_and_accepts_none() -> None:
    harness = DelayingVenue(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.post(a_spend(10 * USDC))

    harness.venue.on_market_resolved(CONDITION, 1, 0, NOW)

    assert (
        harness.user_events("key-of-0xA")[-1]
        == harness.user_events("key-of-0xB")[-1]
        == ("CANCELLATION", "CANCELED_MARKET_RESOLVED")
    )
    assert (harness.engine.resting, harness.engine.held) == ({}, {})
    assert harness.engine.resolution(CONDITION) == (1, 0)
    refused = harness.post(an_order(Side.BUY, price=4_000))
    assert isinstance(refused, Refused)
    assert refused.text == f"the orderbook {YES} does not exist"
    harness.venue.on_timer(NOW + 1_000)
    assert harness.settlements.submitted == []
    for wallet in ("0xA", "0xB"):
        account = harness.engine.accounts.get(wallet)
        assert (account.reserved_collateral, account.reserved_shares.get(YES, 0)) == (0, 0)


@pytest.mark.parametrize(
    ("yes", "no", "winner"),
    [(1, 0, (YES, "Yes")), (0, 1, (NO, "No")), (1, 1, ("", ""))],
    ids=["win", "loss", "split"],
)
def test_a_resolution_names_the_winner_if_there_is_one(
    yes: int, no: int, winner: tuple[str, str]
) -> None:
    harness = VenueHarness()

    harness.venue.on_market_resolved(CONDITION, yes, no, NOW)

    (event,) = harness.channels.market
    assert (event["event_type"], event["winning_asset_id"], event["winning_outcome"]) == (
        "market_resolved",
        *winner,
    )


def test_best_prices_are_published_only_when_they_change() -> None:
    harness = VenueHarness(an_order(Side.BUY, price=4_000))
    best = [event for event in harness.channels.market if event["event_type"] == "best_bid_ask"]
    assert [
        (event["asset_id"], event["best_bid"], event["best_ask"], event["spread"]) for event in best
    ] == [
        (YES, "0.4", "1", "0.6"),
        (NO, "0", "0.6", "0.6"),
    ]

    harness.channels.market.clear()
    harness.post(an_order(Side.BUY, price=4_000, maker="0xB"))

    assert [event["event_type"] for event in harness.channels.market] == ["price_change"]
