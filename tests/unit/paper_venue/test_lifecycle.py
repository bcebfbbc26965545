"""Orders that wait, expire, are cut short or lose their cover, and markets that change: each is told as the venue tells it."""

from dataclasses import replace
from decimal import Decimal

import pytest

from services.paper_venue import rules
from services.paper_venue.book import Resting
from services.paper_venue.engine import Accepted, Refused
from services.paper_venue.faults import Fault, Strike
from services.paper_venue.orders import Order, OrderKind, Side
from services.paper_venue.trades import TradeStatus
from tests.unit.paper_venue.builders import MARKET, NO, SHARE, USDC, YES, a_spend, an_order, rich
from tests.unit.paper_venue.scene import NOW, Scene

CONDITION = MARKET.condition_id


class DelayedScene(Scene):
    """A venue whose market holds takers for 150 ms."""

    def __init__(self, *orders: Order) -> None:
        super().__init__(*orders)
        self.engine.list_market(replace(MARKET, taker_delay_ms=150))


# --- expiry ---------------------------------------------------------------------------------------------------------------


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
def test_only_gtd_orders_expire_and_not_within_a_minute(kind: OrderKind, expiration: int, accepted: bool) -> None:
    result = Scene().post(an_order(Side.BUY, price=4_000, kind=kind, expiration=expiration))

    if accepted:
        assert isinstance(result, tuple)
    else:
        assert isinstance(result, Refused)
        assert result.text == "invalid expiration"


def test_a_gtd_order_leaves_the_book_when_its_time_is_over() -> None:
    scene = Scene()
    scene.post(an_order(Side.BUY, price=4_000, kind=OrderKind.GTD, expiration=NOW // 1000 + 60))

    scene.venue.on_time(NOW + 59_999)
    assert len(scene.engine.resting) == 1
    scene.venue.on_time(NOW + 60_000)

    assert scene.engine.resting == {}
    assert scene.steps("key-of-0xA") == [("PLACEMENT", "LIVE"), ("CANCELLATION", "CANCELED")]
    assert scene.engine.accounts.of("0xA").reserved_collateral == 0
    assert scene.heard.user[-1][1]["expiration"] == str(NOW // 1000 + 60)
    assert scene.last_level() == ("0.4", "0")


def test_a_gtd_order_that_was_cancelled_does_not_expire_again() -> None:
    scene = Scene()
    scene.post(an_order(Side.BUY, price=4_000, kind=OrderKind.GTD, expiration=NOW // 1000 + 60))
    (order_id,) = scene.engine.resting
    scene.venue.on_cancel(order_id, owner="key-of-0xA", now_ms=NOW)
    told = len(scene.heard.user)

    scene.venue.on_time(NOW + 60_000)

    assert len(scene.heard.user) == told


# --- delay ----------------------------------------------------------------------------------------------------------------


def test_a_delayed_order_matches_when_its_time_has_come() -> None:
    scene = DelayedScene(an_order(Side.SELL, price=5_000, maker="0xB"))

    result = scene.post(a_spend(10 * USDC))
    assert isinstance(result, tuple)
    assert (result[0].status, result[1]) == ("delayed", None)
    scene.venue.on_time(NOW + 149)
    assert scene.settlements.followed == []
    scene.venue.on_time(NOW + 150)

    (trade,) = scene.settlements.followed
    assert trade.matched_at_ms == NOW + 150
    assert scene.steps("key-of-0xA") == [("PLACEMENT", "DELAYED"), ("UPDATE", "MATCHED"), ("TRADE", "MATCHED")]
    assert scene.engine.held == {}


def test_a_delayed_order_reserves_and_cannot_be_cancelled_nor_posted_again() -> None:
    scene = DelayedScene(an_order(Side.SELL, price=5_000, maker="0xB"))
    order = a_spend(10 * USDC)
    scene.post(order)
    (order_id,) = scene.engine.held

    assert scene.engine.accounts.of("0xA").reserved_collateral == 10 * USDC
    assert scene.venue.on_cancel(order_id, owner="key-of-0xA", now_ms=NOW) == rules.DELAYED_STAYS
    assert scene.venue.on_cancel(order_id, owner="key-of-0xB", now_ms=NOW) != rules.DELAYED_STAYS
    again = scene.post(order)
    assert isinstance(again, Refused)
    assert again.text == rules.duplicated(order_id)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(OrderKind.FOK, f"CANCELED_{rules.FOK_KILLED}"), (OrderKind.FAK, f"CANCELED_{rules.FAK_KILLED}"), (OrderKind.GTC, "UNMATCHED")],
)
def test_a_delayed_order_whose_counterparty_left_is_killed_or_rests(kind: OrderKind, ending: str) -> None:
    selling = an_order(Side.SELL, price=5_000, maker="0xB")
    scene = DelayedScene(selling)
    scene.post(an_order(Side.BUY, price=5_000, kind=kind))
    scene.venue.on_cancel(next(iter(scene.engine.resting)), owner="key-of-0xB", now_ms=NOW)

    scene.venue.on_time(NOW + 150)

    assert scene.steps("key-of-0xA")[-1][1] == ending
    assert len(scene.engine.resting) == (1 if kind.may_rest else 0)
    assert scene.engine.accounts.of("0xA").reserved_collateral == (50 * USDC if kind.may_rest else 0)
    assert scene.settlements.followed == []


def test_delayed_orders_match_in_the_order_in_which_they_came() -> None:
    scene = DelayedScene(an_order(Side.SELL, price=5_000, shares=20 * SHARE, maker="0xB"))
    scene.post(an_order(Side.BUY, price=5_000, shares=20 * SHARE, kind=OrderKind.FOK), now_ms=NOW)
    scene.post(an_order(Side.BUY, price=5_000, shares=20 * SHARE, kind=OrderKind.FOK, maker="0xC"), now_ms=NOW + 1)

    scene.venue.on_time(NOW + 500)

    (trade,) = scene.settlements.followed
    assert trade.match.taker.maker == "0xA"
    assert scene.steps("key-of-0xC")[-1] == ("CANCELLATION", f"CANCELED_{rules.FOK_KILLED}")


def test_what_rests_without_meeting_anybody_is_not_delayed() -> None:
    result = DelayedScene().post(an_order(Side.BUY, price=4_000))

    assert isinstance(result, tuple)
    assert result[0].status == "live"


def test_the_delay_fault_holds_for_its_seconds() -> None:
    scene = Scene(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.faults.set({Fault.DELAYED: Strike(seconds=Decimal("1.5"))})

    scene.post(a_spend(10 * USDC))
    scene.venue.on_time(NOW + 1_499)
    assert scene.settlements.followed == []
    scene.venue.on_time(NOW + 1_500)

    assert len(scene.settlements.followed) == 1


def test_a_delayed_order_that_is_no_longer_covered_is_cancelled() -> None:
    scene = DelayedScene(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.post(a_spend(10 * USDC))
    scene.engine.accounts.refresh("0xA", rich(collateral=5 * USDC))

    scene.venue.on_time(NOW + 150)

    assert scene.steps("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")
    assert scene.settlements.followed == []


# --- faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "text"), [(OrderKind.FOK, rules.FOK_KILLED), (OrderKind.FAK, rules.FAK_KILLED)])
def test_a_third_of_a_killed_order_may_have_traded(kind: OrderKind, text: str) -> None:
    scene = Scene(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.faults.set({Fault.KILLED_PARTIAL: Strike()})

    result = scene.post(a_spend(30 * USDC, kind=kind))

    assert isinstance(result, Refused)
    assert (result.text, result.is_killed) == (text, True)
    (trade,) = scene.settlements.followed
    assert trade.match.given == 10 * USDC
    assert scene.steps("key-of-0xA") == [("CANCELLATION", f"CANCELED_{text}"), ("TRADE", "MATCHED")]
    assert scene.steps("key-of-0xB")[-2:] == [("UPDATE", "LIVE"), ("TRADE", "MATCHED")]


def test_an_order_that_would_be_killed_anyway_is_no_chance_for_the_fault() -> None:
    scene = Scene()
    scene.faults.set({Fault.KILLED_PARTIAL: Strike(times=1)})

    scene.post(a_spend(30 * USDC))

    assert scene.faults.struck[Fault.KILLED_PARTIAL] == 0


def test_order_events_may_have_empty_sizes() -> None:
    scene = Scene()
    scene.faults.set({Fault.EMPTY_SIZE_MATCHED: Strike()})

    scene.post(an_order(Side.BUY, price=4_000))

    ((_, event),) = scene.heard.user
    assert (event["size_matched"], event["created_at"]) == ("", "")


def test_the_venues_own_traders_are_not_struck_unless_they_are_named() -> None:
    scene = Scene(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.faults.spare(["0xa"])
    scene.faults.set({Fault.DELAYED: Strike()})
    assert isinstance(scene.post(a_spend(10 * USDC)), tuple)
    assert len(scene.settlements.followed) == 1

    scene.faults.set({Fault.DELAYED: Strike(only="0xA")})
    scene.post(a_spend(10 * USDC))

    assert len(scene.engine.held) == 1


def test_a_retried_settlement_goes_by_its_new_hash() -> None:
    scene = Scene(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.post(a_spend(10 * USDC))
    (trade,) = scene.settlements.followed
    before = scene.engine.accounts.of("0xA").collateral

    scene.venue.on_retrying(trade, "0xnew", now_ms=NOW + 1)

    assert (trade.status, scene.heard.user[-1][1]["status"]) == (TradeStatus.RETRYING, "RETRYING")
    assert scene.heard.user[-1][1]["transaction_hash"] == "0xnew"
    assert scene.engine.accounts.of("0xA").collateral == before


# --- the market -----------------------------------------------------------------------------------------------------------


def test_a_new_tick_binds_new_orders_and_is_told_before_the_books() -> None:
    scene = Scene(an_order(Side.BUY, price=4_100))
    scene.heard.market.clear()

    scene.venue.on_tick(CONDITION, 10, NOW)

    assert [(event["event_type"], event["asset_id"]) for event in scene.heard.market] == [
        ("tick_size_change", YES),
        ("tick_size_change", NO),
        ("book", YES),
        ("book", NO),
    ]
    assert (scene.heard.market[0]["old_tick_size"], scene.heard.market[0]["new_tick_size"]) == ("0.01", "0.001")
    assert scene.heard.market[2]["tick_size"] == "0.001"
    assert isinstance(scene.post(an_order(Side.BUY, price=4_010)), tuple)


def test_orders_of_a_finer_tick_keep_their_price_and_trade_at_it() -> None:
    scene = Scene()
    scene.venue.on_tick(CONDITION, 10, NOW)
    scene.post(an_order(Side.SELL, price=4_010, maker="0xB"))
    scene.venue.on_tick(CONDITION, 100, NOW)

    result = scene.post(an_order(Side.BUY, price=4_100))

    assert isinstance(result, tuple)
    assert result[0].match.fills[0].price == 4_010
    refused = scene.post(an_order(Side.SELL, price=4_010, id="0x1"))
    assert isinstance(refused, Refused)
    assert "breaks minimum tick size rule: 0.01" in refused.text


def test_a_resolved_market_cancels_everything_and_takes_nothing() -> None:
    scene = DelayedScene(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.post(a_spend(10 * USDC))

    scene.venue.on_resolved(CONDITION, 1, 0, NOW)

    assert scene.steps("key-of-0xA")[-1] == scene.steps("key-of-0xB")[-1] == ("CANCELLATION", "CANCELED_MARKET_RESOLVED")
    assert (scene.engine.resting, scene.engine.held) == ({}, {})
    assert scene.engine.resolution(CONDITION) == (1, 0)
    refused = scene.post(an_order(Side.BUY, price=4_000))
    assert isinstance(refused, Refused)
    assert refused.text == f"the orderbook {YES} does not exist"
    scene.venue.on_time(NOW + 1_000)
    assert scene.settlements.followed == []
    for wallet in ("0xA", "0xB"):
        account = scene.engine.accounts.of(wallet)
        assert (account.reserved_collateral, account.reserved_shares.get(YES, 0)) == (0, 0)


@pytest.mark.parametrize(
    ("yes", "no", "winner"), [(1, 0, (YES, "Yes")), (0, 1, (NO, "No")), (1, 1, ("", ""))], ids=["win", "loss", "split"]
)
def test_a_resolution_names_the_winner_if_there_is_one(yes: int, no: int, winner: tuple[str, str]) -> None:
    scene = Scene()

    scene.venue.on_resolved(CONDITION, yes, no, NOW)

    (event,) = scene.heard.market
    assert (event["event_type"], event["winning_asset_id"], event["winning_outcome"]) == ("market_resolved", *winner)


def test_best_prices_are_told_when_they_change_and_only_then() -> None:
    scene = Scene(an_order(Side.BUY, price=4_000))
    best = [event for event in scene.heard.market if event["event_type"] == "best_bid_ask"]
    assert [(event["asset_id"], event["best_bid"], event["best_ask"], event["spread"]) for event in best] == [
        (YES, "0.4", "1", "0.6"),
        (NO, "0", "0.6", "0.6"),
    ]

    scene.heard.market.clear()
    scene.post(an_order(Side.BUY, price=4_000, maker="0xB"))

    assert [event["event_type"] for event in scene.heard.market] == ["price_change"]


# --- balances -------------------------------------------------------------------------------------------------------------


async def test_the_newest_orders_go_when_the_money_is_gone() -> None:
    scene = Scene()
    for price in (4_000, 4_100, 4_200):
        scene.post(an_order(Side.BUY, price=price))
    scene.post(an_order(Side.SELL, price=6_000))
    scene.chain.collateral = 85 * USDC

    await scene.venue.refresh("0xA")
    scene.venue.on_time(NOW + 1)

    assert [resting.order.price for resting in scene.engine.resting.values()] == [4_000, 4_100, 6_000]
    assert scene.steps("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")


def test_money_that_a_failed_settlement_takes_back_may_be_missing() -> None:
    scene = Scene(an_order(Side.BUY, price=5_000, maker="0xB"))
    scene.engine.accounts.refresh("0xA", rich(collateral=0))
    scene.post(an_order(Side.SELL, price=5_000))
    scene.post(an_order(Side.BUY, price=4_000))
    (trade,) = scene.settlements.followed

    scene.venue.on_failed(trade, now_ms=NOW + 1)
    scene.venue.on_time(NOW + 2)

    assert scene.steps("key-of-0xA")[-1] == ("CANCELLATION", "CANCELED_NOT_ENOUGH_BALANCE")


async def test_what_a_fresh_wallet_gets_later_counts_from_the_update_on() -> None:
    scene = Scene()
    scene.chain.collateral = 0
    await scene.venue.know("0xNew")
    scene.chain.collateral = 100 * USDC
    await scene.venue.know("0xNew")

    refused = scene.post(an_order(Side.BUY, maker="0xNew"))
    assert isinstance(refused, Refused)
    assert refused.text == rules.NOT_ENOUGH
    await scene.venue.refresh("0xNew")

    assert isinstance(scene.post(an_order(Side.BUY, maker="0xNew")), tuple)


# --- oneself --------------------------------------------------------------------------------------------------------------


def test_nobody_trades_with_himself_the_older_order_gives_way() -> None:
    own, other = an_order(Side.SELL, price=5_000), an_order(Side.BUY, token=NO, price=4_900, maker="0xB")
    scene = Scene(own, other)

    result = scene.post(an_order(Side.BUY, price=5_200, shares=120 * SHARE))

    assert isinstance(result, tuple)
    accepted = result[0]
    assert isinstance(accepted, Accepted)
    assert [fill.maker.maker for fill in accepted.match.fills] == ["0xB"]
    assert accepted.rests
    assert [resting.order.price for resting in scene.engine.resting.values()] == [5_200]
    assert ("CANCELLATION", "CANCELED") in scene.steps("key-of-0xA")
    assert scene.engine.accounts.of("0xA").reserved_shares[YES] == 0


def test_a_killed_order_leaves_its_wallets_others_alone() -> None:
    scene = Scene(an_order(Side.SELL, price=5_000))

    result = scene.post(a_spend(10 * USDC, kind=OrderKind.FOK))

    assert isinstance(result, Refused)
    assert result.is_killed
    assert len(scene.engine.resting) == 1


def test_a_post_only_order_does_not_cross_its_own_wallet_either() -> None:
    scene = Scene(an_order(Side.SELL, price=5_000))

    result = scene.post(an_order(Side.BUY, price=5_000), post_only=True)

    assert isinstance(result, Refused)
    assert result.text == rules.POST_ONLY_CROSSES


@pytest.mark.parametrize("kind", [OrderKind.FOK, OrderKind.FAK])
def test_a_post_only_order_may_rest_or_is_none(kind: OrderKind) -> None:
    result = Scene().post(a_spend(10 * USDC, kind=kind), post_only=True)

    assert isinstance(result, Refused)
    assert result.text == rules.POST_ONLY_KIND


@pytest.mark.parametrize(
    ("shares", "price", "spent"),
    [(1_000, 5_000, True), (1_001, 5_000, False), (9_999, 1, True), (10_000, 1, False), (9_999, 9_999, True), (10_000, 9_999, False)],
)
def test_what_is_worth_less_than_a_base_unit_is_spent(shares: int, price: int, spent: bool) -> None:
    """Else it would stay the best price, buy nothing, and block all behind it."""
    assert Resting(order=an_order(Side.BUY, price=price), remaining=shares).is_spent is spent
