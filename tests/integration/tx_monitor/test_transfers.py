"""Transfers by two instances of tx-monitor, on a chain behind a node like Polygon's."""

import pytest

from shared.messages.transfers import TransferState as S
from tests.integration.tx_monitor.transfer_story import Story

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


async def test_pusd_and_shares_are_transferred_in_both_directions_exactly_once(
    story: Story,
) -> None:
    amount = 1_234_567
    cases = [(to_proxy, of_shares) for to_proxy in (True, False) for of_shares in (False, True)]
    before = [await story.fetch_proxy_holdings(proxy) for proxy in range(4)]

    requests = [
        await story.request(proxy=proxy, amount=amount, to_proxy=to_proxy, of_shares=of_shares)
        for proxy, (to_proxy, of_shares) in enumerate(cases)
    ]
    for request in requests:
        await story.wait_for_attempt(request)
    await story.mine()
    for request in requests:
        await story.wait_for(request, S.MINED)
    for request in requests:
        await story.make_final(request)
        states = await story.wait_for_report(request, S.FINAL)
        assert states == [S.SENT, S.MINED, S.FINAL]

    after = [await story.fetch_proxy_holdings(proxy) for proxy in range(4)]
    moved = [
        (usd - usd_before, shares - shares_before)
        for (usd, shares), (usd_before, shares_before) in zip(after, before, strict=True)
    ]
    assert moved == [(amount, 0), (0, amount), (-amount, 0), (0, -amount)]
