"""What an end-to-end test works with: it makes leaders trade, and reads the results from the
database, the topics, the venue and the chain.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.clock import utc_now
from shared.db.engine import fetch_rows, transaction
from shared.domain.follows import Follow
from shared.domain.ids import intent_id, trade_id
from shared.domain.money import CENT, Side, as_decimal, micros, round_down
from shared.polymarket.clob import Clob
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet
from shared.streams.replay import replay
from shared.testing.waiting import eventually
from tests.system.deployment import INITIAL_USDC, Deployment, FollowGroup
from tools.pipeline.venue import VenueControl, VenueRefused

TIMEOUT_S = 180
"""A busy machine may take this long for what an idle one does in two seconds."""

DAY_CHANGE_WAIT = timedelta(minutes=3)
"""No trade is made so shortly before the end of a day (UTC): its intents might be made on either.
"""

SERVICES_WITH_CONTROLS = ("ingest", "preflight", "executor")
LOAD_TRADES = """
select * from executor.trades where intent_id = any(cast(:ids as text[]))
order by intent_id, trade_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderTrade:
    """A leader's trade as the venue reported it. Micro-shares and micro-USDC."""

    leader: str
    token: str
    side: Side
    transaction_hash: str
    shares: int
    usdc: int
    made_at: datetime
    """On its day (UTC) the intents are made."""

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
    """One test's view of a deployment. No other test uses the leader and followers of ``group``."""

    deployment: Deployment
    group: FollowGroup
    venue: VenueControl
    engine: AsyncEngine
    chain: ChainClient
    tokens: tuple[str, ...]

    async def make_leader_trade(
        self, side: Side, usdc: str, *, token: str | None = None
    ) -> LeaderTrade:
        """The group's leader buys for this much, or sells shares that are worth this much at the
        best bid.
        """
        return await self.make_trade_as(self.group.leader, side, usdc, token=token)

    async def make_trade_as(
        self, leader: str, side: Side, usdc: str, *, token: str | None = None
    ) -> LeaderTrade:
        """The same of any leader."""
        return await self._trade(leader, side, token or self.tokens[0], usdc=usdc)

    async def make_leader_sale(self, shares: int, *, token: str) -> LeaderTrade:
        """The group's leader sells so many micro-shares, cut to whole hundredths of a
        share, as soon as the venue has settled what he bought.
        """
        seller, amount = self.group.leader, str(as_decimal(round_down(shares, CENT)))

        async def sold() -> LeaderTrade | None:
            try:
                return await self._trade(seller, Side.SELL, token, shares=amount)
            except VenueRefused:
                return None

        sale: LeaderTrade = await eventually(sold, within=TIMEOUT_S, what=f"{seller} sells")
        assert sale.shares == round_down(shares, CENT)
        return sale

    async def _trade(self, leader: str, side: Side, token: str, **amount: str) -> LeaderTrade:
        await _leave_day_change()
        made_at = utc_now()
        reply = await self.venue.leader_trade(leader=leader, token=token, side=side.value, **amount)
        return LeaderTrade(
            leader=leader,
            token=token,
            side=side,
            transaction_hash=reply["transaction_hash"],
            shares=micros(Decimal(reply["shares"])),
            usdc=micros(Decimal(reply["usdc"])),
            made_at=made_at,
        )

    def intent_ids(self, trade: LeaderTrade) -> dict[str, str]:
        """The id of the intent that copies the trade for each follower of the group, by proxy."""
        return {follow.proxy: self.intent_id(trade, follow) for follow in self.group.follows}

    def intent_id(self, trade: LeaderTrade, follow: Follow) -> str:
        """The id of the intent that copies the whole trade for the follow."""
        return intent_id(
            trade=trade.trade_id,
            from_shares=0,
            follow_id=follow.follow_id,
            intended_at=trade.made_at,
        )

    @asynccontextmanager
    async def faults_on(self, faults: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[None]:
        """While these faults are switched on. Each must have struck by the end."""
        await self.venue.change_faults(faults)
        try:
            yield
            struck = (await self.venue.fetch_faults())["struck"]
            assert all(struck[name] for name in faults), struck
        finally:
            await self.venue.change_faults(dict.fromkeys(faults))

    async def fetch_rows(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        async with transaction(self.engine) as connection:
            return await fetch_rows(connection, query, **parameters)

    async def fetch_orders(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """The stored orders of the trade's copies, by proxy."""
        ids = list(self.intent_ids(trade).values())
        return {
            row.proxy: row
            for row in await self.fetch_rows(
                "select * from executor.orders_with_states where intent_id = any(:ids)", ids=ids
            )
        }

    async def fetch_verdicts(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """The stored verdicts on the trade's copies, by proxy."""
        ids = list(self.intent_ids(trade).values())
        return {
            row.proxy: row
            for row in await self.fetch_rows(
                "select * from preflight.intents join preflight.verdicts using (intent_id) "
                "where intent_id = any(:ids)",
                ids=ids,
            )
        }

    async def wait_for_quotes(self, trade: LeaderTrade) -> None:
        """Wait until every follower's intent is quoted: preflight can judge it."""

        async def all_quoted() -> bool:
            quoted = [
                record
                for record in await self.read_topic("quoted-intents")
                if trade.transaction_hash.encode() in record.value
            ]
            return len(quoted) == len(self.group.followers)

        await eventually(
            all_quoted, within=TIMEOUT_S, what="each follower's intent on quoted-intents"
        )

    async def wait_for_verdicts(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """Wait until every follower's intent has its verdict; the verdicts by proxy."""

        async def all_verdicts() -> dict[str, Row[Any]]:
            verdicts = await self.fetch_verdicts(trade)
            return verdicts if len(verdicts) == len(self.group.followers) else {}

        verdicts: dict[str, Row[Any]] = await eventually(
            all_verdicts, within=TIMEOUT_S, what="a verdict on each follower's intent"
        )
        return verdicts

    async def wait_for_confirmed_orders(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """Wait until every follower's order is confirmed and final on the chain; by proxy."""

        async def all_final() -> dict[str, Row[Any]]:
            orders = await self.fetch_orders(trade)
            trades = await self.fetch_rows(
                LOAD_TRADES, ids=[order.intent_id for order in orders.values()]
            )
            done = len(orders) == len(self.group.followers) and all(
                order.state == "confirmed" for order in orders.values()
            )
            return orders if done and all(each.chain_state == "final" for each in trades) else {}

        what = f"each follower's copy of {trade.transaction_hash} confirmed and final"
        confirmed: dict[str, Row[Any]] = await eventually(all_final, within=TIMEOUT_S, what=what)
        return confirmed

    async def wait_for_exits(self, trade: LeaderTrade) -> dict[str, Row[Any]]:
        """Wait until every follower's exit has ended, whatever attempts it took, and what it sold
        is final on the chain; the rows of the exits by proxy.
        """

        async def ended() -> dict[str, Row[Any]]:
            exits = await self.fetch_rows(
                "select * from preflight.exits where exit_id = any(:ids) and state <> 'open'",
                ids=list(self.intent_ids(trade).values()),
            )
            attempts = await self.fetch_rows(
                "select intent_id from preflight.intents where exit_id = any(:ids)",
                ids=[each.exit_id for each in exits],
            )
            trades = await self.fetch_rows(LOAD_TRADES, ids=[each.intent_id for each in attempts])
            done = len(exits) == len(self.group.followers) and all(
                each.chain_state == "final" for each in trades
            )
            return {each.proxy: each for each in exits} if done else {}

        what = f"each follower's exit of {trade.transaction_hash} ended"
        exits: dict[str, Row[Any]] = await eventually(ended, within=TIMEOUT_S, what=what)
        return exits

    async def wait_for_confirmed_order(self, intent_id: str) -> Row[Any]:
        """Wait until the intent's order is confirmed, and final on the chain."""

        async def confirmed() -> Sequence[Row[Any]]:
            orders = await self.fetch_rows(
                "select * from executor.orders_with_states "
                "where intent_id = :id and state = 'confirmed'",
                id=intent_id,
            )
            trades = await self.fetch_rows(LOAD_TRADES, ids=[intent_id])
            return orders if all(each.chain_state == "final" for each in trades) else []

        orders: Sequence[Row[Any]] = await eventually(
            confirmed, within=TIMEOUT_S, what=f"the order of {intent_id} confirmed and final"
        )
        return orders[0]

    async def wait_for_controls(self, version: int) -> None:
        """Wait until every service that has controls acts on this version or a later one."""

        async def is_in_effect() -> bool:
            versions = [
                await self.deployment.fetch_metric(service, "slipstream_controls_version")
                for service in SERVICES_WITH_CONTROLS
            ]
            return min(versions) >= version

        await eventually(
            is_in_effect, within=TIMEOUT_S, what=f"version {version} of the controls in effect"
        )

    async def wait_for_both_sources(self, trade: LeaderTrade) -> Sequence[Row[Any]]:
        """Wait until the activity socket and the chain have reported the trade; all rows of it."""

        async def rows_of_both() -> Sequence[Row[Any]]:
            fills = await self.fetch_rows(
                "select * from ingest.fills where trade_id = :trade", trade=trade.trade_id
            )
            return fills if len({fill.source for fill in fills}) == 2 else []

        fills: Sequence[Row[Any]] = await eventually(
            rows_of_both, within=TIMEOUT_S, what="rows of both sources"
        )
        return fills

    async def assert_records_equal_the_chain(self, *tokens: str) -> None:
        """Compare every follower's shares and pUSD exactly."""
        for account in self.group.followers:
            balances = await self.chain.fetch_balances(
                account.proxy, [int(token) for token in tokens]
            )
            positions = await self.fetch_rows(
                "select * from executor.positions where proxy = :proxy", proxy=account.proxy
            )
            shares = {
                str(token): count for token, count in balances.shares_by_token.items() if count
            }
            assert {row.token_id: row.shares for row in positions if row.shares} == shares, account
            assert INITIAL_USDC + sum(row.cash_usdc for row in positions) == balances.collateral, (
                account
            )

    async def fetch_venue_trades(self) -> dict[str, list[Mapping[str, Any]]]:
        """The venue's own list of every follower's trades, by proxy."""
        venue = VenueSettings.model_validate({"clob_url": self.deployment.pipeline.urls["clob"]})
        trades = {}
        async with Clob(venue, now=utc_now) as clob:
            for account in self.group.followers:
                credentials = await clob.fetch_credentials(
                    Wallet(proxy=account.proxy, private_key=account.private_key)
                )
                trades[account.proxy] = await clob.fetch_trades(
                    credentials, maker_address=account.proxy, since=datetime.fromtimestamp(0, UTC)
                )
        return trades

    async def assert_venue_has_one_order_per_confirmed_copy(self) -> None:
        """No order was executed twice, and none is missing in our records."""
        for proxy, trades in (await self.fetch_venue_trades()).items():
            orders = await self.fetch_rows(
                "select order_hash from executor.orders_with_states "
                "where proxy = :p and state = 'confirmed'",
                p=proxy,
            )
            assert sorted(row["taker_order_id"] for row in trades) == sorted(
                order.order_hash for order in orders
            )

    async def read_topic(self, topic: str) -> list[Any]:
        """All records of the topic."""
        settings = self.deployment.pipeline.kafka_settings()
        return [
            record
            async for record in replay(settings, topic, partitions=range(settings.partitions))
        ]


@asynccontextmanager
async def open_story(deployment: Deployment, group: FollowGroup) -> AsyncIterator[Story]:
    engine = deployment.pipeline.engine()
    try:
        async with (
            VenueControl(deployment.pipeline.urls["control"]) as venue,
            ChainClient(Rpc(deployment.pipeline.stack.rpc_url)) as chain,
        ):
            world: Mapping[str, Any] = await venue.fetch_world()
            yield Story(
                deployment=deployment,
                group=group,
                venue=venue,
                engine=engine,
                chain=chain,
                tokens=tuple(token for market in world["markets"] for token in market["token_ids"]),
            )
    finally:
        await engine.dispose()


async def _leave_day_change() -> None:
    """Wait for the next day where it is about to begin."""
    await eventually(
        lambda: utc_now().date() == (utc_now() + DAY_CHANGE_WAIT).date(),
        within=2 * DAY_CHANGE_WAIT.total_seconds(),
        what="the next day begins",
    )
