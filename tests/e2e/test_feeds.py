"""The activity socket is dead: the chain's logs alone tell of every trade, also of those that were
made while nobody looked.
"""

from collections.abc import Iterator

import pytest

from shared.domain.money import Side
from shared.messages.leader_fills import FillSource
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, deployed
from tests.system.story import PATIENCE, LeaderTrade, Story
from tools.stack.background import BackgroundLoop
from tools.stack.ports import Ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OLD_AFTER_S = 25


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Nobody listens where the activity socket should be."""
    environment = {
        "RTDS_WS_URL": f"ws://127.0.0.1:{Ports().reserve_free()}",
        "PREFLIGHT_MAX_ENTRY_AGE": f"PT{OLD_AFTER_S}S",
    }
    with background.entered(
        deployed(tmp_path_factory.mktemp("feeds"), background, circles=2, environment=environment)
    ) as deployment:
        yield deployment


async def test_the_chain_alone_is_enough_to_copy_a_trade(story: Story) -> None:
    trade = await story.trades(Side.BUY, "100")

    await story.confirmed(trade)

    fills = await story.rows(
        "select * from ingest.fills where trade_id = :trade", trade=trade.trade_id
    )
    assert {fill.source for fill in fills} == {FillSource.CHAIN.value}
    await story.assert_books_equal_the_chain(story.tokens[0])


async def test_after_a_gap_the_recent_trades_are_copied_and_the_old_ones_refused_by_their_age(
    story: Story,
) -> None:
    await story.deployment.stop("ingest")
    old = await story.trades(Side.BUY, "100", token=story.tokens[2])
    mined_at = await mined(story, old)

    async def its_time_is_over() -> bool:
        return (await story.chain.fetch_latest_block()).timestamp > mined_at + OLD_AFTER_S

    await eventually(
        its_time_is_over, within=PATIENCE, what=f"a block {OLD_AFTER_S} s after the trade's"
    )
    recent = await story.trades(Side.BUY, "100", token=story.tokens[4])
    await story.deployment.start("ingest")

    verdicts = await story.judged(old)
    await story.confirmed(recent)

    assert {(verdict.state, verdict.reason) for verdict in verdicts.values()} == {
        ("refused", "trade_too_old")
    }
    assert await story.orders(old) == {}
    await story.assert_books_equal_the_chain(story.tokens[2], story.tokens[4])


async def mined(story: Story, trade: LeaderTrade) -> int:
    """Waits until the trade's settlement is in a block; that block's time."""

    async def block_time() -> int | None:
        receipt = await story.chain.fetch_receipt(trade.transaction_hash)
        return (
            (await story.chain.fetch_blocks([receipt.block_number]))[0].timestamp
            if receipt
            else None
        )

    found: int = await eventually(block_time, within=PATIENCE, what="the leader's trade in a block")
    return found
