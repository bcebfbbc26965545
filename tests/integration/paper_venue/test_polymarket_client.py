"""The unmodified official client trades on the venue, as an EOA and from a Safe, until its trades
are settled on the chain.
"""

import asyncio
import dataclasses
from decimal import Decimal

import pytest
from polymarket import AsyncSecureClient
from polymarket.errors import RequestRejectedError

from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.testing.waiting import eventually
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

KINDS = ("eoa", "safe")


async def best_ask(client: AsyncSecureClient, token: str) -> Decimal:
    return (await client.get_order_book(token_id=token)).asks[-1].price


async def best_bid(client: AsyncSecureClient, token: str) -> Decimal:
    return (await client.get_order_book(token_id=token)).bids[-1].price


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fok_buy_is_filled_and_settled_on_the_chain(
    venue: PaperVenue, rpc_url: str, kind: str
) -> None:
    token = venue.token(market=2)  # its markets take no fee
    async with venue.client(kind) as (client, account):
        order = await client.place_market_order(
            asset_id=token,
            side="BUY",
            amount="50",
            max_price=await best_ask(client, token),
            order_type="FOK",
        )
        assert order.ok, order.message
        (transaction_hash,) = await client.wait_for_order_fill_settlement(order)
        (trade,) = (await client.list_account_trades(id=order.trade_ids[0]).first_page()).items

    assert (order.status, trade.status, trade.trader_side) == ("matched", "CONFIRMED", "TAKER")
    assert trade.transaction_hash == transaction_hash
    assert order.making_amount == pytest.approx(Decimal(50), abs=Decimal("0.001"))
    chain = ChainClient(Rpc(rpc_url))
    held = await chain.fetch_balances(account["proxy"], [int(token)])
    await chain.close()
    assert held.shares_by_token[int(token)] == int(order.taking_amount * 1_000_000)
    assert held.collateral == 1_000_000_000 - int(order.making_amount * 1_000_000)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_position_is_sold_again_and_the_venue_agrees_with_the_chain(
    venue: PaperVenue, rpc_url: str, kind: str
) -> None:
    token = venue.token(market=1, outcome=1)
    async with venue.client(kind) as (client, account):
        bought = await client.place_market_order(
            asset_id=token,
            side="BUY",
            amount="40",
            max_price=await best_ask(client, token),
            order_type="FAK",
        )
        assert bought.ok, bought.message
        shares = bought.taking_amount.quantize(Decimal("0.01"), rounding="ROUND_DOWN")
        sold = await client.place_market_order(
            asset_id=token,
            side="SELL",
            shares=shares,
            min_price=await best_bid(client, token),
            order_type="FOK",
        )
        assert sold.ok, sold.message
        await client.wait_for_order_fill_settlement(sold)
        cash = await client.get_balance_allowance(asset_type="COLLATERAL")
        left = await client.get_balance_allowance(asset_type="CONDITIONAL", asset_id=token)

    chain = ChainClient(Rpc(rpc_url))
    held = await chain.fetch_balances(account["proxy"], [int(token)])
    await chain.close()
    assert (cash.balance, left.balance) == (held.collateral, held.shares_by_token[int(token)])
    assert left.balance == int((bought.taking_amount - shares) * 1_000_000)
    assert cash.balance < 1_000_000_000 - int(
        (bought.making_amount - sold.taking_amount) * 1_000_000
    ), "both trades cost a fee"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_limit_order_rests_is_listed_and_is_cancelled(venue: PaperVenue, kind: str) -> None:
    token = venue.token()
    async with venue.client(kind) as (client, _):
        order = await client.place_limit_order(asset_id=token, price="0.02", size="10", side="BUY")
        assert order.ok, order.message
        fetched = await client.get_order(order_id=order.order_id)
        (listed,) = (await client.list_open_orders().first_page()).items
        cancelled = await client.cancel_order(order_id=order.order_id)
        again = await client.cancel_order(order_id=order.order_id)
        after = (await client.list_open_orders().first_page()).items

    assert order.status == "live"
    assert (fetched.price, fetched.original_size, fetched.size_matched) == (
        Decimal("0.02"),
        Decimal(10),
        Decimal(0),
    )
    assert listed.id == order.order_id
    assert cancelled.canceled == (order.order_id,)
    assert again.not_canceled == {order.order_id: "the order is already canceled or matched"}
    assert after == ()


async def test_cancel_all_cancels_every_order(venue: PaperVenue) -> None:
    token = venue.token()
    async with venue.client("eoa") as (client, _):
        for price in ("0.02", "0.03"):
            assert (
                await client.place_limit_order(asset_id=token, price=price, size="10", side="BUY")
            ).ok
        cancelled = await client.cancel_all()
        left = (await client.list_open_orders().first_page()).items

    assert len(cancelled.canceled) == 2
    assert left == ()


async def test_an_order_that_cannot_be_filled_is_killed_with_the_venues_text(
    venue: PaperVenue,
) -> None:
    token = venue.token()
    async with venue.client("eoa") as (client, _):
        with pytest.raises(RequestRejectedError) as killed:
            await client.place_market_order(
                asset_id=token, side="BUY", amount="10", max_price="0.02", order_type="FOK"
            )
        with pytest.raises(RequestRejectedError) as unmet:
            await client.place_market_order(
                asset_id=token, side="BUY", amount="10", max_price="0.02", order_type="FAK"
            )

    assert killed.value.status == 400
    assert "order couldn't be fully filled. FOK orders are fully filled or killed." in str(
        killed.value
    )
    assert "no orders found to match with FAK order" in str(unmet.value)


async def test_an_order_without_balance_is_refused(venue: PaperVenue) -> None:
    async with venue.client("eoa", usdc="10") as (client, _):
        with pytest.raises(RequestRejectedError, match="not enough balance / allowance"):
            await client.place_market_order(
                asset_id=venue.token(), side="BUY", amount="50", max_price="0.95", order_type="FOK"
            )


async def test_the_same_signed_order_again_is_duplicated(venue: PaperVenue) -> None:
    token = venue.token()
    async with venue.client("eoa") as (client, _):
        signed = await client.create_market_order(
            asset_id=token, side="BUY", amount="10", max_price="0.95", order_type="FOK"
        )
        first = await client.post_order(signed)
        assert first.ok, first.message
        with pytest.raises(
            RequestRejectedError, match=f"order {first.order_id} is invalid. Duplicated."
        ):
            await client.post_order(signed)


async def test_a_forged_signature_is_refused(venue: PaperVenue) -> None:
    async with venue.client("eoa") as (client, _):
        signed = await client.create_market_order(
            asset_id=venue.token(), side="BUY", amount="10", max_price="0.95", order_type="FOK"
        )
        with pytest.raises(RequestRejectedError, match="invalid signature"):
            await client.post_order(dataclasses.replace(signed, maker_amount=11_000_000))


async def test_markets_are_found_by_slug_and_by_token(venue: PaperVenue) -> None:
    expected = venue.world["markets"][3]
    async with venue.client("eoa") as (client, _):
        by_slug = await client.get_market(slug=expected["slug"])
        by_token = (
            await client.list_markets(clob_token_ids=[expected["token_ids"][1]]).first_page()
        ).items
        mid = await client.get_midpoint(token_id=expected["token_ids"][0])

    assert (by_slug.condition_id, by_slug.version) == (expected["condition_id"], "v1")
    assert (by_slug.outcomes.yes.token_id, by_slug.outcomes.no.token_id) == tuple(
        expected["token_ids"]
    )
    assert [market.id for market in by_token] == [expected["id"]]
    assert by_slug.outcomes.yes.price == mid


async def test_keys_are_the_same_when_derived_again(venue: PaperVenue) -> None:
    async with venue.client("eoa") as (client, account):
        first = client.credentials
        again = await AsyncSecureClient.create(
            private_key=account["private_key"],
            wallet=account["proxy"],
            environment=venue.environment(),
        )
        second = again.credentials
        await again.close()

    assert first == second


async def test_followers_trade_concurrently_and_every_match_is_confirmed(venue: PaperVenue) -> None:
    token = venue.token(market=4)
    before = await venue.control("stats")
    accounts = await venue.control("accounts", {"kind": "safe", "count": 5, "usdc": "500"})
    clients = [
        await AsyncSecureClient.create(
            private_key=account["private_key"],
            wallet=account["proxy"],
            environment=venue.environment(),
        )
        for account in accounts
    ]

    orders = await asyncio.gather(
        *(
            client.place_market_order(
                asset_id=token, side="BUY", amount="20", max_price="0.97", order_type="FOK"
            )
            for client in clients
        )
    )
    placed = [order for order in orders if order.ok]
    await asyncio.gather(
        *(
            client.wait_for_order_fill_settlement(order)
            for client, order in zip(clients, placed, strict=True)
        )
    )

    async def all_settled() -> bool:
        stats = await venue.control("stats")
        return bool(stats["settled"] >= before["matched"] - before["failed"] + len(placed))

    assert len(placed) == 5
    has_settled: bool = await eventually(all_settled)
    assert has_settled
    assert (await venue.control("stats"))["failed"] == before["failed"]
    for client in clients:
        await client.close()
