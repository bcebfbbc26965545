"""Filters, entries and direction: what a follow copies of its leader's trades, by its terms."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shared.db.controls import save_follows
from shared.domain.money import CENT, MICROS, Side, round_down
from shared.domain.terms import EntryMode, Filters
from shared.messages.refusals import Refusal
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import LeaderTrade, Story, open_story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

A_DAY = 86_400


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        running_deployment(
            tmp_path_factory.mktemp("terms"),
            background,
            follow_groups=3,
            environment={
                "PRICER_MAX_MARKET_DETAILS_WAIT": "PT20S",
                "INGEST_COMPLEMENT_TIMEOUT": "PT20S",
            },
        )
    ) as deployment:
        yield deployment


@pytest.fixture
async def story(deployment: Deployment) -> AsyncIterator[Story]:
    async with open_story(deployment, deployment.follow_groups.popleft()) as story:
        yield story


async def change_terms(story: Story, *terms: dict[str, Any]) -> None:
    """Of each of the group's follows, and wait until they are in effect."""
    follows = [replace(each, **new) for each, new in zip(story.group.follows, terms, strict=True)]
    version = await save_follows(story.engine, follows, by="test", change="other terms")
    await story.wait_for_controls(version)


async def reasons(story: Story, trade: LeaderTrade) -> list[str]:
    """Of the refusals, in the order of the follows; empty: approved."""
    verdicts = await story.wait_for_verdicts(trade)
    return [verdicts[each.proxy].reason for each in story.group.follows]


async def test_filters_refuse_entries_and_never_exits(story: Story) -> None:
    """The market of the first token is tagged as sports, and ends in more than a day."""
    token = story.tokens[0]
    large = Filters(min_leader_usdc=100 * MICROS, tags=frozenset({"sports"}))
    await change_terms(
        story,
        {"filters": large},
        {"filters": Filters(excluded_tags=frozenset({"sports"}))},
        {"filters": Filters(max_seconds_to_end=A_DAY)},
    )

    small = await story.make_leader_trade(Side.BUY, "60", token=token)
    assert await reasons(story, small) == [
        Refusal.LEADER_TRADE_TOO_SMALL,
        Refusal.TAG_FILTERED,
        Refusal.TIME_TO_END_FILTERED,
    ]
    bought = await story.make_leader_trade(Side.BUY, "150", token=token)
    assert await reasons(story, bought) == [
        "",
        Refusal.TAG_FILTERED,
        Refusal.TIME_TO_END_FILTERED,
    ]
    entry = await story.wait_for_confirmed_order(
        story.intent_ids(bought)[story.group.follows[0].proxy]
    )
    assert 0 < entry.usdc <= round_down(bought.usdc // 10, CENT)

    await change_terms(
        story,
        {"filters": replace(large, excluded_markets=frozenset({"0x" + "00" * 32}))},
        {"filters": Filters(min_liquidity_usdc=10**15)},
        {"filters": Filters()},
    )
    sold = await story.make_leader_sale(small.shares + bought.shares, token=token)
    exit_id = story.intent_ids(sold)[story.group.follows[0].proxy]
    await story.wait_for_confirmed_order(exit_id)
    assert await reasons(story, sold) == ["", Refusal.NO_POSITION, Refusal.NO_POSITION]
    await story.assert_records_equal_the_chain(token)


async def test_a_follow_without_entries_copies_the_exits_of_what_it_bought_before(
    story: Story,
) -> None:
    token = story.tokens[4]
    first = await story.make_leader_trade(Side.BUY, "60", token=token)
    entries = await story.wait_for_confirmed_orders(first)
    await change_terms(story, *[{"entries": EntryMode.NONE}] * 3)

    more = await story.make_leader_trade(Side.BUY, "60", token=token)
    assert set(await reasons(story, more)) == {Refusal.ENTRIES_NOT_COPIED}
    exits = await story.wait_for_exits(
        await story.make_leader_sale(first.shares + more.shares, token=token)
    )

    for proxy, entry in entries.items():
        assert exits[proxy].state == "done"
        assert 0 <= entry.shares - exits[proxy].sold_shares < CENT
    await story.assert_records_equal_the_chain(token)


async def test_a_counter_follow_holds_the_other_outcome_and_leaves_with_its_leader(
    story: Story,
) -> None:
    yes, no = story.tokens[8], story.tokens[9]
    # The other outcome costs the spread more than one less the leader's price.
    slippage = Decimal(3_000)
    await change_terms(story, *[{"counter": True, "max_slippage_bps": slippage}] * 3)

    bought = await story.make_leader_trade(Side.BUY, "60", token=yes)
    entries = await story.wait_for_confirmed_orders(bought)
    for entry in entries.values():
        assert (entry.side, entry.token_id) == ("BUY", no)
        assert 0 < entry.usdc <= round_down(bought.usdc // 10, CENT)
    await story.assert_records_equal_the_chain(yes, no)

    half = round_down(bought.shares // 2, CENT)
    first = await story.wait_for_exits(await story.make_leader_sale(half, token=yes))
    last = await story.wait_for_exits(await story.make_leader_sale(bought.shares - half, token=yes))

    for proxy, entry in entries.items():
        assert {first[proxy].token_id, last[proxy].token_id} == {no}
        assert abs(first[proxy].shares * 2 - entry.shares) <= 2 * CENT
        assert 0 <= entry.shares - first[proxy].sold_shares - last[proxy].sold_shares < 2 * CENT
    await story.assert_records_equal_the_chain(yes, no)
