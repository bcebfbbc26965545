"""Two instances of tx-monitor that send, killed and paused while transfers are under way."""

import pytest

from shared.messages.transfers import TransferState as S
from shared.testing.waiting import eventually
from tests.integration.tx_monitor.monitors import BLOCKS_TO_FINAL, WITHIN_S
from tests.integration.tx_monitor.transfer_story import Story
from tests.integration.tx_monitor.transfer_system import OPERATORS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

AMOUNT = 1_234_567


async def find_wallets_of_both(story: Story) -> tuple[int, int]:
    """An operator wallet that the first instance looks after, and one of the second."""
    for number in range(2):
        await story.system.start(number)

    async def are_shared() -> tuple[int, int] | None:
        holders = {await story.fetch_holder(operator): operator for operator in range(OPERATORS)}
        return (holders[0], holders[1]) if {0, 1} <= holders.keys() else None

    found: tuple[int, int] = await eventually(are_shared, within=WITHIN_S)
    return found


async def test_transfers_of_one_proxy_never_overlap_and_other_wallets_never_wait(
    story: Story,
) -> None:
    one, other = await find_wallets_of_both(story)
    await story.hold(one)
    first = await story.request(operator=one, proxy=0, amount=AMOUNT)
    await story.wait_for_attempt(first)

    second = await story.request(operator=other, proxy=0, amount=AMOUNT)
    behind = await story.request(operator=one, proxy=0, amount=AMOUNT)
    free = await story.request(operator=other, proxy=1, amount=AMOUNT)
    await story.make_mined(free)
    await story.make_final(free)

    for request in (second, behind):
        assert (await story.fetch_transfer(request)).state == S.QUEUED
    await story.release(one)
    await story.make_mined(first)
    await story.make_final(first)
    await story.finish_in_turn(second, behind)
    await story.require_never_overlapping(first, second, behind)


async def test_a_wallet_is_handed_over_when_its_instance_is_killed(story: Story) -> None:
    one, other = await find_wallets_of_both(story)
    before = await story.fetch_proxy_holdings()
    nonce = await story.fetch_operator_nonce(one)
    await story.hold(one)
    stuck = await story.request(operator=one, amount=AMOUNT)
    attempt = await story.wait_for_attempt(stuck)
    queued = await story.request(operator=one, proxy=1, amount=AMOUNT)
    await story.wait_for_attempt(queued)

    await story.system.kill(0)
    await story.drop(attempt)
    elsewhere = await story.request(operator=other, proxy=2, amount=AMOUNT)
    await story.make_mined(elsewhere)
    await story.make_final(elsewhere)
    await story.wait_for_attempt(stuck)
    assert await story.fetch_holder(one) == 1
    await story.release(one)
    await story.mine()
    for request in (stuck, queued):
        await story.wait_for(request, S.MINED)
    await story.mine(BLOCKS_TO_FINAL)
    for request in (stuck, queued):
        await story.wait_for(request, S.FINAL)

    assert await story.fetch_operator_nonce(one) == nonce + 2
    assert [each.tx_hash for each in await story.fetch_attempts(stuck)] == [attempt.tx_hash]
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


async def test_one_that_is_pending_at_a_crash_keeps_its_nonce_and_is_sent_again(
    story: Story,
) -> None:
    one, _ = await find_wallets_of_both(story)
    before = await story.fetch_proxy_holdings()
    nonce = await story.fetch_operator_nonce(one)
    await story.hold(one)
    request = await story.request(operator=one, amount=AMOUNT)
    attempt = await story.wait_for_attempt(request)

    for number in range(2):
        await story.system.kill(number)
    await story.drop(attempt)
    for number in range(2):
        await story.system.start(number)
    await story.wait_for_attempt(request)
    await story.release(one)
    await story.make_mined(request)
    await story.make_final(request)

    assert [each.tx_hash for each in await story.fetch_attempts(request)] == [attempt.tx_hash]
    assert await story.fetch_operator_nonce(one) == nonce + 1
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


async def test_an_instance_that_was_paused_sends_and_writes_nothing_after_it_was_replaced(
    story: Story,
) -> None:
    one, _ = await find_wallets_of_both(story)
    before = await story.fetch_proxy_holdings()
    nonce = await story.fetch_operator_nonce(one)
    await story.hold(one)
    stuck = await story.request(operator=one, amount=AMOUNT)
    await story.wait_for_attempt(stuck)
    # What is on its way to Kafka when the process is paused arrives whenever it goes on.
    await story.wait_for_report(stuck, S.SENT)

    with story.system.pausing(0):
        await eventually(lambda: story.is_held_by(one, 1), within=WITHIN_S)
        await story.release(one)
        await story.make_mined(stuck)
        await story.make_final(stuck)
        later = await story.request(operator=one, amount=AMOUNT)
        await story.make_mined(later)
    await story.make_final(later)
    await story.wait_for_rounds(one)

    assert await story.fetch_operator_nonce(one) == nonce + 3
    for request in (stuck, later):
        assert len(await story.fetch_attempts(request)) == 1
        states = await story.wait_for_report(request, S.FINAL)
        assert list(dict.fromkeys(states)) == [S.SENT, S.MINED, S.FINAL]
    assert await story.fetch_proxy_holdings() == (before[0] + 2 * AMOUNT, before[1])
