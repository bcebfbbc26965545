"""An entry over the rate of its follower waits, through a crash too, and is copied once."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared.domain.money import Side
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        running_deployment(
            tmp_path_factory.mktemp("rate"),
            background,
            follow_groups=1,
            environment={"PREFLIGHT_MAX_ENTRIES_PER_MINUTE": "1"},
        )
    ) as deployment:
        yield deployment


async def test_the_second_entry_of_a_minute_waits_and_an_exit_behind_it_does_not(
    story: Story,
) -> None:
    first = await story.make_leader_trade(Side.BUY, "100")
    entries = await story.wait_for_confirmed_orders(first)
    second = await story.make_leader_trade(Side.BUY, "100", token=story.tokens[2])
    await eventually(
        lambda: is_delayed_or_judged(story, second),
        within=TIMEOUT_S,
        what="the second entry of each follower is delayed",
    )
    await story.deployment.kill("preflight")
    await story.deployment.start("preflight")

    exits = await story.wait_for_exits(await story.make_leader_trade(Side.SELL, "50"))
    late = await story.wait_for_confirmed_orders(second)

    assert all(exits[proxy].sold_shares > 0 for proxy in entries)
    judged, judged_late = await story.fetch_verdicts(first), await story.fetch_verdicts(second)
    for proxy in late:
        waited = judged_late[proxy].judged_at - judged[proxy].judged_at
        assert waited >= timedelta(seconds=60)
    assert await story.fetch_rows("select * from preflight.delayed_entries") == []
    await story.assert_venue_has_one_order_per_confirmed_copy()
    await story.assert_records_equal_the_chain(story.tokens[0], story.tokens[2])


async def is_delayed_or_judged(story: Story, trade: LeaderTrade) -> bool:
    """Judged already, on a machine that took a minute for the first copies."""
    rows = await story.fetch_rows(
        "select intent_id from preflight.delayed_entries where intent_id = any(:ids) "
        "union select intent_id from preflight.intents where intent_id = any(:ids)",
        ids=list(story.intent_ids(trade).values()),
    )
    return len(rows) == len(story.group.followers)
