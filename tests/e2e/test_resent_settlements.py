"""A leader's settlement fails on the chain, and is resent under another transaction or not at all:
each trade is copied once.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Row

from services.ingest.decisions.trades import PRICE_TOLERANCE
from shared.domain.money import Side
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

UNSETTLED_AFTER = timedelta(seconds=10)


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    environment = {
        "INGEST_UNSETTLED_AFTER": f"PT{UNSETTLED_AFTER.seconds}S",
        "INGEST_UNSETTLED_CHECK_INTERVAL": "PT1S",
        # On a busy machine a block can be late; the trade is to be copied in spite of that.
        "PREFLIGHT_MAX_ENTRY_AGE": "PT120S",
    }
    with background.entered(
        running_deployment(
            tmp_path_factory.mktemp("resent"), background, follow_groups=3, environment=environment
        )
    ) as deployment:
        yield deployment


async def test_a_resent_settlement_of_a_leader_is_copied_once(story: Story) -> None:
    async with story.faults_on({"retrying": {"only": story.group.leader, "times": 1}}):
        trade = await story.make_leader_trade(Side.BUY, "100")
        await story.wait_for_confirmed_orders(trade)
        (settled,) = await wait_for_confirmed_trades(story, count=1)

    assert settled.transaction_hash != trade.transaction_hash
    assert await fetch_copied_shares(story) == {trade.transaction_hash: trade.shares}
    resent = await story.fetch_rows(
        "select * from ingest.copy_slices where trade_id = :trade", trade=settled.trade_id
    )
    assert [(each.from_shares, each.to_shares, each.resent_of) for each in resent] == [
        (0, trade.shares, trade.trade_id)
    ]
    await assert_one_copy_of_each(story, trade)


async def test_two_equal_trades_are_both_copied_although_the_socket_misses_one(
    story: Story,
) -> None:
    """The same shares at the same price and time. Only the chain reports the second trade."""
    token = story.tokens[2]
    first = await story.make_leader_trade(Side.BUY, "20", token=token)
    async with story.faults_on({"rows-missing": {"only": story.group.leader, "times": 1}}):
        second = await story.make_leader_trade(Side.BUY, "20", token=token)

    for trade in (first, second):
        await story.wait_for_confirmed_orders(trade)

    assert await fetch_copied_shares(story) == {
        trade.transaction_hash: trade.shares for trade in (first, second)
    }
    await assert_one_copy_of_each(story, first, second)


async def test_a_failed_trade_is_logged_as_an_error_and_its_copies_count_for_the_next_one(
    story: Story,
) -> None:
    """Its copies remain, an error is logged, and the leader's next trade at the same price, which
    only the chain reports, is counted against them.
    """
    token = story.tokens[4]
    async with story.faults_on({"failed": {"only": story.group.leader, "times": 1}}):
        failed = await story.make_leader_trade(Side.BUY, "50", token=token)
        await story.wait_for_confirmed_orders(failed)
    await eventually(
        lambda: is_logged_as_unsettled(story, failed),
        within=TIMEOUT_S,
        what="an error that names the trade",
    )
    unsettled = await story.deployment.fetch_metric("ingest", "slipstream_leader_trades_unsettled")
    assert unsettled == 1

    async with story.faults_on({"rows-missing": {"only": story.group.leader, "times": 1}}):
        next_trade = await story.make_leader_trade(Side.BUY, "50", token=token)
    await wait_for_confirmed_trades(story, count=1)

    assert await fetch_copied_shares(story) == {
        failed.transaction_hash: failed.shares,
        **uncovered_shares(next_trade, beyond=failed),
    }


def uncovered_shares(trade: LeaderTrade, *, beyond: LeaderTrade) -> dict[str, int]:
    """What is copied of a trade if another one's copies count for it. The shares and prices of the
    two may differ, because the market makers' quotes do.
    """
    if abs(trade.price - beyond.price) > PRICE_TOLERANCE:
        return {trade.transaction_hash: trade.shares}
    rest = trade.shares - beyond.shares
    return {trade.transaction_hash: rest} if rest > 10_000 else {}


async def wait_for_confirmed_trades(story: Story, *, count: int) -> Sequence[Row[Any]]:
    """Wait until ingest has recorded the chain's rows of this many trades of the leader."""
    query = """
    select distinct trade_id, transaction_hash from ingest.fills
    where leader = :leader and source = 'chain'
    """

    async def confirmed() -> Sequence[Row[Any]]:
        trades = await story.fetch_rows(query, leader=story.group.leader)
        return trades if len(trades) == count else []

    trades: Sequence[Row[Any]] = await eventually(
        confirmed, within=TIMEOUT_S, what=f"the chain's rows of {count} of the leader's trades"
    )
    return trades


async def fetch_copied_shares(story: Story) -> dict[str, int]:
    """Micro-shares of the leader's trades that became intents, by transaction."""
    query = """
    select transaction_hash, sum(to_shares - from_shares)::bigint as shares
    from (
        select distinct trade_id, transaction_hash from ingest.fills where leader = :leader
    ) as trades
    join ingest.copy_slices using (trade_id)
    where resent_of = ''
    group by transaction_hash
    """
    return {
        row.transaction_hash: row.shares
        for row in await story.fetch_rows(query, leader=story.group.leader)
    }


async def assert_one_copy_of_each(story: Story, *trades: LeaderTrade) -> None:
    """Compare the executor's orders, the venue's trades and the followers' wallets."""
    orders = await story.fetch_rows(
        "select intent_id from executor.orders where leader = :leader", leader=story.group.leader
    )
    assert sorted(order.intent_id for order in orders) == sorted(
        intent for trade in trades for intent in story.intent_ids(trade).values()
    )
    await story.assert_venue_has_one_order_per_confirmed_copy()
    await story.assert_records_equal_the_chain(*{trade.token for trade in trades})


def is_logged_as_unsettled(story: Story, trade: LeaderTrade) -> bool:
    lines = (story.deployment.logs / "ingest.log").read_text().splitlines()
    return any('"ERROR"' in line and trade.transaction_hash in line for line in lines)
