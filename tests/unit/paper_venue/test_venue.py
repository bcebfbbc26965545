"""An order is matched, its settlement signed, and everybody told: once, in the venue's order, with
one hash.
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
    scene = VenueHarness(selling, minting)

    scene.post(a_spend(50 * USDC))

    (settlement,) = scene.settlements.settler.signed
    assert [order.salt for order in settlement.makers] == [selling.signed.salt, minting.signed.salt]
    assert (settlement.taker_fill, settlement.maker_fills) == (50 * USDC, (20 * SHARE, 40 * USDC))
    assert (settlement.taker_fee, settlement.maker_fees) == (USDC, (0, 0))


def test_everybody_in_a_match_is_told_with_one_hash() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))

    scene.post(a_spend(10 * USDC))

    trade_hash = scene.settlements.submitted[0].transaction_hash
    assert [row["proxyWallet"] for row in scene.channels.activity] == ["0xA", "0xB"]
    assert {row["transactionHash"] for row in scene.channels.activity} == {trade_hash}
    assert [event["event_type"] for event in scene.channels.market[-3:]] == [
        "last_trade_price",
        "book",
        "book",
    ]
    assert scene.channels.market[-3]["transaction_hash"] == trade_hash
    assert scene.user_events("key-of-0xA") == [("order", "MATCHED"), ("trade", "MATCHED")]
    assert scene.user_events("key-of-0xB") == [
        ("order", "LIVE"),
        ("order", "LIVE"),
        ("trade", "MATCHED"),
    ]


def test_a_maker_of_the_other_outcome_is_told_from_his_own_side() -> None:
    scene = VenueHarness(an_order(Side.BUY, token=NO, price=4_000, maker="0xB"))

    scene.post(an_order(Side.BUY, price=6_000, shares=10 * SHARE))

    taker, maker = (orjson.loads(orjson.dumps(row)) for row in scene.channels.activity)
    assert (taker["asset"], taker["side"], str(taker["price"])) == (YES, "BUY", "0.6")
    assert (maker["asset"], maker["side"], str(maker["price"])) == (NO, "BUY", "0.4")
    assert scene.settlements.submitted[0].match.fills[0].kind is MatchKind.MINT


def test_a_resting_order_changes_a_level_and_settles_nothing() -> None:
    scene = VenueHarness(an_order(Side.BUY, price=4_000))

    assert [event["event_type"] for event in scene.channels.market] == [
        "price_change",
        "best_bid_ask",
        "best_bid_ask",
    ]
    assert scene.settlements.submitted == []


def test_a_forged_order_is_refused_before_it_reaches_the_book() -> None:
    scene = VenueHarness()

    assert scene.post(an_order(), signature="0xforged") == rules.INVALID_SIGNATURE
    assert scene.engine.resting == {}
    assert scene.venue.stats["rejected"] == 1


def test_a_killed_order_is_told_its_owner() -> None:
    scene = VenueHarness()

    assert isinstance(scene.post(a_spend(10 * USDC)), Refused)
    ((owner, event),) = scene.channels.user
    assert (owner, event["size_matched"], event["status"]) == (
        "key-of-0xA",
        "",
        f"CANCELED_{rules.FAK_KILLED}",
    )


def test_a_trade_ends_confirmed() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.post(a_spend(10 * USDC))
    (trade,) = scene.settlements.submitted

    scene.venue.on_mined(trade, block=5, now_ms=NOW + 1)
    scene.venue.on_confirmed(trade, now_ms=NOW + 2)

    assert [status for kind, status in scene.user_events("key-of-0xA") if kind == "trade"] == [
        "MATCHED",
        "MINED",
        "CONFIRMED",
    ]
    assert (
        next(scene.venue.publisher.trades.find("key-of-0xB", TradeFilter())).status
        is TradeStatus.CONFIRMED
    )


def test_a_settlement_that_the_chain_refuses_is_taken_back() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    before = {wallet: scene.engine.accounts.get(wallet).collateral for wallet in ("0xA", "0xB")}
    scene.post(a_spend(10 * USDC))
    (trade,) = scene.settlements.submitted

    scene.venue.on_failed(trade, now_ms=NOW + 1)

    assert {
        wallet: scene.engine.accounts.get(wallet).collateral for wallet in ("0xA", "0xB")
    } == before
    assert scene.user_events("key-of-0xA")[-1] == ("trade", "FAILED")


def test_only_its_owner_cancels_an_order() -> None:
    order = an_order(Side.BUY, price=4_000)
    scene = VenueHarness(order)
    (order_id,) = scene.engine.resting

    assert scene.venue.on_cancel(order_id, owner="key-of-0xB", now_ms=NOW) is not None
    assert scene.venue.on_cancel(order_id, owner="key-of-0xA", now_ms=NOW) is None
    assert scene.engine.resting == {}


def test_strangers_do_not_see_a_trade() -> None:
    scene = VenueHarness(an_order(Side.SELL, price=5_000, maker="0xB"))
    scene.post(a_spend(10 * USDC))
    (trade,) = scene.settlements.submitted

    assert list(scene.venue.publisher.trades.find("key-of-0xC", TradeFilter(id=trade.id))) == []
    assert list(scene.venue.publisher.trades.find("key-of-0xA", TradeFilter(id=trade.id))) == [
        trade
    ]
    assert (
        list(scene.venue.publisher.trades.find("key-of-0xA", TradeFilter(after=NOW // 1000))) == []
    )


async def test_a_wallet_is_read_from_the_chain_when_it_first_comes() -> None:
    scene = VenueHarness()

    await scene.venue.ensure_wallet_loaded("0xNew")
    await scene.venue.ensure_wallet_loaded("0xNew")

    assert scene.chain.reads == ["0xNew"]
