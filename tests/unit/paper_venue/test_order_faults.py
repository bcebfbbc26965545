"""The events of an order and of its settlement under faults are the venue's."""

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
def test_an_order_killed_by_the_fault_has_traded_a_third(kind: OrderKind, text: str) -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.faults.set({Fault.KILLED_PARTIAL: FaultOptions()})

    result = harness.post(a_spend(30 * USDC, kind=kind))

    assert isinstance(result, Refused)
    assert (result.text, result.is_killed) == (text, True)
    (trade,) = harness.settlements.submitted
    assert trade.match.making_amount == 10 * USDC
    assert harness.user_events("key-of-0xA") == [
        ("CANCELLATION", f"CANCELED_{text}"),
        ("TRADE", "MATCHED"),
    ]
    assert harness.user_events("key-of-0xB")[-2:] == [("UPDATE", "LIVE"), ("TRADE", "MATCHED")]


def test_an_order_that_would_be_killed_anyway_is_no_chance_for_the_fault() -> None:
    harness = VenueHarness()
    harness.faults.set({Fault.KILLED_PARTIAL: FaultOptions(times=1)})

    harness.post(a_spend(30 * USDC))

    assert harness.faults.strike_counts[Fault.KILLED_PARTIAL] == 0


def test_order_events_may_have_empty_sizes() -> None:
    harness = VenueHarness()
    harness.faults.set({Fault.EMPTY_SIZE_MATCHED: FaultOptions()})

    harness.post(an_order(Side.BUY, price=4_000))

    ((_, event),) = harness.channels.user
    assert (event["size_matched"], event["created_at"]) == ("", "")


def test_the_venues_own_traders_are_affected_only_when_named() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.faults.exempt(["0xa"])
    harness.faults.set({Fault.DELAYED: FaultOptions()})
    assert isinstance(harness.post(a_spend(10 * USDC)), tuple)
    assert len(harness.settlements.submitted) == 1

    harness.faults.set({Fault.DELAYED: FaultOptions(only="0xA")})
    harness.post(a_spend(10 * USDC))

    assert len(harness.engine.held) == 1


def test_a_retried_settlement_is_published_under_its_new_hash() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.post(a_spend(10 * USDC))
    (trade,) = harness.settlements.submitted
    before = harness.engine.accounts.get("0xA").collateral

    harness.venue.on_retrying(trade, "0xnew", now_ms=NOW + 1)

    assert (trade.status, harness.channels.user[-1][1]["status"]) == (
        TradeStatus.RETRYING,
        "RETRYING",
    )
    assert harness.channels.user[-1][1]["transaction_hash"] == "0xnew"
    assert harness.engine.accounts.get("0xA").collateral == before
