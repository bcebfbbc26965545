"""Whatever the venue does wrong on the way, each follower has one copy of each trade, and the books
end as the chain has it.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Row

from shared.domain.ids import remainder_id
from shared.domain.money import CENT, Side, round_down
from shared.testing.waiting import eventually
from tests.e2e.test_cli import slipstream
from tests.system.deployment import Deployment, deployed
from tests.system.story import PATIENCE, LeaderTrade, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        deployed(tmp_path_factory.mktemp("faults"), background, circles=4)
    ) as deployment:
        yield deployment


@asynccontextmanager
async def struck_by(story: Story, faults: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[None]:
    """While these faults are on; each has struck by the end."""
    await story.venue.change_faults(faults)
    try:
        yield
        struck = (await story.venue.fetch_faults())["struck"]
        assert all(struck[name] for name in faults), struck
    finally:
        await story.venue.change_faults(dict.fromkeys(faults))


async def failed(story: Story, trade: LeaderTrade) -> Mapping[str, Row[Any]]:
    """Waits until every follower's order has failed."""

    async def all_failed() -> Mapping[str, Row[Any]]:
        orders = await story.orders(trade)
        return (
            orders
            if [order.state for order in orders.values()] == ["failed"] * len(story.group.followers)
            else {}
        )

    found: Mapping[str, Row[Any]] = await eventually(
        all_failed, within=PATIENCE, what="each follower's copy failed"
    )
    return found


async def test_a_lost_answer_makes_no_second_copy_and_loses_none(story: Story) -> None:
    async with struck_by(story, {"drop-reply": {}}):
        await story.confirmed(await story.trades(Side.BUY, "100"))

    await story.assert_books_equal_the_chain(story.tokens[0])
    await story.assert_the_venue_has_one_order_for_each_confirmed_one()


async def test_a_settlement_that_fails_for_good_leaves_nothing_and_the_next_copy_is_made(
    story: Story,
) -> None:
    async with struck_by(story, {"failed": {"seconds": "1", "times": len(story.group.followers)}}):
        orders = await failed(story, await story.trades(Side.BUY, "100", token=story.tokens[2]))
    assert {(order.shares, order.usdc, order.fee_usdc) for order in orders.values()} == {(0, 0, 0)}
    await story.assert_books_equal_the_chain(story.tokens[2])

    await story.confirmed(await story.trades(Side.BUY, "100", token=story.tokens[2]))

    await story.assert_books_equal_the_chain(story.tokens[2])


async def test_what_an_exit_did_not_sell_goes_around_again_until_all_is_sold(story: Story) -> None:
    token = story.tokens[6]
    await story.confirmed(await story.trades(Side.BUY, "100", token=token))
    async with struck_by(story, {"killed-partial": {"times": len(story.group.followers)}}):
        exits = await story.confirmed(await story.trades(Side.SELL, "60", token=token))
    assert all(0 < order.shares < order.requested_shares for order in exits.values())

    for order in exits.values():
        rest = await story.order_of(remainder_id(order.intent_id))
        assert rest.shares == round_down(order.requested_shares - order.shares, CENT)
        assert rest.traceparent.split("-")[1] == order.traceparent.split("-")[1]

    await story.assert_books_equal_the_chain(token)
    await story.assert_the_venue_has_one_order_for_each_confirmed_one()


async def test_rows_that_come_twice_or_never_are_one_copy_each(story: Story) -> None:
    token = story.tokens[4]
    async with struck_by(story, {"rows-doubled": {}, "rows-missing": {"share": "0.5"}}):
        trades = [await story.trades(Side.BUY, "50", token=token) for _ in range(6)]
        for trade in trades:
            await story.confirmed(trade)

    intended = await story.rows(
        "select intent_id from preflight.intents where proxy = any(:p)",
        p=[each.proxy for each in story.group.followers],
    )
    assert sorted(row.intent_id for row in intended) == sorted(
        intent for trade in trades for intent in story.intents(trade).values()
    )
    await story.assert_books_equal_the_chain(token)
    await story.assert_the_venue_has_one_order_for_each_confirmed_one()


async def test_the_demo_names_its_fault_and_ends_with_its_checks(tmp_path: Path) -> None:
    small = {
        "DEMO_TRADES": "12",
        "DEMO_FOLLOWERS": "4",
        "DEMO_FAULT": "drop-reply",
        "STACK_FOLDER": str(tmp_path / "stack"),
    }

    code, told = await slipstream("demo", "--folder", str(tmp_path / "demo"), **small)

    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert code == 0, told
    assert (summary["fault"]["name"], summary["held"], summary["unresolved"]) == (
        "drop-reply",
        True,
        [],
    )
    assert "Fault: drop-reply, which struck" in told


async def test_a_fault_that_there_is_not_is_answered_with_all_that_there_are() -> None:
    code, told = await slipstream("demo", "--fault", "dropreply")

    assert code != 0
    assert "drop-reply" in told
    assert "stale-reads" in told
