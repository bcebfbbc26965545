"""Exits sell what their follow holds, in the leader's proportion, until it is sold."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy.engine import Row

from services.paper_venue.faults.catalogue import Fault
from shared.db.controls import save_follows, save_mode
from shared.domain.follows import GLOBAL, Mode
from shared.domain.money import CENT, Side, round_down
from tests.system.deployment import Deployment, a_follow, running_deployment
from tests.system.story import Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        running_deployment(tmp_path_factory.mktemp("exits"), background, follow_groups=8)
    ) as deployment:
        yield deployment


async def assert_all_sold(
    story: Story, entries: Mapping[str, Row[Any]], *exits: Mapping[str, Row[Any]]
) -> None:
    """Each follower sold what he bought, but for less than a hundredth of a share per exit: orders
    are in whole hundredths.
    """
    for proxy, entry in entries.items():
        assert {each[proxy].state for each in exits} == {"done"}
        sold = sum(each[proxy].sold_shares for each in exits)
        assert 0 <= entry.shares - sold < CENT * len(exits)


async def test_a_leader_who_sells_at_once_what_he_bought_is_followed_out(story: Story) -> None:
    """The followers' entries are not settled when he sells: their exits wait for them."""
    token = story.tokens[0]
    bought = await story.make_leader_trade(Side.BUY, "60", token=token)
    sold = await story.make_leader_sale(bought.shares, token=token)

    exits = await story.wait_for_exits(sold)

    await assert_all_sold(story, await story.wait_for_confirmed_orders(bought), exits)
    await story.assert_records_equal_the_chain(token)
    await story.assert_venue_has_one_order_per_confirmed_copy()


async def test_two_clips_before_any_exit_is_settled_sell_everything(story: Story) -> None:
    """The second clip is all that the leader has left, though the chain may not show the first."""
    token = story.tokens[2]
    bought = await story.make_leader_trade(Side.BUY, "60", token=token)
    entries = await story.wait_for_confirmed_orders(bought)

    half = round_down(bought.shares // 2, CENT)
    clips = [
        await story.make_leader_sale(half, token=token),
        await story.make_leader_sale(bought.shares - half, token=token),
    ]
    exits = [await story.wait_for_exits(clip) for clip in clips]

    for proxy, entry in entries.items():
        assert abs(exits[0][proxy].shares * 2 - entry.shares) <= 2 * CENT
    await assert_all_sold(story, entries, *exits)
    await story.assert_records_equal_the_chain(token)


async def test_an_exit_sells_what_its_own_follow_bought_and_nothing_else(
    story: Story, deployment: Deployment
) -> None:
    """Two leaders buy the same token for the same followers; one of them sells."""
    token, other = story.tokens[4], deployment.follow_groups.popleft()
    follows = [a_follow(other.leader, each.proxy) for each in story.group.followers]
    version = await save_follows(story.engine, follows, by="test", change="a second leader")
    await story.wait_for_controls(version)
    entries = await story.wait_for_confirmed_orders(
        bought := await story.make_leader_trade(Side.BUY, "60", token=token)
    )
    theirs = await story.make_trade_as(other.leader, Side.BUY, "40", token=token)
    for follow in follows:
        await story.wait_for_confirmed_order(story.intent_id(theirs, follow))

    exits = await story.wait_for_exits(await story.make_leader_sale(bought.shares, token=token))

    await assert_all_sold(story, entries, exits)
    kept = {row.proxy: row.shares for row in await load_positions(story, follows[0].leader)}
    for follow in follows:
        order = await story.wait_for_confirmed_order(story.intent_id(theirs, follow))
        assert kept[follow.proxy] == order.shares > 0
    await story.assert_records_equal_the_chain(token)


async def load_positions(story: Story, leader: str) -> list[Row[Any]]:
    """What each follower holds by following that leader."""
    return list(
        await story.fetch_rows(
            "select p.* from preflight.positions p join control.follows f using (follow_id) "
            "where f.leader = :leader and p.proxy = any(:proxies)",
            leader=leader,
            proxies=[each.proxy for each in story.group.followers],
        )
    )


async def test_an_exit_while_everything_is_halted_is_sold_after_the_halt(story: Story) -> None:
    token = story.tokens[6]
    bought = await story.make_leader_trade(Side.BUY, "60", token=token)
    entries = await story.wait_for_confirmed_orders(bought)
    await story.wait_for_controls(await save_mode(story.engine, GLOBAL, Mode.HALTED, by="test"))
    sold = await story.make_leader_sale(bought.shares, token=token)
    verdicts = await story.wait_for_verdicts(sold)
    await save_mode(story.engine, GLOBAL, Mode.ACTIVE, by="test")

    exits = await story.wait_for_exits(sold)

    assert {verdict.reason for verdict in verdicts.values()} == {"halted"}
    await assert_all_sold(story, entries, exits)
    await story.assert_records_equal_the_chain(token)


@pytest.mark.parametrize("fault", [Fault.KEY_REVOKED, Fault.STALE_BALANCE, Fault.ORDER_REFUSED])
async def test_an_exit_is_sold_whatever_the_venue_answers_first(story: Story, fault: Fault) -> None:
    """A key that was revoked, a stale view of the balance, an order that nothing matches."""
    token = story.tokens[8]
    bought = await story.make_leader_trade(Side.BUY, "60", token=token)
    entries = await story.wait_for_confirmed_orders(bought)

    async with story.faults_on({fault: {"times": len(story.group.followers)}}):
        sold = await story.make_leader_sale(bought.shares, token=token)
        exits = await story.wait_for_exits(sold)

    await assert_all_sold(story, entries, exits)
    await story.assert_records_equal_the_chain(token)
