"""What a fault does to an order and to its settlement is told as the venue tells it."""

import pytest

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.matching_engine import Refused
from services.paper_venue.exchange.orders import OrderKind, Side
from services.paper_venue.exchange.trades import TradeStatus
from services.paper_venue.faults.catalogue import Fault, FaultOptions
from tests.unit.paper_venue.builders import USDC, a_spend, an_order
from tests.unit.paper_venue.venue_harness import NOW, VenueHarness


@pytest.mark.parametrize(
    ("kind", "text"), [(OrderKind.FOK, rules.FOK_KILLED), (OrderKind.FAK, rules.FAK_KILLED)]
)
def test_a_third_of_a_killed_order_may_have_traded(kind: OrderKind, text: str) -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.faults.set({Fault.KILLED_PARTIAL: FaultOptions()})

    result = scene.post(a_spend(30 * USDC, kind=kind))

    assert isinstance(result, Refused)
    assert (result.text, result.is_killed) == (text, True)
    (trade,) = scene.settlements.submitted
    assert trade.match.making_amount == 10 * USDC
    assert scene.order_events("key-of-0xA") == [
        ("CANCELLATION", f"CANCELED_{text}"),
        ("TRADE", "MATCHED"),
    ]
    assert scene.order_events("key-of-0xB")[-2:] == [("UPDATE", "LIVE"), ("TRADE", "MATCHED")]


def test_an_order_that_would_be_killed_anyway_is_no_chance_for_the_fault() -> None:
    scene = VenueHarness()
    scene.faults.set({Fault.KILLED_PARTIAL: FaultOptions(times=1)})

    scene.post(a_spend(30 * USDC))

    assert scene.faults.strike_counts[Fault.KILLED_PARTIAL] == 0


def test_order_events_may_have_empty_sizes() -> None:
    scene = VenueHarness()
    scene.faults.set({Fault.EMPTY_SIZE_MATCHED: FaultOptions()})

    scene.post(an_order(Side.BUY, price=4_000))

    ((_, event),) = scene.channels.user
    assert (event["size_matched"], event["created_at"]) == ("", "")


def test_the_venues_own_traders_are_not_struck_unless_they_are_named() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.faults.exempt(["0xa"])
    scene.faults.set({Fault.DELAYED: FaultOptions()})
    assert isinstance(scene.post(a_spend(10 * USDC)), tuple)
    assert len(scene.settlements.submitted) == 1

    scene.faults.set({Fault.DELAYED: FaultOptions(only="0xA")})
    scene.post(a_spend(10 * USDC))

    assert len(scene.engine.held) == 1


def test_a_retried_settlement_goes_by_its_new_hash() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.post(a_spend(10 * USDC))
    (trade,) = scene.settlements.submitted
    before = scene.engine.accounts.get("0xA").collateral

    scene.venue.on_retrying(trade, "0xnew", now_ms=NOW + 1)

    assert (trade.status, scene.channels.user[-1][1]["status"]) == (
        TradeStatus.RETRYING,
        "RETRYING",
    )
    assert scene.channels.user[-1][1]["transaction_hash"] == "0xnew"
    assert scene.engine.accounts.get("0xA").collateral == before
