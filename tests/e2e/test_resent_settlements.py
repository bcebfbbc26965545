"""A leader's settlement fails on the chain: it is sent again under another transaction, or it is
over. Each trade is copied once.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from sqlalchemy.engine import Row

from shared.domain.money import Side
from shared.testing.waiting import eventually
from tests.e2e.test_faults import struck_by
from tests.system.deployment import Deployment, deployed
from tests.system.story import PATIENCE, LeaderTrade, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

UNSETTLED_AFTER = timedelta(seconds=10)


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    environment = {
        "INGEST_UNSETTLED_AFTER": f"PT{UNSETTLED_AFTER.seconds}S",
        "INGEST_UNSETTLED_LOOK_EVERY": "PT1S",
        # a busy machine is late with a block; what is shown here is that it is copied at all
        "PREFLIGHT_MAX_ENTRY_AGE": "PT120S",
    }
    with background.entered(
        deployed(tmp_path_factory.mktemp("resent"), background, circles=3, environment=environment)
    ) as deployment:
        yield deployment


async def test_a_leaders_settlement_that_is_sent_again_is_copied_once(story: Story) -> None:
    async with struck_by(story, {"retrying": {"only": story.group.leader, "times": 1}}):
        trade = await story.trades(Side.BUY, "100")
        await story.confirmed(trade)
        (settled,) = await proofs(story, count=1)

    assert settled.transaction_hash != trade.transaction_hash
    assert await copied(story) == {trade.transaction_hash: trade.shares}
    resent = await story.rows(
        "select * from ingest.copy_slices where trade_id = :trade", trade=settled.trade_id
    )
    assert [(part.from_shares, part.to_shares, part.resent_of) for part in resent] == [
        (0, trade.shares, trade.trade_id)
    ]
    await assert_one_copy_of_each(story, trade)


async def test_two_equal_trades_are_both_copied_though_the_socket_is_silent_about_one(
    story: Story,
) -> None:
    """At the same moment, the same shares at the same price; of the second the chain alone tells."""
    token = story.tokens[2]
    first = await story.trades(Side.BUY, "20", token=token)
    async with struck_by(story, {"rows-missing": {"only": story.group.leader, "times": 1}}):
        second = await story.trades(Side.BUY, "20", token=token)

    for trade in (first, second):
        await story.confirmed(trade)

    assert await copied(story) == {
        trade.transaction_hash: trade.shares for trade in (first, second)
    }
    await assert_one_copy_of_each(story, first, second)


async def test_a_trade_that_fails_for_good_is_told_and_its_copies_count_for_the_next_one(
    story: Story,
) -> None:
    """A ghost: nothing takes its copies back, a human is told, and the leader's next trade, told by
    the chain, finds them.
    """
    token = story.tokens[4]
    async with struck_by(story, {"failed": {"only": story.group.leader, "times": 1}}):
        ghost = await story.trades(Side.BUY, "50", token=token)
        await story.confirmed(ghost)
    await eventually(
        lambda: is_told_as_unsettled(story, ghost),
        within=PATIENCE,
        what="an error that names the trade",
    )
    assert await unsettled(story) == 1

    async with struck_by(story, {"rows-missing": {"only": story.group.leader, "times": 1}}):
        again = await story.trades(Side.BUY, "50", token=token)
    await proofs(story, count=1)

    assert await copied(story) == {
        ghost.transaction_hash: ghost.shares,
        **rest_of(again, beyond=ghost),
    }


def rest_of(trade: LeaderTrade, *, beyond: LeaderTrade) -> dict[str, int]:
    """What a trade is copied with that another one's copies count for: the fill may differ by what
    the market makers quote.
    """
    rest = trade.shares - beyond.shares
    return {trade.transaction_hash: rest} if rest > 10_000 else {}


async def proofs(story: Story, *, count: int) -> Sequence[Row[Any]]:
    """Waits until ingest has the chain's word on so many of the leader's trades, and has decided on
    each.
    """
    query = "select distinct trade_id, transaction_hash from ingest.fills where leader = :leader and source = 'chain'"

    async def told() -> Sequence[Row[Any]]:
        found = await story.rows(query, leader=story.group.leader)
        return found if len(found) == count else []

    found: Sequence[Row[Any]] = await eventually(
        told, within=PATIENCE, what=f"the chain's word on {count} of the leader's trades"
    )
    return found


async def copied(story: Story) -> dict[str, int]:
    """Micro-shares of the leader's trades that were made intents, by transaction."""
    query = """
    select transaction_hash, sum(to_shares - from_shares)::bigint as shares
    from (select distinct trade_id, transaction_hash from ingest.fills where leader = :leader) as trades
    join ingest.copy_slices using (trade_id) where resent_of = '' group by transaction_hash
    """
    return {
        row.transaction_hash: row.shares
        for row in await story.rows(query, leader=story.group.leader)
    }


async def assert_one_copy_of_each(story: Story, *trades: LeaderTrade) -> None:
    """In the executor's books, at the venue and in the followers' wallets."""
    orders = await story.rows(
        "select intent_id from executor.orders where leader = :leader", leader=story.group.leader
    )
    assert sorted(order.intent_id for order in orders) == sorted(
        intent for trade in trades for intent in story.intents(trade).values()
    )
    await story.assert_the_venue_has_one_order_for_each_confirmed_one()
    await story.assert_books_equal_the_chain(*{trade.token for trade in trades})


def is_told_as_unsettled(story: Story, trade: LeaderTrade) -> bool:
    lines = (story.deployment.logs / "ingest.log").read_text().splitlines()
    return any('"ERROR"' in line and trade.transaction_hash in line for line in lines)


async def unsettled(story: Story) -> int:
    """How many trades ingest says were copied and are in no block."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{story.deployment.pipeline.health_urls['ingest']}/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    (shown,) = [line for line in lines if line.startswith("slipstream_leader_trades_unsettled ")]
    return int(shown.split()[1].split(".")[0])
