"""Whatever the venue does wrong, each follower has one copy of each trade in the end, and our
records equal the chain.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Row

from shared.domain.ids import continuation_id
from shared.domain.money import CENT, Side, round_down
from shared.testing.waiting import eventually
from tests.e2e.test_cli import slipstream
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        running_deployment(tmp_path_factory.mktemp("faults"), background, follow_groups=5)
    ) as deployment:
        yield deployment


async def wait_for_failed_orders(story: Story, trade: LeaderTrade) -> Mapping[str, Row[Any]]:
    """Wait until every follower's order has failed; the orders by proxy."""

    async def all_failed() -> Mapping[str, Row[Any]]:
        orders = await story.fetch_orders(trade)
        return (
            orders
            if [order.state for order in orders.values()] == ["failed"] * len(story.group.followers)
            else {}
        )

    failed: Mapping[str, Row[Any]] = await eventually(
        all_failed, within=TIMEOUT_S, what="each follower's copy failed"
    )
    return failed


async def test_after_a_lost_reply_each_copy_is_made_once(story: Story) -> None:
    async with story.faults_on({"drop-reply": {}}):
        await story.wait_for_confirmed_orders(await story.make_leader_trade(Side.BUY, "100"))

    await story.assert_records_equal_the_chain(story.tokens[0])
    await story.assert_venue_has_one_order_per_confirmed_copy()


async def test_a_copy_whose_settlement_fails_counts_for_nothing_and_the_next_one_is_made(
    story: Story,
) -> None:
    async with story.faults_on({"failed": {"seconds": "1", "times": len(story.group.followers)}}):
        orders = await wait_for_failed_orders(
            story, await story.make_leader_trade(Side.BUY, "100", token=story.tokens[2])
        )
    assert {(order.shares, order.usdc, order.fee_usdc) for order in orders.values()} == {(0, 0, 0)}
    await story.assert_records_equal_the_chain(story.tokens[2])

    await story.wait_for_confirmed_orders(
        await story.make_leader_trade(Side.BUY, "100", token=story.tokens[2])
    )

    await story.assert_records_equal_the_chain(story.tokens[2])


async def test_the_remainder_of_an_exit_is_sold_by_a_new_intent(story: Story) -> None:
    token = story.tokens[6]
    await story.wait_for_confirmed_orders(
        await story.make_leader_trade(Side.BUY, "100", token=token)
    )
    async with story.faults_on({"killed-partial": {"times": len(story.group.followers)}}):
        exits = await story.wait_for_confirmed_orders(
            await story.make_leader_trade(Side.SELL, "60", token=token)
        )
    assert all(0 < order.shares < order.requested_shares for order in exits.values())

    for order in exits.values():
        remainder = await story.wait_for_confirmed_order(continuation_id(order.intent_id, 1))
        assert remainder.shares == round_down(order.requested_shares - order.shares, CENT)
        assert remainder.traceparent.split("-")[1] == order.traceparent.split("-")[1]

    await story.assert_records_equal_the_chain(token)
    await story.assert_venue_has_one_order_per_confirmed_copy()


async def test_a_key_revoked_between_two_copies_is_derived_anew_once(story: Story) -> None:
    """The order is sent again with the new key, byte for byte what was signed."""
    token, revoked = story.tokens[8], story.group.followers[0].proxy
    await story.wait_for_confirmed_orders(
        await story.make_leader_trade(Side.BUY, "60", token=token)
    )

    async with story.faults_on({"key-revoked": {"only": revoked}}):
        orders = await story.wait_for_confirmed_orders(
            await story.make_leader_trade(Side.BUY, "60", token=token)
        )
    await story.wait_for_confirmed_orders(
        await story.make_leader_trade(Side.BUY, "60", token=token)
    )

    assert count_renewals(story) == {revoked: 1}
    assert await eventually(
        lambda: count_posts(story, orders) == len(orders) + 1,
        within=TIMEOUT_S,
        what="one order was posted twice",
    )
    await story.assert_records_equal_the_chain(token)
    await story.assert_venue_has_one_order_per_confirmed_copy()


def count_renewals(story: Story) -> Mapping[str, int]:
    """How often the executor derived the API key of each follower of the group anew."""
    lines = (story.deployment.logs / "executor.log").read_text().splitlines()
    renewals = [line for line in lines if "derived anew" in line]
    counts = {
        each.proxy: sum(each.proxy in line for line in renewals) for each in story.group.followers
    }
    return {proxy: count for proxy, count in counts.items() if count}


def count_posts(story: Story, orders: Mapping[str, Row[Any]]) -> int:
    """How many requests posted these orders, of one leader's trade."""
    (trace_id,) = {order.traceparent.split("-")[1] for order in orders.values()}
    spans = story.deployment.collector.spans
    return sum(span.trace_id == trace_id and span.name == "POST /order" for span in spans)


async def test_trades_whose_rows_are_doubled_or_missing_are_copied_once_each(story: Story) -> None:
    token = story.tokens[4]
    async with story.faults_on({"rows-doubled": {}, "rows-missing": {"share": "0.5"}}):
        trades = [await story.make_leader_trade(Side.BUY, "50", token=token) for _ in range(6)]
        for trade in trades:
            await story.wait_for_confirmed_orders(trade)

    intended = await story.fetch_rows(
        "select intent_id from preflight.intents where proxy = any(:p)",
        p=[each.proxy for each in story.group.followers],
    )
    assert sorted(row.intent_id for row in intended) == sorted(
        intent for trade in trades for intent in story.intent_ids(trade).values()
    )
    await story.assert_records_equal_the_chain(token)
    await story.assert_venue_has_one_order_per_confirmed_copy()


async def test_the_demo_names_its_fault_and_all_its_checks_hold(tmp_path: Path) -> None:
    small = {
        "DEMO_TRADES": "12",
        "DEMO_FOLLOWERS": "4",
        "DEMO_FAULT": "drop-reply",
        "STACK_FOLDER": str(tmp_path / "stack"),
    }

    code, output = await slipstream("demo", "--folder", str(tmp_path / "demo"), **small)

    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert code == 0, output
    assert (summary["fault"]["name"], summary["held"], summary["unresolved"]) == (
        "drop-reply",
        True,
        [],
    )
    assert "Fault: drop-reply, which struck" in output


async def test_for_an_unknown_fault_the_error_lists_all_faults() -> None:
    code, output = await slipstream("demo", "--fault", "dropreply")

    assert code != 0
    assert "drop-reply" in output
    assert "stale-reads" in output
