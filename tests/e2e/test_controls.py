"""Pause, resume and unfollow take effect without a restart."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.db.controls import save_follows, save_mode
from shared.domain.follows import GLOBAL, Mode, follower_scope, leader_scope
from shared.domain.money import Side
from tests.system.deployment import FollowGroup
from tests.system.story import Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


async def test_a_halted_follower_copies_nothing_until_he_is_resumed_and_the_others_go_on(
    story: Story,
) -> None:
    halted, *others = [account.proxy for account in story.group.followers]

    await set_mode(story, follower_scope(halted), Mode.HALTED)
    trade = await story.make_leader_trade(Side.BUY, "20")
    verdicts = await story.wait_for_verdicts(trade)

    assert (verdicts[halted].state, verdicts[halted].reason) == ("refused", "halted")
    for other in others:
        await story.wait_for_confirmed_order(verdicts[other].intent_id)
    assert set(await story.fetch_orders(trade)) == set(others)

    await set_mode(story, follower_scope(halted), Mode.ACTIVE)
    await story.wait_for_confirmed_orders(await story.make_leader_trade(Side.BUY, "20"))
    await story.assert_records_equal_the_chain(story.tokens[0])


async def test_a_reducing_follower_sells_and_does_not_buy(story: Story) -> None:
    reducing, *others = [account.proxy for account in story.group.followers]
    entries = await story.wait_for_confirmed_orders(await story.make_leader_trade(Side.BUY, "100"))

    await set_mode(story, follower_scope(reducing), Mode.REDUCING)
    verdicts = await story.wait_for_verdicts(await story.make_leader_trade(Side.BUY, "50"))
    exits = await story.wait_for_exits(await story.make_leader_trade(Side.SELL, "50"))

    assert (verdicts[reducing].state, verdicts[reducing].reason) == ("refused", "reducing")
    assert all(verdicts[other].reason == "" for other in others)
    assert 0 < exits[reducing].sold_shares < entries[reducing].shares


@pytest.mark.parametrize(
    "scope",
    [lambda group: leader_scope(group.leader), lambda _: GLOBAL],
    ids=["leader", "global"],
)
async def test_a_halt_of_the_leader_or_of_everything_stops_every_follower(
    story: Story, scope: Callable[[FollowGroup], str]
) -> None:
    await set_mode(story, scope(story.group), Mode.HALTED)
    trade = await story.make_leader_trade(Side.BUY, "20")
    verdicts = await story.wait_for_verdicts(trade)
    await set_mode(story, scope(story.group), Mode.ACTIVE)

    assert {(verdict.state, verdict.reason) for verdict in verdicts.values()} == {
        ("refused", "halted")
    }
    assert await story.fetch_orders(trade) == {}


async def test_after_an_unfollow_there_is_no_intent_for_him_and_the_others_go_on(
    story: Story,
) -> None:
    leaving, *staying = story.group.follows

    version = await save_follows(
        story.engine, [replace(leaving, active=False)], by="test", change="unfollow"
    )
    await story.wait_for_controls(version)
    trade = await story.make_leader_trade(Side.BUY, "20")
    intents = story.intent_ids(trade)
    for follow in staying:
        await story.wait_for_confirmed_order(intents[follow.proxy])

    intended = [
        record.key.decode()
        for record in await story.read_topic("copy-intents")
        if trade.transaction_hash.encode() in record.value
    ]
    assert sorted(intended) == sorted(follow.proxy for follow in staying)


async def set_mode(story: Story, scope: str, mode: Mode) -> None:
    """Set the mode, and wait until it is in effect."""
    await story.wait_for_controls(await save_mode(story.engine, scope, mode, by="test"))
