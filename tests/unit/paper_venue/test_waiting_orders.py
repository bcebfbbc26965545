"""Orders that are delayed, and orders that expire: their events are the venue's."""

from decimal import Decimal

import pytest

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.matching_engine import Refused
from services.paper_venue.exchange.orders import OrderKind, Side
from services.paper_venue.faults.catalogue import Fault, FaultOptions
from tests.unit.paper_venue.builders import SHARE, USDC, a_spend, an_order, rich
from tests.unit.paper_venue.venue_harness import NOW, DelayingVenue, VenueHarness


@pytest.mark.parametrize(
    ("kind", "expiration", "accepted"),
    [
        (OrderKind.GTD, NOW // 1000 + 60, True),
        (OrderKind.GTD, NOW // 1000 + 59, False),
        (OrderKind.GTD, 0, False),
        (OrderKind.GTC, NOW // 1000 + 100, False),
        (OrderKind.FOK, NOW // 1000 + 100, False),
        (OrderKind.FAK, NOW // 1000 + 100, False),
    ],
)
def test_only_gtd_orders_expire_and_not_within_a_minute(
    kind: OrderKind, expiration: int, accepted: bool
) -> None:
    result = VenueHarness().post(an_order(Side.BUY, price=4_000, kind=kind, expiration=expiration))

    if accepted:
        assert isinstance(result, tuple)
    else:
        assert isinstance(result, Refused)
        assert result.text == "invalid expiration"


def test_a_gtd_order_leaves_the_book_when_it_expires() -> None:
    harness = VenueHarness()
    harness.post(an_order(Side.BUY, price=4_000, kind=OrderKind.GTD, expiration=NOW // 1000 + 60))

    harness.venue.on_timer(NOW + 59_999)
    assert len(harness.engine.resting) == 1
    harness.venue.on_timer(NOW + 60_000)

    assert harness.engine.resting == {}
    assert harness.user_events("key-of-0xA") == [
        ("PLACEMENT", "LIVE"),
        ("CANCELLATION", "CANCELED"),
    ]
    assert harness.engine.accounts.get("0xA").reserved_collateral == 0
    assert harness.channels.user[-1][1]["expiration"] == str(NOW // 1000 + 60)
    assert harness.last_level() == ("0.4", "0")


def test_a_cancelled_gtd_order_does_not_expire() -> None:
    harness = VenueHarness()
    harness.post(an_order(Side.BUY, price=4_000, kind=OrderKind.GTD, expiration=NOW // 1000 + 60))
    (order_id,) = harness.engine.resting
    harness.venue.on_cancel(order_id, owner="key-of-0xA", now_ms=NOW)
    published = len(harness.channels.user)

    harness.venue.on_timer(NOW + 60_000)

    assert len(harness.channels.user) == published


def test_a_delayed_order_matches_when_its_delay_is_over() -> None:
    harness = DelayingVenue(an_order(Side.SELL, price=5_000, maker="0xB"))

    result = harness.post(a_spend(10 * USDC))
    assert isinstance(result, tuple)
    assert (result[0].status, result[1]) == ("delayed", None)
    harness.venue.on_timer(NOW + 149)
    assert harness.settlements.submitted == []
    harness.venue.on_timer(NOW + 150)

    (trade,) = harness.settlements.submitted
    assert trade.matched_at_ms == NOW + 150
    assert harness.user_events("key-of-0xA") == [
        ("PLACEMENT", "DELAYED"),
        ("UPDATE", "MATCHED"),
        ("TRADE", "MATCHED"),
    ]
    assert harness.engine.held == {}


def test_a_delayed_order_reserves_and_cannot_be_cancelled_nor_posted_again() -> None:
    harness = DelayingVenue(an_order(Side.SELL, price=5_000, maker="0xB"))
    order = a_spend(10 * USDC)
    harness.post(order)
    (order_id,) = harness.engine.held

    assert harness.engine.accounts.get("0xA").reserved_collateral == 10 * USDC
    assert harness.venue.on_cancel(order_id, owner="key-of-0xA", now_ms=NOW) == rules.DELAYED_STAYS
    assert harness.venue.on_cancel(order_id, owner="key-of-0xB", now_ms=NOW) != rules.DELAYED_STAYS
    again = harness.post(order)
    assert isinstance(again, Refused)
    assert again.text == rules.duplicated(order_id)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        (OrderKind.FOK, f"CANCELED_{rules.FOK_KILLED}"),
        (OrderKind.FAK, f"CANCELED_{rules.FAK_KILLED}"),
        (OrderKind.GTC, "UNMATCHED"),
    ],
)
def test_a_delayed_order_whose_counterparty_left_is_killed_or_rests(
    kind: OrderKind, ending: str
) -> None:
    selling = an_order(Side.SELL, price=5_000, maker="0xB")
    harness = DelayingVenue(selling)
    harness.post(an_order(Side.BUY, price=5_000, kind=kind))
    harness.venue.on_cancel(next(iter(harness.engine.resting)), owner="key-of-0xB", now_ms=NOW)

    harness.venue.on_timer(NOW + 150)

    assert harness.user_events("key-of-0xA")[-1][1] == ending
    assert len(harness.engine.resting) == (1 if kind.may_rest else 0)
    assert harness.engine.accounts.get("0xA").reserved_collateral == (
        50 * USDC if kind.may_rest else 0
    )
    assert harness.settlements.submitted == []


def test_delayed_orders_match_in_the_order_in_which_they_came() -> None:
    harness = DelayingVenue(an_order(Side.SELL, price=5_000, shares=20 * SHARE, maker="0xB"))
    harness.post(an_order(Side.BUY, price=5_000, shares=20 * SHARE, kind=OrderKind.FOK), now_ms=NOW)
    harness.post(
        an_order(Side.BUY, price=5_000, shares=20 * SHARE, kind=OrderKind.FOK, maker="0xC"),
        now_ms=NOW + 1,
    )

    harness.venue.on_timer(NOW + 500)

    (trade,) = harness.settlements.submitted
    assert trade.match.taker.maker == "0xA"
    assert harness.user_events("key-of-0xC")[-1] == ("CANCELLATION", f"CANCELED_{rules.FOK_KILLED}")


def test_an_order_that_would_not_match_is_not_delayed() -> None:
    result = DelayingVenue().post(an_order(Side.BUY, price=4_000))

    assert isinstance(result, tuple)
    assert result[0].status == "live"


def test_the_fault_delayed_holds_an_order_for_its_seconds() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.faults.set({Fault.DELAYED: FaultOptions(seconds=Decimal("1.5"))})

    harness.post(a_spend(10 * USDC))
    harness.venue.on_timer(NOW + 1_499)
    assert harness.settlements.submitted == []
    harness.venue.on_timer(NOW + 1_500)

    assert len(harness.settlements.submitted) == 1


def test_a_delayed_order_without_funds_is_cancelled() -> None:
    harness = DelayingVenue(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.post(a_spend(10 * USDC))
    harness.engine.accounts.refresh("0xA", rich(collateral=5 * USDC))

    harness.venue.on_timer(NOW + 150)

    assert harness.user_events("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")
    assert harness.settlements.submitted == []
