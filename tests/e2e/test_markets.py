"""A market changes its tick while its socket is away, and a market ends with open copies."""

import asyncio
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Row

from services.paper_venue.chain.calldata import encode_call
from shared.chain.addresses import CONDITIONAL_TOKENS, PUSD
from shared.chain.rpc import Rpc
from shared.domain.money import Side
from shared.testing.waiting import eventually
from tests.e2e.test_cli import slipstream
from tests.system.deployment import Deployment, running_deployment
from tests.system.socket_relay import SocketRelay
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.background import BackgroundLoop
from tools.stack.ports import Ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

COARSE, FINE = Decimal("0.01"), Decimal("0.001")
NOT_CURRENT_S = 4
"""Longer than a book of the market channel is current."""
NOTHING_TO_TRADE = {"no_market", "empty_book"}
"""The venue has no book of an ended market; its market channel sends an empty one."""
PORTS = Ports()


@pytest.fixture(scope="module")
def relay(background: BackgroundLoop) -> Iterator[SocketRelay]:
    """Between the pricer and the venue's market channel."""
    relay = SocketRelay(port=PORTS.reserve_free(), target_port=PORTS.reserve_free())
    with background.entered(relay):
        yield relay


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory, relay: SocketRelay
) -> Iterator[Deployment]:
    environment = {
        "PAPER_VENUE_PORT": str(relay.target_port),
        "PAPER_VENUE_MARKETS": "18",
        "CLOB_MARKET_WS_URL": f"ws://127.0.0.1:{relay.port}/ws/market",
    }
    with background.entered(
        running_deployment(
            tmp_path_factory.mktemp("markets"),
            background,
            follow_groups=3,
            environment=environment,
            # A limit price with so much room is between two prices of the coarse grid.
            max_slippage_bps=Decimal(333),
        )
    ) as deployment:
        yield deployment


async def find_market(story: Story, number: int) -> Mapping[str, Any]:
    """One of the markets whose shares ConditionalTokens redeems, another one for each test."""
    markets: list[Mapping[str, Any]] = [
        market
        for market in (await story.venue.fetch_world())["markets"]
        if (market["version"], market["neg_risk"]) == ("v1", False)
    ]
    return markets[number]


async def test_a_tick_that_changes_while_the_market_socket_is_away_is_the_next_copys_grid(
    story: Story, relay: SocketRelay
) -> None:
    market = await find_market(story, 0)
    token = market["token_ids"][0]
    before = await make_copies(story, token)

    await story.deployment.background.run_async(relay.cut())
    await story.venue.change_tick(market["condition_id"], str(FINE))
    await wait_for_blocks(story, seconds=NOT_CURRENT_S)
    away = await make_copies(story, token)

    await story.deployment.background.run_async(relay.restore())
    await eventually(lambda: relay.connections, within=TIMEOUT_S, what="the pricer reconnects")
    back = await make_copies(story, token)

    assert all(order.limit_price % COARSE == 0 for order in before.values())
    for order in (*away.values(), *back.values()):
        assert order.limit_price % FINE == 0 != order.limit_price % COARSE
    await story.assert_records_equal_the_chain(token)
    await story.assert_venue_has_one_order_per_confirmed_copy()


async def make_copies(story: Story, token: str) -> Mapping[str, Row[Any]]:
    """The leader buys; the confirmed orders of his followers."""
    return await story.wait_for_confirmed_orders(
        await story.make_leader_trade(Side.BUY, "60", token=token)
    )


async def wait_for_blocks(story: Story, *, seconds: int) -> None:
    """Wait until the chain is so many seconds further."""
    start = (await story.chain.fetch_latest_block()).timestamp

    async def is_further() -> bool:
        return (await story.chain.fetch_latest_block()).timestamp >= start + seconds

    await eventually(is_further, within=TIMEOUT_S, what=f"a block {seconds} s later")


async def test_when_a_market_ends_its_copies_stay_and_nothing_more_is_copied(
    story: Story, tmp_path: Path
) -> None:
    """The leader's last trades are quoted after the end."""
    market = await find_market(story, 1)
    token = market["token_ids"][0]
    entries = await make_copies(story, token)
    await story.deployment.stop("pricer")
    bought = await story.make_leader_trade(Side.BUY, "60", token=token)
    sold = await story.make_leader_sale(bought.shares, token=token)
    await story.venue.resolve(market["condition_id"], "yes")
    await story.deployment.start("pricer")

    verdicts = await story.wait_for_verdicts(bought)
    exits = await story.wait_for_exits(sold)
    await redeem_all(story, market)

    assert {each.state for each in verdicts.values()} == {"refused"}
    assert {each.reason for each in verdicts.values()} <= NOTHING_TO_TRADE
    assert await story.fetch_orders(bought) == await story.fetch_orders(sold) == {}
    assert {(each.state, each.reason) for each in exits.values()} == {("unsold", "no_market")}
    await assert_trades_are(story, 3)
    await assert_followers_hold(story, token, entries)
    await assert_an_operator_can_see(story, exits, tmp_path)


async def test_an_order_that_arrives_after_the_end_is_refused_for_good(
    story: Story, tmp_path: Path
) -> None:
    """The leader's last trades are quoted before the end, and judged after it."""
    market = await find_market(story, 2)
    token = market["token_ids"][0]
    entries = await make_copies(story, token)
    await story.deployment.stop("preflight")
    bought = await story.make_leader_trade(Side.BUY, "60", token=token)
    sold = await story.make_leader_sale(bought.shares, token=token)
    await story.wait_for_quotes(bought)
    await story.wait_for_quotes(sold)
    await story.venue.resolve(market["condition_id"], "no")
    await story.deployment.start("preflight")

    exits = await story.wait_for_exits(sold)
    orders = await wait_for_rejected_orders(story, bought)

    assert {each.reason.partition(":")[0] for each in orders.values()} == {"no_market"}
    assert {(each.state, each.sold_shares) for each in exits.values()} == {("unsold", 0)}
    assert await count_reserved(story, bought, sold) == 0
    await assert_trades_are(story, 3)
    await assert_followers_hold(story, token, entries)
    await assert_an_operator_can_see(story, exits, tmp_path)


async def wait_for_rejected_orders(story: Story, trade: LeaderTrade) -> Mapping[str, Row[Any]]:
    async def rejected() -> Mapping[str, Row[Any]]:
        orders = await story.fetch_orders(trade)
        states = [order.state for order in orders.values()]
        return orders if states == ["rejected"] * len(story.group.followers) else {}

    orders: Mapping[str, Row[Any]] = await eventually(
        rejected, within=TIMEOUT_S, what="each follower's order is rejected"
    )
    return orders


async def count_reserved(story: Story, *trades: LeaderTrade) -> int:
    """How many intents of the trades still reserve money or shares."""
    rows = await story.fetch_rows(
        "select count(*) as n from preflight.intents where intent_id = any(:ids) "
        "and state <> 'refused' and settled_at is null",
        ids=[intent for trade in trades for intent in story.intent_ids(trade).values()],
    )
    return int(rows[0].n)


async def redeem_all(story: Story, market: Mapping[str, Any]) -> None:
    """The leader redeems what he holds, and ingest reads on beyond that block. The node lets his
    account act without its key.
    """
    leader, condition = story.group.leader, bytes.fromhex(market["condition_id"][2:])
    call = encode_call(
        "redeemPositions(address,bytes32,bytes32,uint256[])", PUSD, bytes(32), condition, [1, 2]
    )
    request = {"from": leader, "to": CONDITIONAL_TOKENS, "data": "0x" + call.hex()}
    before = (await story.chain.fetch_balances(leader)).collateral
    rpc = Rpc(story.deployment.pipeline.stack.rpc_url)
    try:
        await rpc.call("anvil_setBalance", leader, hex(10**18))
        await rpc.call("anvil_impersonateAccount", leader)
        tx_hash = await rpc.call("eth_sendTransaction", request)
    finally:
        await rpc.close()
    receipt = await eventually(
        lambda: story.chain.fetch_receipt(tx_hash), within=TIMEOUT_S, what="the redemption"
    )
    assert receipt.succeeded

    async def is_read() -> bool:
        rows = await story.fetch_rows("select * from ingest.partition_cursors")
        return bool(rows) and all(row.block_number >= receipt.block_number for row in rows)

    await eventually(is_read, within=TIMEOUT_S, what="ingest has read the redemption's block")
    assert (await story.chain.fetch_balances(leader)).collateral > before


async def assert_trades_are(story: Story, count: int) -> None:
    """Ingest has so many trades of the leader, and each follower as many intents, the further
    attempts of exits not counted.
    """
    trades = await story.fetch_rows(
        "select distinct trade_id from ingest.fills where leader = :leader",
        leader=story.group.leader,
    )
    intents = await story.fetch_rows(
        "select intent_id from preflight.intents where proxy = any(:proxies) "
        "and exit_id in ('', intent_id)",
        proxies=[each.proxy for each in story.group.followers],
    )
    assert (len(trades), len(intents)) == (count, count * len(story.group.followers))


async def assert_followers_hold(story: Story, token: str, entries: Mapping[str, Row[Any]]) -> None:
    """What they bought is recorded for their follow, as the chain has it."""
    held = await story.fetch_rows(
        "select * from preflight.positions where token_id = :token and proxy = any(:proxies)",
        token=token,
        proxies=list(entries),
    )
    assert {row.proxy: row.shares for row in held} == {
        proxy: entry.shares for proxy, entry in entries.items()
    }
    await story.assert_records_equal_the_chain(token)
    await story.assert_venue_has_one_order_per_confirmed_copy()


async def assert_an_operator_can_see(
    story: Story, exits: Mapping[str, Row[Any]], folder: Path
) -> None:
    """`status` names each exit with shares left, and `why` names the rule that ended it."""
    system = {
        "DATABASE_URL": story.deployment.pipeline.stack.database_url,
        "STACK_FOLDER": str(folder / "no-stack"),
    }
    (code, status), *reasons = await asyncio.gather(
        slipstream("status", **system),
        *(slipstream("why", each.exit_id, **system) for each in exits.values()),
    )
    assert code == 0, status
    assert status.count("NEEDS AN OPERATOR: unsold") >= len(exits), status
    for reason_code, reason in reasons:
        assert reason_code == 0, reason
        assert "NEEDS AN OPERATOR: unsold: no_market" in reason, reason
