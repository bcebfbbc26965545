"""A message that cannot be handled in front of a follower's copies: his wait, everybody else's do
not, and an operator ends it.
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

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_copies_behind_a_poison_message_wait_until_it_is_discarded(story: Story) -> None:
    poisoned, *others = [account.proxy for account in story.group.followers]
    await send_poison(story, poisoned)
    assert await letters(story, poisoned) == ["parked"]

    trade = await the_others_are_copied(story, others)
    assert await letters(story, poisoned, at_least=2) == ["parked", "waiting"]
    assert poisoned not in await story.fetch_orders(trade)

    number = await first_letter(story, poisoned)
    assert "executor" in await slipstream(story, "dead-letters", "list")
    assert "IntentApproved" in await slipstream(story, "dead-letters", "show", number)
    await discarded_it_lets_the_copy_go_on(story, number, poisoned, trade)


async def test_copies_behind_a_message_of_a_newer_release_wait_for_it_and_its_service_goes_on(
    story: Story,
) -> None:
    early, *others = [account.proxy for account in story.group.followers]
    executor = story.deployment.pipeline.running["executor"]
    await send_poison(story, early, version=2)
    assert await letters(story, early) == ["waiting"]

    trade = await the_others_are_copied(story, others)
    assert await letters(story, early, at_least=2) == ["waiting", "waiting"]
    assert early not in await story.fetch_orders(trade)
    assert await story.deployment.fetch_probe_reasons("ready", "executor") == []

    number = await first_letter(story, early)
    assert "this release knows no version 2 of IntentApproved" in await slipstream(
        story, "dead-letters", "list"
    )
    await slipstream(story, "dead-letters", "redrive", number)
    await the_others_are_copied(story, others)
    assert (await letters(story, early, at_least=3))[:2] == ["redriving", "waiting"]
    await discarded_it_lets_the_copy_go_on(story, number, early, trade)
    assert executor.is_alive


async def test_a_poison_message_that_is_redriven_unmended_is_parked_again(story: Story) -> None:
    poisoned = story.group.followers[0].proxy
    await send_poison(story, poisoned)
    await letters(story, poisoned)
    number = await first_letter(story, poisoned)
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
    await slipstream(story, "dead-letters", "discard", number, "--why", "a test ends")


async def the_others_are_copied(story: Story, others: Sequence[str]) -> LeaderTrade:
    trade = await story.make_leader_trade(Side.BUY, "40")
    for other in others:
        await story.wait_for_confirmed_order(story.intent_ids(trade)[other])
    return trade


async def discarded_it_lets_the_copy_go_on(
    story: Story, number: str, proxy: str, trade: LeaderTrade
) -> None:
    async def taken_up() -> bool:
        return proxy in await story.fetch_orders(trade)

    async def all_through() -> bool:
        first, *waited = await letters(story, proxy, at_least=2)
        return first == "discarded" and set(waited) == {"redriven"}

    assert "discarded" in await slipstream(
        story, "dead-letters", "discard", number, "--why", "made by a test"
    )
    await eventually(
        taken_up, within=TIMEOUT_S, what="the copy that waited is sent, or withdrawn as too late"
    )
    assert "made by a test" in await slipstream(story, "dead-letters", "show", number)
    await eventually(all_through, within=TIMEOUT_S, what="nothing waits any more")


async def send_poison(story: Story, proxy: str, *, version: int = 1) -> None:
    """An approved intent that says too little: as a release with a defect would write it, or a
    newer one.
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


async def letters(story: Story, proxy: str, *, at_least: int = 1) -> list[str]:
    """The states of the follower's dead letters, oldest first, once there are so many."""

    async def found() -> list[str]:
        kept = await story.fetch_rows(
            "select state from control.dead_letters where record_key = :key order by number",
            key=proxy.encode(),
        )
        return [row.state for row in kept] if len(kept) >= at_least else []

    states: list[str] = await eventually(found, within=TIMEOUT_S)
    return states


async def first_letter(story: Story, proxy: str) -> str:
    (row,) = await story.fetch_rows(
        "select min(number) as number from control.dead_letters where record_key = :key",
        key=proxy.encode(),
    )
    return str(row.number)


async def slipstream(story: Story, *words: str) -> str:
    """What the command printed; it succeeds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from cli.main import main; main()",
        *words,
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "COLUMNS": "250",
            "DATABASE_URL": story.deployment.pipeline.stack.database_url,
        },
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()
