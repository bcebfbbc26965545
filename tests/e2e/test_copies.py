"""A leader trades, and each follower's copy is confirmed and in his wallet."""

import pytest

from shared.domain.money import CENT, Side, round_down
from shared.messages.leader_fills import FillSource
from tests.system.story import Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


async def test_a_leaders_buy_and_partial_exit_are_copied_by_every_follower(story: Story) -> None:
    token = story.tokens[0]

    bought = await story.make_leader_trade(Side.BUY, "200", token=token)
    entries = await story.wait_for_confirmed_orders(bought)

    assert {account.kind for account in story.group.followers} == {"eoa", "safe"}
    for entry in entries.values():
        assert (entry.side, entry.token_id) == ("BUY", token)
        assert 0 < entry.usdc <= round_down(bought.usdc // 10, CENT)
        assert entry.shares > 0
    await story.assert_records_equal_the_chain(token)

    sold = await story.make_leader_trade(Side.SELL, "80", token=token)
    exits = await story.wait_for_confirmed_orders(sold)

    for proxy, order in exits.items():
        assert order.side == "SELL"
        assert 0 < order.shares <= round_down(sold.shares // 10, CENT)
        assert order.shares < entries[proxy].shares
    await story.assert_records_equal_the_chain(token)


async def test_a_trade_that_every_feed_reports_is_copied_once(story: Story) -> None:
    """The activity socket sends each row twice, as `trades` and as `orders_matched`; the chain's
    logs report it again.
    """
    trade = await story.make_leader_trade(Side.BUY, "100", token=story.tokens[4])
    orders = await story.wait_for_confirmed_orders(trade)

    rows = await story.wait_for_both_sources(trade)
    slices = await story.fetch_rows(
        "select * from ingest.copy_slices where trade_id = :trade", trade=trade.trade_id
    )
    intended = [
        record
        for record in await story.read_topic("copy-intents")
        if trade.transaction_hash.encode() in record.value
    ]

    assert {row.source for row in rows} == {FillSource.RTDS.value, FillSource.CHAIN.value}
    assert [(each.from_shares, each.to_shares) for each in slices] == [(0, trade.shares)]
    assert sorted(dict(record.headers)["message_id"].decode() for record in intended) == sorted(
        f"{intent}:intended" for intent in story.intent_ids(trade).values()
    )
    all_orders = await story.fetch_rows(
        "select intent_id from executor.orders where leader = :leader", leader=story.group.leader
    )
    assert sorted(row.intent_id for row in all_orders) == sorted(
        order.intent_id for order in orders.values()
    )
    await story.assert_records_equal_the_chain(story.tokens[4])
