"""Whatever is traded, by whichever wallets, in whichever market: chain and venue end up equal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polymarket import AsyncSecureClient
from polymarket.errors import PolymarketError

from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.testing.waiting import eventually
from tests.integration.paper_venue.test_official_client_everywhere import KINDS, MARKETS, find_token
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

PER_EXAMPLE = 12
EXAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order to place. ``trader``: index in KINDS; ``cents``: limit price; ``shares``: size."""

    trader: int
    market: str
    outcome: int
    side: Literal["BUY", "SELL"]
    kind: Literal["GTC", "FAK", "FOK"]
    cents: int
    shares: int


CERTAIN_TO_TRADE = OrderRequest(
    trader=0, market="v1", outcome=0, side="BUY", kind="FAK", cents=99, shares=5
)
"""An order that pays any price, so it trades."""

ORDER_REQUESTS = st.lists(
    st.builds(
        OrderRequest,
        trader=st.integers(0, len(KINDS) - 1),
        market=st.sampled_from(sorted(MARKETS)),
        outcome=st.integers(0, 1),
        side=st.sampled_from(["BUY", "BUY", "SELL"]),
        kind=st.sampled_from(["GTC", "FAK", "FOK"]),
        cents=st.integers(2, 98),
        shares=st.integers(5, 60),
    ),
    min_size=PER_EXAMPLE,
    max_size=PER_EXAMPLE,
)


@dataclass(frozen=True, slots=True)
class Trader:
    client: AsyncSecureClient
    proxy: str


@pytest.fixture
async def traders(venue: PaperVenue) -> AsyncIterator[list[Trader]]:
    """One of each kind, with money and a few shares of everything."""
    async with AsyncExitStack() as closing:
        opened = []
        for kind in KINDS:
            client, account = await closing.enter_async_context(venue.client(kind, usdc="5000"))
            opened.append(Trader(client, account["proxy"]))
            for market in MARKETS:
                await client.place_market_order(
                    asset_id=find_token(venue, market), side="BUY", amount="15", max_price="0.99"
                )
        yield opened


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests=ORDER_REQUESTS)
async def test_chain_and_venue_agree_after_any_orders(
    venue: PaperVenue, rpc_url: str, traders: list[Trader], requests: list[OrderRequest]
) -> None:
    accepted = [
        await place(venue, traders[request.trader].client, request)
        for request in (CERTAIN_TO_TRADE, *requests)
    ]

    assert accepted[0], "at least the order that is certain to trade"
    await eventually(lambda: everything_is_settled(venue))
    async with ChainClient(Rpc(rpc_url)) as chain:
        for trader in traders:
            await assert_venue_and_chain_agree(venue, chain, trader)


async def place(venue: PaperVenue, client: AsyncSecureClient, request: OrderRequest) -> bool:
    """Place an order; returns whether the venue accepted it. Refused orders must change nothing."""
    token = tokens(venue, request.market)[request.outcome]
    price = f"0.{request.cents:02d}"
    try:
        if request.kind == "GTC":
            answer: Any = await client.place_limit_order(
                asset_id=token, price=price, size=str(request.shares), side=request.side
            )
        elif request.side == "BUY":
            answer = await client.place_market_order(
                asset_id=token,
                side="BUY",
                amount=str(request.shares),
                max_price=price,
                order_type=request.kind,
            )
        else:
            answer = await client.place_market_order(
                asset_id=token,
                side="SELL",
                shares=str(request.shares),
                min_price=price,
                order_type=request.kind,
            )
    except PolymarketError:
        return False
    return bool(answer.ok)


def tokens(venue: PaperVenue, market: str) -> list[str]:
    first = find_token(venue, market)
    return next(
        [str(token) for token in each["token_ids"]]
        for each in venue.world["markets"]
        if first in map(str, each["token_ids"])
    )


async def everything_is_settled(venue: PaperVenue) -> bool:
    stats = await venue.control("stats")
    return bool(stats["matched"] == stats["settled"] + stats["failed"])


async def assert_venue_and_chain_agree(
    venue: PaperVenue, chain: ChainClient, trader: Trader
) -> None:
    token_ids = [int(token) for market in MARKETS for token in tokens(venue, market)]
    on_chain = await chain.fetch_balances(trader.proxy, token_ids)
    money = await trader.client.get_balance_allowance(asset_type="COLLATERAL")
    assert money.balance == on_chain.collateral
    for market in MARKETS:
        kind: Literal["CONDITIONAL", "CONDITIONAL-V2"] = (
            "CONDITIONAL-V2" if market == "v2" else "CONDITIONAL"
        )
        for token in tokens(venue, market):
            held = await trader.client.get_balance_allowance(asset_type=kind, asset_id=token)
            assert held.balance == on_chain.shares_by_token[int(token)], (market, token)
