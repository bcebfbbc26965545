"""Fills that settle on Polymarket's second neg-risk exchange: a leader's is copied, a follower's is
recorded as confirmed, and an order that only the chain knows is found. Without that exchange in the
setting nothing of it is read.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.executor.adapters.chain import ExchangeLogs
from services.ingest.adapters import ChainFeed, ChainHoldings
from services.ingest.adapters.holdings import RECENT_BLOCKS
from services.ingest.handler import Handler
from services.paper_venue.chain.deployment import Deployment
from services.tx_monitor.adapters import ReceiptFeed
from services.tx_monitor.decisions.watches import Watch, apply_receipt
from shared.chain.addresses import SECOND_NEG_RISK_EXCHANGE_V2
from shared.chain.blocks import Receipt
from shared.chain.client import ChainClient
from shared.chain.orders import BUY, SELL, SignedOrder, order_hash
from shared.chain.settings import ChainSettings
from shared.clock import utc_now
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import LeaderFillSeen
from shared.messages.transactions import Purpose, ReceiptSeen, TransactionState
from shared.streams.routes import Feed
from shared.testing.waiting import eventually
from tests.builders import a_fill, a_follow, controls, shares, usdc
from tests.fakes import FakeComplements, FakeHoldings, FakeTrades, FixedControls
from tests.feeds import PARTITIONS, FakePartitionCursors, Instance
from tests.integration.chain.market import SHARES, PaperMarket
from tests.orders import an_order

pytestmark = pytest.mark.integration

WITHOUT = ChainSettings(polygon_extra_exchanges="").exchanges
WITH = ChainSettings().exchanges
TRADED = shares(100)
BUYER, SELLER = 0, 1


@pytest.fixture
async def market(deployment: Deployment) -> PaperMarket:
    return await PaperMarket.open(deployment, exchange=SECOND_NEG_RISK_EXCHANGE_V2)


async def trade(market: PaperMarket) -> tuple[SignedOrder, Receipt]:
    """The buyer takes 100 shares at 0.50; his order."""
    bought = market.order(BUYER, BUY, gives=usdc(50), wants=TRADED)
    sold = market.order(SELLER, SELL, gives=TRADED, wants=usdc(50))
    return bought, await market.settle(market.match(bought, sold))


class OneWatch:
    """The store of a single open watch."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def load_open(self) -> list[Watch]:
        return [self._watch]


async def read_once(feed: Feed, *, is_read: object) -> list[Message]:
    """What the feed publishes until ``is_read`` returns something true."""
    published: list[Message] = []

    async def publish(message: Message) -> None:
        published.append(message)

    task = asyncio.create_task(feed(publish))
    await eventually(lambda: is_read(published))  # type: ignore[operator]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return published


async def read_leader_fills(
    market: PaperMarket, exchanges: Sequence[str], leader: str
) -> list[Message]:
    cursors = FakePartitionCursors(dict.fromkeys(range(PARTITIONS), 1))
    feed = ChainFeed(
        ChainClient(market.deployment.rpc, exchanges=exchanges),
        cursors,
        leaders=Instance(lambda: {leader}).shared,
        now=utc_now,
        poll_interval=timedelta(milliseconds=10),
        lookback_blocks=8,
        first_lookback_blocks=40,
    )
    return await read_once(feed, is_read=lambda _: cursors.stored)


async def test_a_leaders_fill_is_copied(market: PaperMarket) -> None:
    await trade(market)
    leader = market.traders[BUYER].address
    handler = Handler(
        trades=FakeTrades(),
        holdings=FakeHoldings(0),
        complements=FakeComplements(),
        controls=FixedControls(controls(a_follow(leader=leader))),
        now=utc_now,
    )

    (seen,) = await read_leader_fills(market, WITH, leader)
    assert isinstance(seen, LeaderFillSeen)
    (copy,) = await handler.on_leader_fill_seen(seen)

    assert isinstance(copy, CopyIntended)
    assert (copy.intent.side, copy.intent.leader_shares) == (Side.BUY, TRADED)
    assert await read_leader_fills(market, WITHOUT, leader) == []


async def test_a_followers_fill_is_recorded_as_confirmed(market: PaperMarket) -> None:
    order, receipt = await trade(market)
    watch = Watch(
        request_id="request-1",
        proxy=market.traders[BUYER].address,
        transaction_hash=receipt.tx_hash,
        purpose=Purpose.SETTLEMENT,
        intent_id="intent-1",
    )
    await market.deployment.rpc.call("anvil_mine", "0x100")

    async def read_receipt(exchanges: Sequence[str]) -> Watch:
        feed = ReceiptFeed(
            OneWatch(watch),  # type: ignore[arg-type]
            market.chain,
            exchanges=exchanges,
            owns=lambda _: True,
            now=utc_now,
            poll_interval=timedelta(milliseconds=10),
            batch_size=10,
            give_up_after=timedelta(hours=1),
        )
        seen = (await read_once(feed, is_read=lambda published: published))[0]
        assert isinstance(seen, ReceiptSeen)
        return apply_receipt(watch, seen)

    resolved = await read_receipt(WITH)

    assert resolved.state is TransactionState.FINAL
    assert [(each.order_hash, each.shares, each.usdc) for each in resolved.fills] == [
        (order_hash(order, SECOND_NEG_RISK_EXCHANGE_V2, "2"), TRADED, usdc(50))
    ]
    assert (await read_receipt(WITHOUT)).fills == ()


async def test_an_order_that_the_venue_does_not_show_is_found(market: PaperMarket) -> None:
    order, receipt = await trade(market)
    recorded = an_order(
        proxy=market.traders[BUYER].address,
        order_hash=order_hash(order, SECOND_NEG_RISK_EXCHANGE_V2, "2"),
        signed_at=utc_now(),
    )

    found = [
        await ExchangeLogs(
            ChainClient(market.deployment.rpc, exchanges=exchanges), now=utc_now
        ).fetch_fill(recorded)
        for exchanges in (WITH, WITHOUT)
    ]

    assert found == [receipt.tx_hash, ""]


async def test_an_old_sale_is_added_to_what_the_leader_holds_now(market: PaperMarket) -> None:
    _, receipt = await trade(market)
    await market.deployment.rpc.call("anvil_mine", hex(RECENT_BLOCKS + 1))
    sale = a_fill(
        leader=market.traders[SELLER].address,
        token_id=str(market.condition.yes_token),
        transaction_hash=receipt.tx_hash,
        side=Side.SELL,
        shares=TRADED,
    )

    held = [
        await ChainHoldings(market.chain, exchanges=exchanges).fetch_held_before(sale, [])
        for exchanges in (WITH, WITHOUT)
    ]

    assert held == [SHARES, SHARES - TRADED]
