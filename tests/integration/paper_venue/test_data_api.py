"""The unmodified polymarket-client reads activity and positions, and they agree with the chain."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from polymarket import AsyncSecureClient

from shared.clock import utc_now
from shared.domain.money import as_decimal
from shared.polymarket.data_api import DataApi, parse_fill, parse_position
from shared.testing.waiting import eventually
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

INDEXED_WITHIN = 60


async def buy(client: AsyncSecureClient, token: str, usdc: str = "25") -> None:
    order = await client.place_market_order(
        asset_id=token, side="BUY", amount=usdc, max_price="0.99", order_type="FAK"
    )
    assert order.ok, order


async def read_all_pages(paginator: Any) -> list[Any]:
    return [row async for page in paginator for row in page.items]


async def test_a_trade_a_position_and_its_value_appear_once_the_chain_has_them(
    venue: PaperVenue,
) -> None:
    token = venue.token()
    async with venue.client("eoa") as (client, account):
        assert await read_all_pages(client.list_trades(user=account["proxy"])) == []
        await buy(client, token)

        async def traded() -> list[Any]:
            return await read_all_pages(client.list_trades(user=account["proxy"]))

        (trade,) = await eventually(traded, within=INDEXED_WITHIN)
        (position,) = await read_all_pages(client.list_positions(user=account["proxy"]))
        (row,) = await read_all_pages(
            client.list_activity(user=account["proxy"], activity_types=["TRADE"])
        )
        value = await client.get_portfolio_value(user=account["proxy"])

    assert (trade.asset_id, trade.side, trade.wallet.lower()) == (
        token,
        "BUY",
        account["proxy"].lower(),
    )
    assert (position.current_size, position.asset_id, position.status) == (
        trade.size,
        token,
        "OPEN",
    )
    assert abs(position.avg_price - trade.price) <= Decimal("0.00005")
    assert row.transaction_hash == trade.transaction_hash
    assert row.shares == trade.size
    assert row.amount >= trade.size * trade.price - Decimal("0.000001"), "with the taker's fee"
    assert abs(value.value - position.current_value) <= Decimal("0.001")


@pytest.mark.parametrize("kind", ["eoa", "safe"])
async def test_a_funded_account_has_every_approval_that_the_client_asks_for(
    venue: PaperVenue, kind: str
) -> None:
    async with venue.client(kind) as (client, account):
        state = await client.get_trading_approvals_state()
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{venue.urls['data']}/v2/approvals?user={account['proxy']}") as reply,
        ):
            contracts = (await reply.json())["data"]["contracts"]

    assert state.is_fully_approved, state.missing
    assert len(contracts) == 17


async def test_paging_has_no_gap_and_no_double_while_trading_continues(
    venue: PaperVenue,
) -> None:
    async with venue.client("eoa", usdc="5000") as (client, account):
        for _ in range(6):
            await buy(client, venue.token(), "10")

        async def six() -> bool:
            return len(await read_all_pages(client.list_trades(user=account["proxy"]))) == 6

        await eventually(six, within=INDEXED_WITHIN)
        before = await rows(venue, "trades", user=account["proxy"], taker_only="false")
        collected: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await fetch_page(
                venue, "trades", user=account["proxy"], taker_only="false", limit="2", **cursor
            )
            collected += page["data"]
            assert page["pagination"]["has_more"] == (page["pagination"]["next_cursor"] is not None)
            if not page["pagination"]["has_more"]:
                break
            cursor = {"cursor": page["pagination"]["next_cursor"]}
            seen = len(await rows(venue, "trades", user=account["proxy"]))
            await buy(client, venue.token(), "10")

            async def grown(seen: int = seen) -> bool:
                return len(await rows(venue, "trades", user=account["proxy"])) > seen

            await eventually(grown, within=INDEXED_WITHIN)

    assert collected == before


async def test_taker_only_is_the_default_and_leaves_the_makers_rows_out(venue: PaperVenue) -> None:
    condition = venue.world["markets"][0]["condition_id"]
    async with venue.client("eoa") as (client, account):
        await buy(client, venue.token())

        async def traded() -> list[dict[str, Any]]:
            return await rows(venue, "trades", user=account["proxy"])

        (own,) = await eventually(traded, within=INDEXED_WITHIN)

    by_default = [
        row
        for row in await rows(venue, "trades", condition=condition)
        if row["transaction_hash"] == own["transaction_hash"]
    ]
    every = [
        row
        for row in await rows(venue, "trades", condition=condition, taker_only="false")
        if row["transaction_hash"] == own["transaction_hash"]
    ]
    assert by_default == [own]
    assert own in every
    assert len(every) > 1


@pytest.mark.parametrize(
    "query",
    [
        "limit=1001",
        "limit=-1",
        "offset=5",
        "cursor=abc",
        "condition=nonsense",
        "condition=" + ",".join(f"0x{n:064x}" for n in range(21)),
    ],
)
async def test_an_invalid_query_is_answered_with_400(venue: PaperVenue, query: str) -> None:
    url = f"{venue.urls['data']}/v2/activity?user=0x{1:040x}&{query}"
    async with aiohttp.ClientSession() as http, http.get(url) as reply:
        assert reply.status == 400
        assert "error" in await reply.json()


@pytest.mark.parametrize(("version", "neg_risk"), [("v1", False), ("v1", True), ("v2", False)])
async def test_a_split_and_a_merge_belong_to_the_wallet_whichever_contract_makes_them(
    venue: PaperVenue, version: str, neg_risk: bool
) -> None:
    market = next(
        each
        for each in venue.world["markets"]
        if (each["version"], each["neg_risk"]) == (version, neg_risk)
    )
    async with venue.client("eoa") as (client, account):
        for convert in (client.split_position, client.merge_positions):
            handle = await convert(condition_id=market["condition_id"], amount=5_000_000)
            await handle.wait()

        async def both() -> list[Any]:
            listed = await read_all_pages(
                client.list_activity(user=account["proxy"], activity_types=["SPLIT", "MERGE"])
            )
            return listed if len(listed) == 2 else []

        merge, split = await eventually(both, within=INDEXED_WITHIN)
        held = await read_all_pages(client.list_positions(user=account["proxy"]))

    assert [(row.type, row.amount, row.condition_id) for row in (split, merge)] == [
        ("SPLIT", 5, market["condition_id"]),
        ("MERGE", 5, market["condition_id"]),
    ]
    assert held == []


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_redemption_has_a_row_for_each_outcome_and_closes_the_positions(
    venue: PaperVenue, version: str
) -> None:
    async with venue.client("eoa") as (client, account):
        market = await venue.find_market_to_resolve(version)
        split = await client.split_position(condition_id=market["condition_id"], amount=5_000_000)
        await split.wait()
        await venue.control("resolve", {"condition_id": market["condition_id"], "outcome": "yes"})
        redemption = await client.redeem_positions(market_id=market["id"])
        await redemption.wait()

        async def redeemed() -> list[Any]:
            listed = await read_all_pages(
                client.list_activity(user=account["proxy"], activity_types=["REDEEM"])
            )
            return listed if len(listed) == 2 else []

        paid = {
            row.outcome: row.amount for row in await eventually(redeemed, within=INDEXED_WITHIN)
        }
        closed = await read_all_pages(client.list_positions(user=account["proxy"], status="CLOSED"))
        listed = await client.get_market(id=market["id"])

    assert paid == {market["outcomes"][0]: 5, market["outcomes"][1]: 0}
    assert {row.outcome: row.realized_pnl for row in closed} == {
        market["outcomes"][0]: Decimal("2.5"),
        market["outcomes"][1]: Decimal("-2.5"),
    }
    assert (listed.state.closed, listed.outcomes.yes.price, listed.outcomes.no.price) == (
        True,
        Decimal(1),
        Decimal(0),
    )


async def test_our_own_reading_of_the_feed_agrees_with_the_chain(venue: PaperVenue) -> None:
    async with venue.client("eoa") as (client, account):
        for _ in range(3):
            await buy(client, venue.token(), "10")

        async def three() -> bool:
            return len(await rows(venue, "trades", user=account["proxy"])) == 3

        await eventually(three, within=INDEXED_WITHIN)
        async with DataApi(venue.urls["data"], timeout_s=10) as api:
            now = utc_now()
            trades = await api.fetch_trades(
                account["proxy"], now - timedelta(minutes=5), now + timedelta(minutes=5)
            )
            fills = [parse_fill(row, seen_at=now) for row in trades.rows]
            positions = dict(map(parse_position, await api.fetch_positions(account["proxy"])))
        (position,) = await read_all_pages(client.list_positions(user=account["proxy"]))

    assert trades.is_complete
    assert {fill.leader for fill in fills} == {account["proxy"]}
    assert positions == {venue.token(): position.current_price}
    assert as_decimal(sum(fill.shares for fill in fills)) == position.current_size


async def test_the_fault_doubles_rows(venue: PaperVenue) -> None:
    async with venue.client("eoa") as (client, account):
        await buy(client, venue.token())

        async def traded() -> list[dict[str, Any]]:
            return await rows(venue, "trades", user=account["proxy"])

        await eventually(traded, within=INDEXED_WITHIN)
        await set_faults(venue, {"rows-doubled": {"only": account["proxy"]}})
        try:
            doubled = await traded()
        finally:
            await set_faults(venue, {})

    assert Counter(row["transaction_hash"] for row in doubled).most_common(1)[0][1] == 2


async def fetch_page(venue: PaperVenue, name: str, **query: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.get(f"{venue.urls['data']}/v2/{name}", params=query) as reply,
    ):
        page: dict[str, Any] = await reply.json()
        return page


async def rows(venue: PaperVenue, name: str, **query: str) -> list[dict[str, Any]]:
    fetched: list[dict[str, Any]] = (await fetch_page(venue, name, limit="1000", **query))["data"]
    return fetched


async def set_faults(venue: PaperVenue, chosen: dict[str, Any]) -> None:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.put(f"{venue.urls['control']}/faults", json=chosen) as reply,
    ):
        await reply.read()
