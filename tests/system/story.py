"""One story's hands and eyes: it lets leaders trade, and sees what became of it in the books, on
the topics and on the chain.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.clock import utc_now
from shared.db.engine import fetch_rows, transaction
from shared.domain.ids import intent_id, trade_id
from shared.domain.money import Side, micros
from shared.polymarket.clob import Clob
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet
from shared.streams.replay import replay
from shared.testing.waiting import eventually
from tests.system.deployment import FUNDS, Deployment, FollowGroup
from tools.pipeline.venue import VenueControl

PATIENCE = 180
"""Seconds that a busy machine may take for what an idle one does in two."""

SETTLED = "select * from executor.trades where intent_id = any(cast(:ids as text[])) order by intent_id, trade_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderTrade:
    """A leader's trade as the venue answered it. Micro-shares and micro-USDC."""

    leader: str
    token: str
    side: Side
    transaction_hash: str
    shares: int
    usdc: int

    @property
    def trade_id(self) -> str:
        return trade_id(
            transaction_hash=self.transaction_hash,
            leader=self.leader,
            token_id=self.token,
            side=self.side,
        )

    @property
    def price(self) -> Decimal:
        return Decimal(self.usdc) / self.shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Of one test. ``circle`` is a leader and followers that no other test has."""

    deployment: Deployment
    group: FollowGroup
    venue: VenueControl
    engine: AsyncEngine
    chain: ChainClient
    tokens: tuple[str, ...]

    async def trades(self, side: Side, usdc: str, *, token: str | None = None) -> LeaderTrade:
        """The circle's leader trades: so much to spend, or shares that are worth as much at the
        best bid.
        """
        token = token or self.tokens[0]
        made = await self.venue.leader_trade(
            leader=self.group.leader, token=token, side=side.value, usdc=usdc
        )
        return LeaderTrade(
            leader=self.group.leader,
            token=token,
            side=side,
            transaction_hash=made["transaction_hash"],
            shares=micros(Decimal(made["shares"])),
            usdc=micros(Decimal(made["usdc"])),
        )

    def intents(self, trade: LeaderTrade) -> dict[str, str]:
        """The intent that the trade must become for each of the circle's followers, by proxy."""
        return {
            follow.proxy: intent_id(trade=trade.trade_id, from_shares=0, follow_id=follow.follow_id)
            for follow in self.group.follows
        }

    async def rows(self, query: str, **given: Any) -> Sequence[Row[Any]]:
        async with transaction(self.engine) as connection:
            return await fetch_rows(connection, query, **given)

    async def orders(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """The copies' orders as they stand in the books, by proxy."""
        ids = list(self.intents(trade).values())
        return {
            row.proxy: row
            for row in await self.rows(
                "select * from executor.orders where intent_id = any(:ids)", ids=ids
            )
        }

    async def verdicts(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        ids = list(self.intents(trade).values())
        return {
            row.proxy: row
            for row in await self.rows(
                "select * from preflight.intents where intent_id = any(:ids)", ids=ids
            )
        }

    async def judged(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """Waits until every follower's intent has its verdict."""

        async def all_of_them() -> dict[str, Row[Any]]:
            verdicts = await self.verdicts(trade)
            return verdicts if len(verdicts) == len(self.group.followers) else {}

        found: dict[str, Row[Any]] = await eventually(
            all_of_them, within=PATIENCE, what="a verdict on each follower's intent"
        )
        return found

    async def confirmed(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """Waits until every follower's order is confirmed and its settlement is final on the chain."""

        async def all_final() -> dict[str, Row[Any]]:
            orders = await self.orders(trade)
            settled = await self.rows(SETTLED, ids=[order.intent_id for order in orders.values()])
            done = len(orders) == len(self.group.followers) and all(
                order.state == "confirmed" for order in orders.values()
            )
            return orders if done and all(each.chain_state == "final" for each in settled) else {}

        what = f"each follower's copy of {trade.transaction_hash} confirmed and final"
        found: dict[str, Row[Any]] = await eventually(all_final, within=PATIENCE, what=what)
        return found

    async def order_of(self, intent: str) -> Row[Any]:
        """Waits until the intent's order is confirmed and final on the chain."""

        async def settled() -> Sequence[Row[Any]]:
            found = await self.rows(
                "select * from executor.orders where intent_id = :id and state = 'confirmed'",
                id=intent,
            )
            trades = await self.rows(SETTLED, ids=[intent])
            return found if all(each.chain_state == "final" for each in trades) else []

        orders: Sequence[Row[Any]] = await eventually(
            settled, within=PATIENCE, what=f"the order of {intent} confirmed and final"
        )
        return orders[0]

    async def both_sources(self, trade: LeaderTrade) -> Sequence[Row[Any]]:
        """Waits until the activity socket and the chain have told of the trade."""

        async def told_twice() -> Sequence[Row[Any]]:
            fills = await self.rows(
                "select * from ingest.fills where trade_id = :trade", trade=trade.trade_id
            )
            return fills if len({fill.source for fill in fills}) == 2 else []

        found: Sequence[Row[Any]] = await eventually(
            told_twice, within=PATIENCE, what="rows of both sources"
        )
        return found

    async def assert_books_equal_the_chain(self, *tokens: str) -> None:
        """Every follower's shares and pUSD, to the last base unit."""
        for account in self.group.followers:
            wallet = await self.chain.fetch_balances(
                account.proxy, [int(token) for token in tokens]
            )
            held = await self.rows(
                "select * from executor.positions where proxy = :proxy", proxy=account.proxy
            )
            shares = {str(token): count for token, count in wallet.shares_by_token.items() if count}
            assert {row.token_id: row.shares for row in held if row.shares} == shares, account
            assert FUNDS + sum(row.cash_usdc for row in held) == wallet.collateral, account

    async def trades_at_the_venue(self) -> dict[str, list[Mapping[str, Any]]]:
        """What the venue itself tells every follower of his trades, by proxy."""
        venue = VenueSettings.model_validate({"clob_url": self.deployment.pipeline.urls["clob"]})
        told = {}
        async with Clob(venue, now=utc_now) as clob:
            for account in self.group.followers:
                credentials = await clob.fetch_credentials(
                    Wallet(proxy=account.proxy, private_key=account.private_key)
                )
                told[account.proxy] = await clob.fetch_trades(
                    credentials, maker_address=account.proxy, since=datetime.fromtimestamp(0, UTC)
                )
        return told

    async def assert_the_venue_has_one_order_for_each_confirmed_one(self) -> None:
        """By what the venue tells of trades: none is doubled, none is unknown to our books."""
        for proxy, told in (await self.trades_at_the_venue()).items():
            ours = await self.rows(
                "select order_hash from executor.orders where proxy = :p and state = 'confirmed'",
                p=proxy,
            )
            assert sorted(row["taker_order_id"] for row in told) == sorted(
                order.order_hash for order in ours
            )

    async def records(self, topic: str) -> list[Any]:
        """Everything on a topic."""
        settings = self.deployment.pipeline.kafka_settings()
        return [
            record
            async for record in replay(settings, topic, partitions=range(settings.partitions))
        ]


@asynccontextmanager
async def story_in(deployment: Deployment, circle: FollowGroup) -> AsyncIterator[Story]:
    engine = deployment.pipeline.engine()
    try:
        async with (
            VenueControl(deployment.pipeline.urls["control"]) as venue,
            ChainClient(Rpc(deployment.pipeline.stack.rpc_url)) as chain,
        ):
            world: Mapping[str, Any] = await venue.fetch_world()
            yield Story(
                deployment=deployment,
                group=circle,
                venue=venue,
                engine=engine,
                chain=chain,
                tokens=tuple(token for market in world["markets"] for token in market["token_ids"]),
            )
    finally:
        await engine.dispose()
