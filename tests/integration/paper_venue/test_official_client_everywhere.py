"""The unmodified official client trades from every kind of account in every kind of market; the
venue verifies every signature.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from polymarket import AsyncSecureClient
from polymarket.errors import OrderHeartbeatMismatchError, RequestRejectedError
from polymarket.models.clob.order_response import AcceptedOrder, RejectedOrder
from polymarket.models.clob.requests import PriceRequest
from polymarket.rate_limit import RateLimitUpdate
from polymarket.streams import MarketSpec, UserSpec

from shared.testing.waiting import eventually
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

KINDS = ("eoa", "proxy", "safe", "deposit")
MARKETS = {"v1": ("v1", False), "neg-risk": ("v1", True), "v2": ("v2", False)}
EVERYWHERE = [(kind, market) for kind in KINDS for market in MARKETS]


def find_token(venue: PaperVenue, market: str) -> str:
    """A token of the first market of this kind."""
    row = next(
        each
        for each in venue.world["markets"]
        if (each["version"], each["neg_risk"]) == MARKETS[market]
    )
    return str(row["token_ids"][0])


def accepted_order_id(answer: AcceptedOrder | RejectedOrder) -> str:
    assert answer.ok, answer.message
    return answer.order_id


@pytest.fixture
async def eoa(venue: PaperVenue) -> AsyncIterator[AsyncSecureClient]:
    async with venue.client("eoa") as (client, _):
        yield client


@pytest.mark.parametrize(("kind", "market"), EVERYWHERE)
async def test_a_position_is_bought_and_sold_until_the_chain_has_both(
    venue: PaperVenue, kind: str, market: str
) -> None:
    token = find_token(venue, market)
    async with venue.client(kind) as (client, _):
        bought = await client.place_market_order(
            asset_id=token, side="BUY", amount="20", max_price="0.99", order_type="FOK"
        )
        assert bought.ok, bought.message
        await client.wait_for_order_fill_settlement(bought)
        shares = bought.taking_amount.quantize(Decimal("0.01"), rounding="ROUND_DOWN")
        sold = await client.place_market_order(
            asset_id=token, side="SELL", shares=shares, min_price="0.01", order_type="FOK"
        )
        assert sold.ok, sold.message
        await client.wait_for_order_fill_settlement(sold)
        trades = (await client.list_account_trades(asset_id=token).first_page()).items
        left = await client.get_balance_allowance(
            asset_type="CONDITIONAL-V2" if market == "v2" else "CONDITIONAL", asset_id=token
        )

    assert [(trade.side, trade.status, trade.trader_side) for trade in trades] == [
        ("SELL", "CONFIRMED", "TAKER"),
        ("BUY", "CONFIRMED", "TAKER"),
    ]
    assert left.balance == int((bought.taking_amount - shares) * 1_000_000)


@pytest.mark.parametrize(("kind", "market"), EVERYWHERE)
async def test_a_tampered_order_is_refused(venue: PaperVenue, kind: str, market: str) -> None:
    async with venue.client(kind) as (client, _):
        signed = await client.create_market_order(
            asset_id=find_token(venue, market), side="BUY", amount="10", max_price="0.9"
        )
        with pytest.raises(RequestRejectedError, match="invalid signature") as refused:
            await client.post_order(dataclasses.replace(signed, maker_amount=11_000_000))
        untouched = await client.post_order(signed)

    assert refused.value.status == 400
    assert untouched.ok


@pytest.mark.parametrize(("kind", "market"), EVERYWHERE)
async def test_limit_orders_of_every_kind_rest_and_are_cancelled_in_every_way(
    venue: PaperVenue, kind: str, market: str
) -> None:
    token = find_token(venue, market)
    expiration = time.time_ns() // 1_000_000_000 + 600
    async with venue.client(kind) as (client, _):
        resting, expiring, post_only = [
            accepted_order_id(
                await client.place_limit_order(asset_id=token, price="0.02", size="10", side="BUY")
            ),
            accepted_order_id(
                await client.place_limit_order(
                    asset_id=token, price="0.02", size="10", side="BUY", expiration=expiration
                )
            ),
            accepted_order_id(
                await client.place_limit_order(
                    asset_id=token, price="0.02", size="10", side="BUY", post_only=True
                )
            ),
        ]
        signed = [
            await client.create_limit_order(asset_id=token, price=price, size="10", side="BUY")
            for price in ("0.03", "0.04", "0.05")
        ]
        batch = {accepted_order_id(answer) for answer in await client.post_orders(signed)}
        listed = {
            order.id: order
            for order in (await client.list_open_orders(asset_id=token).first_page()).items
        }
        one = await client.cancel_order(order_id=resting)
        two = await client.cancel_orders(order_ids=[expiring, post_only])
        market_orders = await client.cancel_market_orders(asset_id=token)
        rest = await client.cancel_all()

    assert listed.keys() == {resting, expiring, post_only} | batch
    assert listed[expiring].order_type == "GTD"
    assert listed[expiring].expires_at is not None
    assert one.canceled == (resting,)
    assert set(two.canceled) == {expiring, post_only}
    assert set(market_orders.canceled) == batch
    assert rest.canceled == ()


@pytest.mark.parametrize("kind", KINDS)
async def test_balances_are_those_of_the_wallet(venue: PaperVenue, kind: str) -> None:
    async with venue.client(kind, usdc="123.45") as (client, _):
        cash = await client.get_balance_allowance(asset_type="COLLATERAL")

    assert cash.balance == 123_450_000
    assert len(cash.allowances) == 3
    assert all(allowance > 0 for allowance in cash.allowances.values())


async def test_prices_in_bulk_agree_with_the_single_ones(
    venue: PaperVenue, eoa: AsyncSecureClient
) -> None:
    tokens = [find_token(venue, market) for market in MARKETS]

    books = await eoa.get_order_books(asset_ids=tokens)
    mids = await eoa.get_midpoints(asset_ids=tokens)
    spreads = await eoa.get_spreads(asset_ids=tokens)
    prices = await eoa.get_prices(
        requests=[PriceRequest(token, "BUY") for token in tokens]
        + [PriceRequest(token, "SELL") for token in tokens]
    )
    lasts = await eoa.get_last_trade_prices(asset_ids=tokens)

    assert [book.asset_id for book in books] == tokens
    assert mids.keys() == spreads.keys() == prices.keys() == set(tokens)
    for token in mids:
        assert mids[token] == await eoa.get_midpoint(asset_id=token)
        assert spreads[token] == await eoa.get_spread(asset_id=token)
        assert prices[token] == {
            "BUY": await eoa.get_price(asset_id=token, side="BUY"),
            "SELL": await eoa.get_price(asset_id=token, side="SELL"),
        }
    for last in lasts:
        single = await eoa.get_last_trade_price(asset_id=last.asset_id)
        assert single is not None
        assert single.price == last.price


async def test_all_orders_are_cancelled_when_heartbeats_stop(
    venue: PaperVenue, eoa: AsyncSecureClient
) -> None:
    order = await eoa.place_limit_order(
        asset_id=find_token(venue, "v1"), price="0.02", size="10", side="BUY"
    )
    first = await eoa.send_order_heartbeat()
    with pytest.raises(OrderHeartbeatMismatchError) as wrong:
        await eoa.send_order_heartbeat(heartbeat_id="another")
    second = await eoa.send_order_heartbeat(heartbeat_id=wrong.value.heartbeat_id)

    async def is_cancelled() -> bool:
        return not (await eoa.list_open_orders().first_page()).items

    assert order.ok
    assert wrong.value.heartbeat_id == first.heartbeat_id != second.heartbeat_id
    assert not await is_cancelled()
    assert await eventually(is_cancelled)


async def test_the_rate_limit_callback_gets_the_remaining_tokens(venue: PaperVenue) -> None:
    (account,) = await venue.control("accounts", {"kind": "eoa", "count": 1, "usdc": "1000"})
    updates: list[RateLimitUpdate] = []
    client = await AsyncSecureClient.create(
        private_key=account["private_key"],
        wallet=account["proxy"],
        environment=venue.environment(),
        on_rate_limit_update=updates.append,
    )
    await client.place_limit_order(
        asset_id=find_token(venue, "v1"), price="0.02", size="10", side="BUY"
    )
    await client.cancel_all()
    await client.close()

    placed, cancelled = updates
    assert placed.remaining == 59
    # One token for the request and one for the order; meanwhile the bucket refills.
    assert cancelled.remaining in (118, 119)
    assert {(update.tier, update.warning) for update in updates} == {("standard", False)}


async def test_the_clients_own_streams_receive_an_orders_events(
    venue: PaperVenue, eoa: AsyncSecureClient
) -> None:
    token = find_token(venue, "neg-risk")
    async with await eoa.subscribe([MarketSpec(asset_ids=[token]), UserSpec()]) as events:
        received: list[str] = []

        async def listen() -> None:
            async for event in events:
                received.append(type(event).__name__)

        listening = asyncio.create_task(listen())
        await eventually(lambda: "MarketBookEvent" in received)
        order = await eoa.place_market_order(
            asset_id=token, side="BUY", amount="10", max_price="0.95", order_type="FOK"
        )
        await eventually(lambda: received.count("UserTradeEvent") >= 3)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    assert order.ok
    assert {
        "MarketBookEvent",
        "MarketLastTradePriceEvent",
        "UserOrderEvent",
        "UserTradeEvent",
    } <= set(received)


async def test_keys_are_listed_and_deleted(eoa: AsyncSecureClient) -> None:
    assert await eoa.fetch_api_keys() == (eoa.credentials.key,)
    assert await eoa.get_closed_only_mode() is False
    assert (await eoa.get_builder_fee_rates("0x" + "ab" * 32)).taker == 0

    await eoa.delete_api_key()

    with pytest.raises(RequestRejectedError) as denied:
        await eoa.fetch_api_keys()
    assert denied.value.status == 401


async def test_empty_rewards_and_notifications_can_be_parsed_by_the_client(
    eoa: AsyncSecureClient,
) -> None:
    order_id = "0x" + "12" * 32

    assert await eoa.get_notifications() == ()
    assert await eoa.get_order_scoring(order_id=order_id) is False
    assert await eoa.get_orders_scoring(order_ids=[order_id]) == {order_id: False}
    assert (await eoa.list_current_rewards().first_page()).items == ()
    assert (await eoa.list_user_earnings_for_day(date="2026-11-22").first_page()).items == ()
    assert await eoa.get_total_earnings_for_user_for_day(date="2026-11-22") == ()
    assert await eoa.get_reward_percentages() == {}
