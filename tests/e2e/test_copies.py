"""A leader trades, and his followers have the same in their wallets."""

import pytest

from shared.domain.money import CENT, Side, round_down
from shared.messages.leader_fills import FillSource
from tests.system.story import Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


async def test_a_leaders_buy_and_his_partial_exit_become_every_followers_confirmed_fills(
    story: Story,
) -> None:
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

    for proxy, part in exits.items():
        assert part.side == "SELL"
        assert 0 < part.shares <= round_down(sold.shares // 10, CENT)
        assert part.shares < entries[proxy].shares
    await story.assert_records_equal_the_chain(token)


async def test_exits_that_come_at_once_sell_no_more_than_each_follower_holds(story: Story) -> None:
    """The follows' minimum of 1 USDC makes small exits larger than the leader's: three of them are
    worth more than what is held.
    """
    token = story.tokens[2]
    entries = await story.wait_for_confirmed_orders(
        await story.make_leader_trade(Side.BUY, "20", token=token)
    )

    exits = [await story.make_leader_trade(Side.SELL, "2", token=token) for _ in range(3)]
    verdicts = [await story.wait_for_verdicts(each) for each in exits]

    for proxy, entry in entries.items():
        of_proxy = [each[proxy] for each in verdicts]
        assert {(row.state, row.reason) for row in of_proxy} <= {
            ("approved", ""),
            ("confirmed", ""),
            ("refused", "no_position"),
        }
        sold = [
            await story.wait_for_confirmed_order(row.intent_id)
            for row in of_proxy
            if row.state != "refused"
        ]
        assert len(sold) >= 2
        assert sum(order.shares for order in sold) == round_down(entry.shares, CENT)
    await story.assert_records_equal_the_chain(token)


async def test_a_trade_that_every_feed_tells_is_copied_once(story: Story) -> None:
    """The activity socket tells each row twice, as `trades` and as `orders_matched`; the chain's
    logs tell it again.
    """
    trade = await story.make_leader_trade(Side.BUY, "100", token=story.tokens[4])
    orders = await story.wait_for_confirmed_orders(trade)

    sources = await story.wait_for_both_sources(trade)
    parts = await story.fetch_rows(
        "select * from ingest.copy_slices where trade_id = :trade", trade=trade.trade_id
    )
    intended = [
        record
        for record in await story.read_topic("copy-intents")
        if trade.transaction_hash.encode() in record.value
    ]

    assert {row.source for row in sources} == {FillSource.RTDS.value, FillSource.CHAIN.value}
    assert [(part.from_shares, part.to_shares) for part in parts] == [(0, trade.shares)]
    assert sorted(dict(record.headers)["message_id"].decode() for record in intended) == sorted(
        f"{intent}:intended" for intent in story.intent_ids(trade).values()
    )
    of_leader = await story.fetch_rows(
        "select intent_id from executor.orders where leader = :leader", leader=story.group.leader
    )
    assert sorted(row.intent_id for row in of_leader) == sorted(
        order.intent_id for order in orders.values()
    )
    await story.assert_records_equal_the_chain(story.tokens[4])
