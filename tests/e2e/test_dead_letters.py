"""A follower's copies wait behind a message of his key that cannot be handled, until an operator
redrives or discards it. The copies of other followers go on.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from shared.domain.money import Side
from shared.messages.intents import IntentApproved
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.settings import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


async def test_copies_behind_a_message_that_cannot_be_handled_wait_until_it_is_discarded(
    story: Story,
) -> None:
    blocked, *others = [account.proxy for account in story.group.followers]
    await send_unreadable(story, blocked)
    assert await wait_for_dead_letters(story, blocked) == ["parked"]

    trade = await assert_others_are_copied(story, others)
    assert await wait_for_dead_letters(story, blocked, at_least=2) == ["parked", "waiting"]
    assert blocked not in await story.fetch_orders(trade)

    number = await first_number(story, blocked)
    assert "executor" in await slipstream(story, "dead-letters", "list")
    assert "IntentApproved" in await slipstream(story, "dead-letters", "show", number)
    await assert_discarding_releases_the_copy(story, number, blocked, trade)


async def test_copies_behind_a_message_of_a_newer_release_wait_and_the_service_goes_on(
    story: Story,
) -> None:
    blocked, *others = [account.proxy for account in story.group.followers]
    executor = story.deployment.pipeline.running["executor"]
    await send_unreadable(story, blocked, version=2)
    assert await wait_for_dead_letters(story, blocked) == ["waiting"]

    trade = await assert_others_are_copied(story, others)
    assert await wait_for_dead_letters(story, blocked, at_least=2) == ["waiting", "waiting"]
    assert blocked not in await story.fetch_orders(trade)
    assert await story.deployment.fetch_probe_reasons("ready", "executor") == []

    number = await first_number(story, blocked)
    assert "this release knows no version 2 of IntentApproved" in await slipstream(
        story, "dead-letters", "list"
    )
    await slipstream(story, "dead-letters", "redrive", number)
    await assert_others_are_copied(story, others)
    assert (await wait_for_dead_letters(story, blocked, at_least=3))[:2] == ["redriving", "waiting"]
    await assert_discarding_releases_the_copy(story, number, blocked, trade)
    assert executor.is_alive


async def test_a_redriven_message_that_still_cannot_be_handled_is_parked_again(
    story: Story,
) -> None:
    blocked = story.group.followers[0].proxy
    await send_unreadable(story, blocked)
    await wait_for_dead_letters(story, blocked)
    number = await first_number(story, blocked)
    before = (
        await story.fetch_rows(
            "select parked_at from control.dead_letters where number = :number", number=int(number)
        )
    )[0].parked_at

    await slipstream(story, "dead-letters", "redrive", number)

    async def parked_again() -> bool:
        (row,) = await story.fetch_rows(
            "select * from control.dead_letters where number = :number", number=int(number)
        )
        return bool(row.state == "parked" and row.parked_at > before)

    await eventually(parked_again, within=TIMEOUT_S)
    await slipstream(story, "dead-letters", "discard", number, "--why", "end of a test")


async def assert_others_are_copied(story: Story, others: Sequence[str]) -> LeaderTrade:
    trade = await story.make_leader_trade(Side.BUY, "40")
    for other in others:
        await story.wait_for_confirmed_order(story.intent_ids(trade)[other])
    return trade


async def assert_discarding_releases_the_copy(
    story: Story, number: str, proxy: str, trade: LeaderTrade
) -> None:
    async def has_order() -> bool:
        return proxy in await story.fetch_orders(trade)

    async def all_redriven() -> bool:
        first, *waiting = await wait_for_dead_letters(story, proxy, at_least=2)
        return first == "discarded" and set(waiting) == {"redriven"}

    assert "discarded" in await slipstream(
        story, "dead-letters", "discard", number, "--why", "made by a test"
    )
    await eventually(
        has_order, within=TIMEOUT_S, what="the waiting copy sent, or withdrawn as too late"
    )
    assert "made by a test" in await slipstream(story, "dead-letters", "show", number)
    await eventually(all_redriven, within=TIMEOUT_S, what="no waiting dead letter")


async def send_unreadable(story: Story, proxy: str, *, version: int = 1) -> None:
    """Publish an approved intent without most of its fields, as a release with a defect or a newer
    one would.
    """
    headers = [("type", IntentApproved.__name__.encode()), ("version", b"%d" % version)]
    settings: KafkaSettings = story.deployment.pipeline.kafka_settings()
    async with AIOKafkaProducer(**settings.client()) as producer:
        await producer.send_and_wait(
            IntentApproved.topic,
            json.dumps({"proxy": proxy}).encode(),
            key=proxy.encode(),
            headers=headers,
        )


async def wait_for_dead_letters(story: Story, proxy: str, *, at_least: int = 1) -> list[str]:
    """Wait for this many dead letters of the follower; their states, oldest first."""

    async def states_of_all() -> list[str]:
        rows = await story.fetch_rows(
            "select state from control.dead_letters where record_key = :key order by number",
            key=proxy.encode(),
        )
        return [row.state for row in rows] if len(rows) >= at_least else []

    states: list[str] = await eventually(states_of_all, within=TIMEOUT_S)
    return states


async def first_number(story: Story, proxy: str) -> str:
    (row,) = await story.fetch_rows(
        "select min(number) as number from control.dead_letters where record_key = :key",
        key=proxy.encode(),
    )
    return str(row.number)


async def slipstream(story: Story, *arguments: str) -> str:
    """Run the command, which must succeed; all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from cli.main import main; main()",
        *arguments,
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "COLUMNS": "250",
            "DATABASE_URL": story.deployment.pipeline.stack.database_url,
        },
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
