"""An order is matched, its settlement signed, and its events published in the venue's order, with
one transaction hash.
"""

import orjson

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.matching import MatchKind
from services.paper_venue.exchange.matching_engine import Refused
from services.paper_venue.exchange.orders import Side
from services.paper_venue.exchange.trades import TradeFilter, TradeStatus
from tests.unit.paper_venue.builders import NO, SHARE, USDC, YES, a_spend, an_order
from tests.unit.paper_venue.venue_harness import NOW, VenueHarness


def test_a_match_is_settled_with_the_contracts_arguments() -> None:
    selling = an_order(Side.SELL, price=5_000, shares=20 * SHARE, maker="0xB")
    minting = an_order(Side.BUY, token=NO, price=5_000, shares=100 * SHARE, maker="0xB")
    harness = VenueHarness(selling, minting)

    harness.post(a_spend(50 * USDC))

    (settlement,) = harness.settlements.settler.signed
    assert [order.salt for order in settlement.makers] == [selling.signed.salt, minting.signed.salt]
    assert (settlement.taker_fill, settlement.maker_fills) == (50 * USDC, (20 * SHARE, 40 * USDC))
    assert (settlement.taker_fee, settlement.maker_fees) == (USDC, (0, 0))


def test_all_events_of_a_match_carry_the_same_transaction_hash() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))

    harness.post(a_spend(10 * USDC))

    trade_hash = harness.settlements.submitted[0].transaction_hash
    assert [row["proxyWallet"] for row in harness.channels.activity] == ["0xA", "0xB"]
    assert {row["transactionHash"] for row in harness.channels.activity} == {trade_hash}
    assert [event["event_type"] for event in harness.channels.market[-3:]] == [
        "last_trade_price",
        "book",
        "book",
    ]
    assert harness.channels.market[-3]["transaction_hash"] == trade_hash
    assert harness.user_event_types("key-of-0xA") == [("order", "MATCHED"), ("trade", "MATCHED")]
    assert harness.user_event_types("key-of-0xB") == [
        ("order", "LIVE"),
        ("order", "LIVE"),
        ("trade", "MATCHED"),
    ]


def test_the_activity_row_of_a_maker_of_the_other_outcome_shows_his_own_side() -> None:
    harness = VenueHarness(an_order(Side.BUY, token=NO, price=4_000, maker="0xB"))

    harness.post(an_order(Side.BUY, price=6_000, shares=10 * SHARE))

    taker, maker = (orjson.loads(orjson.dumps(row)) for row in harness.channels.activity)
    assert (taker["asset"], taker["side"], str(taker["price"])) == (YES, "BUY", "0.6")
    assert (maker["asset"], maker["side"], str(maker["price"])) == (NO, "BUY", "0.4")
    assert harness.settlements.submitted[0].match.fills[0].kind is MatchKind.MINT


def test_a_resting_order_changes_a_level_and_settles_nothing() -> None:
    harness = VenueHarness(an_order(Side.BUY, price=4_000))

    assert [event["event_type"] for event in harness.channels.market] == [
        "price_change",
        "best_bid_ask",
        "best_bid_ask",
    ]
    assert harness.settlements.submitted == []


def test_a_forged_order_is_refused_before_it_reaches_the_book() -> None:
    harness = VenueHarness()

    assert harness.post(an_order(), signature="0xforged") == rules.INVALID_SIGNATURE
    assert harness.engine.resting == {}
    assert harness.venue.stats["rejected"] == 1


def test_a_kill_is_published_to_the_orders_owner() -> None:
    harness = VenueHarness()

    assert isinstance(harness.post(a_spend(10 * USDC)), Refused)
    ((owner, event),) = harness.channels.user
    assert (owner, event["size_matched"], event["status"]) == (
        "key-of-0xA",
        "",
        f"CANCELED_{rules.FAK_KILLED}",
    )


def test_a_trade_ends_confirmed() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.post(a_spend(10 * USDC))
    (trade,) = harness.settlements.submitted

    harness.venue.on_mined(trade, block=5, now_ms=NOW + 1)
    harness.venue.on_confirmed(trade, now_ms=NOW + 2)

    assert [
        status for kind, status in harness.user_event_types("key-of-0xA") if kind == "trade"
    ] == [
        "MATCHED",
        "MINED",
        "CONFIRMED",
    ]
    assert (
        next(harness.venue.publisher.trades.find("key-of-0xB", TradeFilter())).status
        is TradeStatus.CONFIRMED
    )


def test_a_settlement_that_reverts_is_undone() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    before = {wallet: harness.engine.accounts.get(wallet).collateral for wallet in ("0xA", "0xB")}
    harness.post(a_spend(10 * USDC))
    (trade,) = harness.settlements.submitted

    harness.venue.on_failed(trade, now_ms=NOW + 1)

    assert {
        wallet: harness.engine.accounts.get(wallet).collateral for wallet in ("0xA", "0xB")
    } == before
    assert harness.user_event_types("key-of-0xA")[-1] == ("trade", "FAILED")


def test_only_its_owner_can_cancel_an_order() -> None:
    order = an_order(Side.BUY, price=4_000)
    harness = VenueHarness(order)
    (order_id,) = harness.engine.resting

    assert harness.venue.on_cancel(order_id, owner="key-of-0xB", now_ms=NOW) is not None
    assert harness.venue.on_cancel(order_id, owner="key-of-0xA", now_ms=NOW) is None
    assert harness.engine.resting == {}


def test_only_a_trades_owners_see_it() -> None:
    harness = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    harness.post(a_spend(10 * USDC))
    (trade,) = harness.settlements.submitted

    assert list(harness.venue.publisher.trades.find("key-of-0xC", TradeFilter(id=trade.id))) == []
    assert list(harness.venue.publisher.trades.find("key-of-0xA", TradeFilter(id=trade.id))) == [
        trade
    ]
    assert (
        list(harness.venue.publisher.trades.find("key-of-0xA", TradeFilter(after=NOW // 1000)))
        == []
    )


async def test_an_unknown_wallet_is_read_from_the_chain_once() -> None:
    harness = VenueHarness()

    await harness.venue.ensure_wallet_loaded("0xNew")
    await harness.venue.ensure_wallet_loaded("0xNew")

    assert harness.chain.reads == ["0xNew"]
