"""Without the activity socket, the chain's logs report every trade, also those that were made while
ingest was down.
"""

from collections.abc import Iterator

import pytest

from shared.domain.money import Side
from shared.messages.leader_fills import FillSource
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.background import BackgroundLoop
from tools.stack.ports import Ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

MAX_ENTRY_AGE_S = 60
"""Also the time that a busy machine may take to start ingest again."""


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Nothing listens at the address of the activity socket."""
    environment = {
        "RTDS_WS_URL": f"ws://127.0.0.1:{Ports().reserve_free()}",
        "PREFLIGHT_MAX_ENTRY_AGE": f"PT{MAX_ENTRY_AGE_S}S",
    }
    with background.entered(
        running_deployment(
            tmp_path_factory.mktemp("feeds"), background, follow_groups=2, environment=environment
        )
    ) as deployment:
        yield deployment


async def test_a_trade_is_copied_from_the_chains_logs_alone(story: Story) -> None:
    trade = await story.make_leader_trade(Side.BUY, "100")

    await story.wait_for_confirmed_orders(trade)

    fills = await story.fetch_rows(
        "select * from ingest.fills where trade_id = :trade", trade=trade.trade_id
    )
    assert {fill.source for fill in fills} == {FillSource.CHAIN.value}
    await story.assert_records_equal_the_chain(story.tokens[0])


async def test_after_downtime_recent_trades_are_copied_and_old_ones_refused(story: Story) -> None:
    await story.deployment.stop("ingest")
    old = await story.make_leader_trade(Side.BUY, "100", token=story.tokens[2])
    mined_at = await wait_for_block_time(story, old)

    async def is_too_old() -> bool:
        return (await story.chain.fetch_latest_block()).timestamp > mined_at + MAX_ENTRY_AGE_S

    await eventually(
        is_too_old, within=TIMEOUT_S, what=f"a block {MAX_ENTRY_AGE_S} s after the trade's"
    )
    recent = await story.make_leader_trade(Side.BUY, "100", token=story.tokens[4])
    await story.deployment.start("ingest")

    verdicts = await story.wait_for_verdicts(old)
    await story.wait_for_confirmed_orders(recent)

    assert {(verdict.state, verdict.reason) for verdict in verdicts.values()} == {
        ("refused", "trade_too_old")
    }
    assert await story.fetch_orders(old) == {}
    await story.assert_records_equal_the_chain(story.tokens[2], story.tokens[4])


async def wait_for_block_time(story: Story, trade: LeaderTrade) -> int:
    """Wait until the trade's settlement is in a block; the time of that block."""

    async def block_time() -> int | None:
        receipt = await story.chain.fetch_receipt(trade.transaction_hash)
        return (
            (await story.chain.fetch_blocks([receipt.block_number]))[0].timestamp
            if receipt
            else None
        )

    timestamp: int = await eventually(
        block_time, within=TIMEOUT_S, what="the leader's trade in a block"
    )
    return timestamp
