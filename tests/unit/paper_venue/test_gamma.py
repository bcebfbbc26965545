"""The catalogue groups markets into events, hides resolved ones, and spells each version as Gamma
does.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from polymarket.models.gamma.event import Event
from polymarket.models.gamma.market import Market as SdkMarket

from services.paper_venue.exchange.matching_engine import MatchingEngine
from services.paper_venue.exchange.orders import Market, MarketVersion, Side
from services.paper_venue.faults.catalogue import Faults
from services.paper_venue.gamma.api import GammaApi
from services.paper_venue.http.responses import refusal_middleware
from services.paper_venue.lifecycle.venue import Venue
from tests.unit.paper_venue.builders import MARKET, NO, YES, accepted, an_order, rich
from tests.unit.paper_venue.fakes import FakeChain, FakeChannels, FakeSettlements

POSITION = 0x01 << 248 | 0xABCDEF << 120 | 2 << 104
V2_MARKET = Market(
    id="2",
    condition_id=f"0x{POSITION:064x}",
    question_id="0x" + "bb" * 32,
    token_ids=(str(POSITION), str(POSITION | 1)),
    question="Will it, by the new protocol?",
    slug="a-new-market",
    event_slug="a-new-event",
    version=MarketVersion.V2,
)
CHOICES = [
    replace(
        MARKET,
        id=str(number),
        condition_id=f"0x{number:064x}",
        token_ids=(str(2**255 + number), str(2**254 + number)),
        slug=f"choice-{number}",
        event_slug="one-of-them",
        neg_risk=True,
    )
    for number in (3, 4, 5)
]

Get = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def served(*markets: Market) -> AsyncIterator[tuple[Get, MatchingEngine]]:
    engine = MatchingEngine(markets)
    venue = Venue(
        engine=engine,
        verify=lambda *_: "",
        settlements=FakeSettlements(),
        channels=FakeChannels(),
        chain=FakeChain(),
        faults=Faults(),
    )
    http = web.Application(middlewares=[refusal_middleware])
    http.add_routes(GammaApi(venue).routes())
    async with TestClient(TestServer(http)) as client:

        async def get(path: str, *, status: int = 200, **query: str) -> Any:
            async with client.get(path, params=query) as reply:
                assert reply.status == status, await reply.text()
                return orjson.loads(await reply.read())

        yield get, engine


async def test_a_v1_market_names_its_tokens_in_a_string() -> None:
    async with served(MARKET) as (get, _):
        row = await get("/markets/1")

    assert orjson.loads(row["clobTokenIds"]) == [YES, NO]
    assert "positionIds" not in row
    assert row["conditionId"] == MARKET.condition_id


async def test_a_v2_market_names_positions_and_a_condition_of_31_bytes() -> None:
    async with served(V2_MARKET) as (get, _):
        row = await get("/markets/slug/a-new-market")
        (by_long_id,) = (await get("/markets/keyset", condition_ids=V2_MARKET.condition_id))[
            "markets"
        ]
        (by_short_id,) = (await get("/markets/keyset", condition_ids=row["conditionId"]))["markets"]

    assert (row["version"], row["clobTokenIds"], row["positionIds"]) == (
        "v2",
        None,
        list(V2_MARKET.token_ids),
    )
    assert len(row["conditionId"]) == 64
    assert row == by_long_id == by_short_id
    assert row["resolutionStatus"] == "active"


async def test_the_outcomes_of_a_neg_risk_event_are_one_event() -> None:
    async with served(MARKET, *CHOICES) as (get, _):
        first, second = (await get("/events/keyset"))["events"]
        (market,) = (await get("/markets/keyset", slug="choice-4"))["markets"]
        by_slug = await get("/events/slug/one-of-them")

    assert {len(first["markets"]), len(second["markets"])} == {1, 3}
    (named,) = market["events"]
    assert (named["id"], named["negRisk"]) == (by_slug["id"], True)
    assert [each["id"] for each in by_slug["markets"]] == ["3", "4", "5"]


@pytest.mark.parametrize(
    ("payouts", "prices"), [((1, 0), ["1", "0"]), ((0, 1), ["0", "1"]), ((1, 1), ["0.5", "0.5"])]
)
async def test_a_resolved_market_is_hidden_unless_requested_and_shows_its_payouts(
    payouts: tuple[int, int], prices: list[str]
) -> None:
    async with served(MARKET, V2_MARKET) as (get, engine):
        engine.resolve(MARKET.condition_id, payouts)
        engine.resolve(V2_MARKET.condition_id, payouts)

        assert (await get("/markets/keyset"))["markets"] == []
        assert (await get("/events/keyset", closed="false"))["events"] == []
        old, new = (await get("/markets/keyset", closed="true"))["markets"]

    assert [orjson.loads(row["outcomePrices"]) for row in (old, new)] == [prices, prices]
    assert [(row["closed"], row["acceptingOrders"]) for row in (old, new)] == [(True, False)] * 2
    assert old["umaResolutionStatus"] == new["resolutionStatus"] == "resolved"


async def test_a_page_continues_after_the_last_id_even_if_markets_close_meanwhile() -> None:
    async with served(MARKET, V2_MARKET, *CHOICES) as (get, engine):
        first = await get("/markets/keyset", limit="2")
        engine.resolve(MARKET.condition_id, (1, 0))
        second = await get("/markets/keyset", limit="2", after_cursor=first["next_cursor"])
        third = await get("/markets/keyset", limit="2", after_cursor=second["next_cursor"])

    assert [[row["id"] for row in page["markets"]] for page in (first, second, third)] == [
        ["1", "2"],
        ["3", "4"],
        ["5"],
    ]
    assert third["next_cursor"] is None


async def test_an_unsupported_filter_is_refused_and_not_ignored() -> None:
    async with served(MARKET) as (get, _):
        assert (
            "liquidity_num_min"
            in (await get("/markets/keyset", liquidity_num_min="5", status=422))["error"]
        )
        await get("/markets/keyset", order="volume", status=422)
        await get("/markets/keyset", after_cursor="%%", status=422)
        await get("/markets/77", status=404)
        await get("/events/77", status=404)


@pytest.mark.parametrize("market", [MARKET, V2_MARKET, CHOICES[0]], ids=["v1", "v2", "neg-risk"])
async def test_the_official_models_read_every_row_open_and_resolved(market: Market) -> None:
    async with served(market) as (get, engine):
        engine.accounts.refresh("0xA", rich())
        accepted(
            engine.place(an_order(Side.BUY, token=market.token_ids[0], price=4_000, market=market))
        )
        is_open = SdkMarket.parse_response(await get(f"/markets/{market.id}"))
        engine.resolve(market.condition_id, (1, 0))
        closed = SdkMarket.parse_response(await get(f"/markets/{market.id}"))
        (event,) = (await get("/events/keyset", closed="true"))["events"]
        Event.parse_response(event)

    assert is_open.outcomes.yes.price is not None
    assert str(is_open.prices.best_bid) == "0.4"
    assert closed.state.closed
    assert closed.outcomes.yes.price == 1


TAGGED = replace(MARKET, tags=("politics", "us-elections"))


async def test_tags_are_in_the_rows_of_markets_only_if_they_are_requested() -> None:
    async with served(TAGGED) as (get, _):
        without = await get("/markets/1")
        with_them = await get("/markets/1", include_tag="true")
        (listed,) = (await get("/markets/keyset", include_tag="true"))["markets"]

    assert "tags" not in without
    assert with_them == listed == without | {"tags": with_them["tags"]}
    assert [(tag["slug"], tag["label"]) for tag in listed["tags"]] == [
        ("politics", "Politics"),
        ("us-elections", "Us elections"),
    ]
    assert [tag.slug for tag in SdkMarket.parse_response(listed).tags] == list(TAGGED.tags)


async def test_an_event_has_each_tag_of_its_markets_once_and_is_found_by_it() -> None:
    tagged = [replace(choice, tags=("politics",)) for choice in CHOICES]
    async with served(MARKET, *tagged) as (get, _):
        (event,) = (await get("/events/keyset", tag_slug="politics"))["events"]
        (tag,) = event["tags"]
        (same,) = (await get("/events/keyset", tag_id=tag["id"]))["events"]
        markets = (await get("/markets/keyset", tag_id=tag["id"]))["markets"]
        others = (await get("/events/keyset", tag_slug="sports"))["events"]

    assert event == same
    assert [market["id"] for market in markets] == ["3", "4", "5"]
    assert others == []
    assert [each.slug for each in Event.parse_response(event).tags] == ["politics"]
