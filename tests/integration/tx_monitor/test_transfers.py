"""Transfers by two instances of tx-monitor, on a chain behind two nodes like Polygon's.

Each story ends with its transfers closed, so that the next one finds free operator wallets.
"""

from datetime import timedelta
from itertools import pairwise

import pytest

from shared.messages.transfers import TransferState as S
from tests.integration.tx_monitor.monitors import BLOCKS_TO_FINAL
from tests.integration.tx_monitor.transfer_story import Story
from tests.integration.tx_monitor.transfer_system import BUMP_AFTER_BLOCKS, RESEND_AFTER_BLOCKS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

AMOUNT = 1_234_567
SEND = "eth_sendRawTransaction"
FAR_BEHIND = 40
"""Blocks: more than a story mines after a fault has begun."""


async def test_pusd_and_shares_are_transferred_in_both_directions_exactly_once(
    story: Story,
) -> None:
    cases = [(to_proxy, of_shares) for to_proxy in (True, False) for of_shares in (False, True)]
    before = [await story.fetch_proxy_holdings(proxy) for proxy in range(4)]

    requests = [
        await story.request(proxy=proxy, amount=AMOUNT, to_proxy=to_proxy, of_shares=of_shares)
        for proxy, (to_proxy, of_shares) in enumerate(cases)
    ]
    for request in requests:
        await story.wait_for_attempt(request)
    await story.mine()
    for request in requests:
        await story.wait_for(request, S.MINED)
    await story.mine(BLOCKS_TO_FINAL)
    for request in requests:
        await story.wait_for(request, S.FINAL)
        assert await story.wait_for_report(request, S.FINAL) == [S.SENT, S.MINED, S.FINAL]

    after = [await story.fetch_proxy_holdings(proxy) for proxy in range(4)]
    moved = [
        (usd - usd_before, shares - shares_before)
        for (usd, shares), (usd_before, shares_before) in zip(after, before, strict=True)
    ]
    assert moved == [(AMOUNT, 0), (0, AMOUNT), (-AMOUNT, 0), (0, -AMOUNT)]


async def test_one_that_is_stuck_twice_is_mined_by_its_third_attempt(story: Story) -> None:
    before = await story.fetch_proxy_holdings()
    nonce = await story.fetch_operator_nonce()
    await story.hold()
    request = await story.request(amount=AMOUNT)
    for number in (1, 2):
        await story.wait_for_attempt(request, number)
        await story.mine(BUMP_AFTER_BLOCKS)
    third = await story.wait_for_attempt(request, 3)

    await story.release()
    await story.mine()
    mined = await story.wait_for(request, S.MINED)
    await story.make_final(request)

    assert mined.mined_hash == third.tx_hash
    fees = [each.max_fee for each in await story.fetch_attempts(request)]
    assert all(10 * later >= 11 * earlier for earlier, later in pairwise(fees))
    assert await story.fetch_operator_nonce() == nonce + 1
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


async def test_the_first_attempt_may_be_mined_after_it_was_replaced(story: Story) -> None:
    before = await story.fetch_proxy_holdings()
    await story.hold()
    request = await story.request(amount=AMOUNT)
    first = await story.wait_for_attempt(request)
    await story.mine(BUMP_AFTER_BLOCKS)
    await story.wait_for_attempt(request, 2)

    await story.reorg(1, competing=[first])
    mined = await story.wait_for(request, S.MINED)
    await story.make_final(request)

    assert mined.mined_hash == first.tx_hash
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


async def test_one_that_the_nodes_dropped_is_sent_again_with_the_same_hash(story: Story) -> None:
    await story.hold()
    request = await story.request(amount=AMOUNT)
    first = await story.wait_for_attempt(request)
    await story.drop(first)
    assert not await story.is_known(first.tx_hash)

    await story.mine(RESEND_AFTER_BLOCKS)
    await story.wait_for_attempt(request)
    await story.release()
    mined = await story.make_mined(request)
    await story.make_final(request)

    assert mined.mined_hash == first.tx_hash
    assert len(await story.fetch_attempts(request)) == 1


async def test_one_that_a_reorg_undoes_is_sent_and_mined_again(story: Story) -> None:
    before = await story.fetch_proxy_holdings()
    request = await story.request(amount=AMOUNT)
    mined = await story.make_mined(request)
    await story.hold()

    await story.reorg(2, reinject=False)
    await story.wait_for(request, S.SENT)
    await story.wait_for_attempt(request)
    await story.release()
    await story.mine()
    again = await story.wait_for(request, S.MINED)
    await story.make_final(request)

    assert again.mined_hash == mined.mined_hash
    assert again.block_hash != mined.block_hash
    states = await story.wait_for_report(request, S.FINAL)
    assert states == [S.SENT, S.MINED, S.SENT, S.MINED, S.FINAL]
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


async def test_a_reorg_may_mine_another_attempt(story: Story) -> None:
    before = await story.fetch_proxy_holdings()
    await story.hold()
    request = await story.request(amount=AMOUNT)
    first = await story.wait_for_attempt(request)
    await story.mine(BUMP_AFTER_BLOCKS)
    second = await story.wait_for_attempt(request, 2)
    await story.release()
    await story.mine()
    assert (await story.wait_for(request, S.MINED)).mined_hash == second.tx_hash

    await story.reorg(1, competing=[first], reinject=False)
    await story.wait_until(request, mined_hash=first.tx_hash)
    final = await story.make_final(request)

    assert final.mined_hash == first.tx_hash
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


async def test_one_whose_time_is_over_while_it_is_stuck_is_cancelled(story: Story) -> None:
    before = await story.fetch_proxy_holdings()
    nonce = await story.fetch_operator_nonce()
    await story.hold()
    request = await story.request_in_time(amount=AMOUNT)
    await story.wait_for(request, S.CANCELLING)
    await story.wait_for_attempt(request, 2)

    await story.release()
    await story.mine()
    await story.wait_for(request, S.CANCEL_MINED)
    cancelled = await story.make_final(request, S.CANCELLED)

    assert "time was over" in cancelled.reason
    assert await story.fetch_operator_nonce() == nonce + 1
    assert await story.fetch_proxy_holdings() == before


async def test_one_whose_time_was_over_before_it_began_is_never_sent(story: Story) -> None:
    request = await story.request(amount=AMOUNT, send_within_s=0)

    await story.wait_for(request, S.EXPIRED)

    assert await story.wait_for_report(request, S.EXPIRED) == [S.EXPIRED]
    assert await story.fetch_attempts(request) == []


async def test_what_the_chain_would_refuse_is_refused_with_the_reason_and_takes_no_nonce(
    story: Story,
) -> None:
    nonce = await story.fetch_operator_nonce()
    request = await story.request(amount=10**15, to_proxy=False)

    refused = await story.wait_for(request, S.REFUSED)

    assert "InsufficientBalance" in refused.reason
    other = await story.request(amount=AMOUNT)
    assert (await story.make_mined(other)).nonce == nonce
    await story.make_final(other)


async def test_one_whose_sending_got_no_answer_is_sent_once(story: Story) -> None:
    before = await story.fetch_proxy_holdings()
    nonce = await story.fetch_operator_nonce()
    for front in range(2):
        await story.set_faults(front, no_answer={"methods": [SEND]})

    request = await story.request(amount=AMOUNT)
    await story.make_mined(request)
    await story.make_final(request)

    assert await story.fetch_operator_nonce() == nonce + 1
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


@pytest.mark.parametrize(
    "fault",
    [{"lag": {"blocks": FAR_BEHIND}}, {"rate_limited": {}}, {"no_answer": {}}],
    ids=["it lags", "it limits requests", "it does not answer"],
)
async def test_a_node_that_fails_holds_up_nothing(
    story: Story, fault: dict[str, dict[str, int]]
) -> None:
    await story.set_faults(1, **fault)
    await story.pass_time(timedelta(minutes=1))

    request = await story.request(amount=AMOUNT)

    await story.make_mined(request)
    await story.make_final(request)


async def test_nodes_that_contradict_each_other_hold_finality(story: Story) -> None:
    request = await story.request(amount=AMOUNT)
    await story.make_mined(request)
    await story.set_faults(1, other_head={"blocks": FAR_BEHIND})
    await story.mine(BLOCKS_TO_FINAL)
    later = await story.request(proxy=1, amount=AMOUNT)
    await story.make_mined(later)

    assert (await story.fetch_transfer(request)).state == S.MINED
    await story.clear_faults()
    await story.wait_for(request, S.FINAL)
    await story.make_final(later)


async def test_without_gas_money_nothing_begins_and_no_fee_is_raised(story: Story) -> None:
    await story.hold()
    stuck = await story.request(amount=AMOUNT)
    await story.wait_for_attempt(stuck)
    balance = await story.take_gas_money()
    queued = await story.request(proxy=1, amount=AMOUNT)
    await story.mine(2 * BUMP_AFTER_BLOCKS)
    await story.wait_for(queued, S.QUEUED)
    await story.wait_for_rounds()
    assert len(await story.fetch_attempts(stuck)) == 1
    assert (await story.fetch_transfer(queued)).state == S.QUEUED

    await story.give_gas_money(balance)
    await story.wait_for_attempt(stuck, 2)
    await story.wait_for_attempt(queued)
    await story.release()
    await story.mine()
    for request in (stuck, queued):
        await story.wait_for(request, S.MINED)
    await story.make_final(stuck)
    await story.wait_for(queued, S.FINAL)


async def test_a_foreign_transaction_with_its_nonce_halts_the_wallet(story: Story) -> None:
    operator = 3
    before = await story.fetch_proxy_holdings()
    request = await story.request(operator=operator, amount=AMOUNT)
    mined = await story.make_mined(request)
    await story.hold(operator)

    foreign = await story.sign_foreign(operator, nonce=mined.nonce)
    await story.reorg(1, competing=[foreign], reinject=False)
    await story.wait_for(request, S.SENT)
    await story.mine(BLOCKS_TO_FINAL)
    lost = await story.mine_until(request, S.LOST)
    later = await story.request(operator=operator, proxy=1, amount=AMOUNT)
    await story.wait_for(later, S.QUEUED)

    assert "nonce was used" in lost.reason
    assert request in await story.fetch_halt(operator)
    await story.wait_for_rounds()
    assert (await story.fetch_transfer(later)).state == S.QUEUED
    assert await story.fetch_proxy_holdings() == before
    assert (await story.wait_for_report(request, S.LOST))[-1] == S.LOST

    await story.resume(operator)
    await story.release(operator)
    await story.make_mined(later)
    await story.make_final(later)


async def test_a_request_that_is_repeated_is_answered_and_not_made_again(story: Story) -> None:
    before = await story.fetch_proxy_holdings()
    request = await story.request(amount=AMOUNT)
    await story.make_mined(request)
    await story.make_final(request)
    await story.wait_for_report(request, S.FINAL)

    await story.request(request_id=request, amount=AMOUNT)
    await story.wait_for_reports(request, S.FINAL, 2)

    assert len(await story.fetch_attempts(request)) == 1
    assert await story.fetch_proxy_holdings() == (before[0] + AMOUNT, before[1])


async def test_a_request_with_other_terms_is_a_dead_letter(story: Story) -> None:
    request = await story.request(proxy=7, amount=AMOUNT)
    await story.make_mined(request)
    await story.make_final(request)

    await story.request(request_id=request, proxy=7, amount=AMOUNT + 1)

    reason = await story.wait_for_dead_letter(proxy=7)
    assert f"amount {AMOUNT} and now {AMOUNT + 1}" in reason
