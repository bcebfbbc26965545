"""What leaders hold decides where no trade says it: merges, transfers, outages, and the ends of
follows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Row

from services.paper_venue.chain.calldata import encode_call
from shared.chain.addresses import CONDITIONAL_TOKENS, PUSD, positions_contract
from shared.chain.rpc import Rpc
from shared.clock import utc_now
from shared.db.controls import save_follows, save_mode
from shared.domain.follows import Mode, follower_scope
from shared.domain.money import CENT, MIN_REMAINDER_SHARES, Side, round_down
from shared.domain.terms import EndMode, EntryMode
from shared.messages.intents import CopyCause
from shared.messages.refusals import Refusal
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SOMEBODY = "0x" + "5e" * 20
MAX_AGE = timedelta(seconds=60)
ENVIRONMENT = {
    "PREFLIGHT_RECONCILE_INTERVAL": "PT1S",
    "PREFLIGHT_RECONCILE_AFTER": "PT5S",
    "PREFLIGHT_MAX_ENTRY_AGE": "PT60S",
    "PREFLIGHT_MAX_EXIT_AGE": "PT60S",
}
PAST_BLOCKS = 20
"""More than INGEST_CHAIN_LOOKBACK_BLOCKS."""
STOPPED = ("ingest", "pricer", "preflight")
SOLD_BY_CAUSE = """
select i.proxy, cast(v.verdict as json) -> 'intent' ->> 'cause' as cause,
       sum(i.filled_shares)::bigint as sold
from preflight.intents i join preflight.verdicts v using (intent_id)
where i.follow_id = any(:follows) and i.token_id = :token and i.side = 'SELL'
group by 1, 2
"""
HELD = """
select proxy, shares from preflight.positions
where follow_id = any(:follows) and token_id = :token
"""


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("reconciliation")
    with background.entered(
        running_deployment(folder, background, follow_groups=7, environment=ENVIRONMENT)
    ) as deployment:
        yield deployment


def follow_ids(story: Story) -> list[str]:
    return [follow.follow_id for follow in story.group.follows]


async def send_as(story: Story, sender: str, to: str, data: bytes) -> None:
    """A transaction that the sender signs elsewhere, mined and successful."""
    rpc = Rpc(story.deployment.pipeline.stack.rpc_url)
    try:
        await rpc.call("anvil_setBalance", sender, hex(10**18))
        await rpc.call("anvil_impersonateAccount", sender)
        tx_hash = await rpc.call(
            "eth_sendTransaction",
            {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(1_000_000)},
        )
    finally:
        await rpc.close()
    receipt = await eventually(
        lambda: story.chain.fetch_receipt(tx_hash),
        within=TIMEOUT_S,
        what="the leader's transaction",
    )
    assert receipt.succeeded


async def leader_shares(story: Story, token: str) -> int:
    balances = await story.chain.fetch_balances(story.group.leader, [int(token)])
    return balances.shares_by_token[int(token)]


async def held(story: Story, token: str) -> dict[str, int]:
    """What each follow of the group holds, by proxy."""
    rows = await story.fetch_rows(HELD, follows=follow_ids(story), token=token)
    return {row.proxy: row.shares for row in rows}


async def sold_by_cause(story: Story, token: str) -> dict[str, int]:
    """What the group's follows sold, by the cause of their exits."""
    rows = await story.fetch_rows(SOLD_BY_CAUSE, follows=follow_ids(story), token=token)
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.cause] = sums.get(row.cause, 0) + row.sold
    return {cause: sold for cause, sold in sums.items() if sold}


async def wait_until_out(story: Story, token: str, proxies: Sequence[str]) -> None:
    async def are_out() -> bool:
        shares = await held(story, token)
        return all(shares.get(proxy, 0) < MIN_REMAINDER_SHARES for proxy in proxies)

    await eventually(are_out, within=TIMEOUT_S, what=f"the shares of {token} sold")


async def buy_and_copy(story: Story, token: str) -> tuple[LeaderTrade, dict[str, Row[Any]]]:
    """The leader's trade and the followers' orders, settled in preflight's records too."""
    trade = await story.make_leader_trade(Side.BUY, "60", token=token)
    orders = await story.wait_for_confirmed_orders(trade)

    async def are_held() -> bool:
        shares = await held(story, token)
        return len(shares) == len(orders) and all(shares.values())

    await eventually(are_held, within=TIMEOUT_S, what="the copies in preflight's positions")
    return trade, orders


async def wait_until_no_feed_reports(story: Story, trade: LeaderTrade) -> None:
    """Wait until the trade is in a block that the chain's feed does not read again."""

    async def is_past() -> bool:
        receipt = await story.chain.fetch_receipt(trade.transaction_hash)
        head = await story.chain.fetch_latest_block()
        return receipt is not None and head.number > receipt.block_number + PAST_BLOCKS

    await eventually(is_past, within=TIMEOUT_S, what="the trade is in the past")


def all_proxies(story: Story) -> list[str]:
    return [follow.proxy for follow in story.group.follows]


async def test_a_leader_who_merges_is_followed_in_both_outcomes(story: Story) -> None:
    """He bought both, and turns three quarters of the pairs into pUSD: there is no trade."""
    market = next(
        market
        for market in (await story.venue.fetch_world())["markets"]
        if positions_contract(int(market["token_ids"][0])) == CONDITIONAL_TOKENS
    )
    tokens = market["token_ids"]
    for token in tokens:
        await buy_and_copy(story, token)
    before = {token: await held(story, token) for token in tokens}
    pairs = [await leader_shares(story, token) for token in tokens]
    merged = min(pairs) * 3 // 4

    await send_as(
        story,
        story.group.leader,
        CONDITIONAL_TOKENS,
        encode_call(
            "mergePositions(address,bytes32,bytes32,uint256[],uint256)",
            PUSD,
            bytes(32),
            bytes.fromhex(market["condition_id"].removeprefix("0x")),
            [1, 2],
            merged,
        ),
    )

    for token, leader_held in zip(tokens, pairs, strict=True):
        expected = {
            proxy: shares - round_down(shares * merged // leader_held, CENT)
            for proxy, shares in before[token].items()
        }

        async def have_exited(token: str = token, expected: dict[str, int] = expected) -> bool:
            return await held(story, token) == expected

        await eventually(have_exited, within=TIMEOUT_S, what=f"the proportion of {token} sold")
        assert set(await sold_by_cause(story, token)) == {CopyCause.RECONCILED}


async def test_a_leader_who_transfers_his_shares_away_is_followed_out(story: Story) -> None:
    token = story.tokens[2]
    await buy_and_copy(story, token)
    amount = await leader_shares(story, token)

    transfer = encode_call(
        "safeTransferFrom(address,address,uint256,uint256,bytes)",
        story.group.leader,
        SOMEBODY,
        int(token),
        amount,
        b"",
    )
    await send_as(story, story.group.leader, positions_contract(int(token)), transfer)

    await wait_until_out(story, token, all_proxies(story))
    assert set(await sold_by_cause(story, token)) == {CopyCause.RECONCILED}


async def test_an_exit_that_an_outage_hid_is_made_afterwards(
    story: Story, deployment: Deployment
) -> None:
    """The services are away until the leader's sale is older than any exit may be."""
    token = story.tokens[4]
    bought, entries = await buy_and_copy(story, token)
    for name in STOPPED:
        await deployment.stop(name)
    sold = await story.make_leader_sale(await leader_shares(story, token), token=token)
    sold_at = utc_now()
    await eventually(
        lambda: utc_now() > sold_at + MAX_AGE, within=TIMEOUT_S, what="the sale is too old"
    )
    await deployment.start(*STOPPED)

    verdicts = await story.wait_for_verdicts(sold)
    await wait_until_out(story, token, all_proxies(story))

    reasons = {verdict.reason for verdict in verdicts.values()}
    assert reasons <= {Refusal.TRADE_TOO_OLD, Refusal.ALREADY_RECONCILED}
    sums = await sold_by_cause(story, token)
    assert set(sums) == {CopyCause.RECONCILED}
    bought_shares = sum(entry.shares for entry in entries.values())
    assert 0 <= bought_shares - sums[CopyCause.RECONCILED] < CENT * len(entries)
    assert bought.shares


async def test_a_follow_that_ends_with_close_out_sells_what_it_holds(story: Story) -> None:
    """The leader keeps his shares; the others go on."""
    token = story.tokens[6]
    await buy_and_copy(story, token)
    leaving, *staying = story.group.follows

    ended = replace(leaving, active=False, at_end=EndMode.CLOSE_OUT)
    await save_follows(story.engine, [ended], by="test", change="unfollow with close-out")

    await wait_until_out(story, token, [leaving.proxy])
    assert set(await sold_by_cause(story, token)) == {CopyCause.ENDED}
    shares = await held(story, token)
    assert all(shares[follow.proxy] >= MIN_REMAINDER_SHARES for follow in staying)


async def test_closing_a_follower_sells_what_he_holds_and_buys_nothing(story: Story) -> None:
    token = story.tokens[8]
    await buy_and_copy(story, token)
    closed = story.group.follows[0].proxy

    version = await save_mode(story.engine, follower_scope(closed), Mode.CLOSING, by="test")
    await story.wait_for_controls(version)

    await wait_until_out(story, token, [closed])
    verdicts = await story.wait_for_verdicts(
        await story.make_leader_trade(Side.BUY, "20", token=token)
    )
    assert verdicts[closed].reason == Refusal.REDUCING


async def test_a_follow_that_follows_to_the_end_copies_exits_and_no_entries(story: Story) -> None:
    token = story.tokens[10]
    bought, _ = await buy_and_copy(story, token)
    ended = [replace(follow, active=False, at_end=EndMode.FOLLOW) for follow in story.group.follows]
    version = await save_follows(story.engine, ended, by="test", change="unfollow to the end")
    await story.wait_for_controls(version)

    later = await story.make_leader_trade(Side.BUY, "20", token=token)
    sold = await story.make_leader_sale(bought.shares, token=token)

    verdicts = await story.wait_for_verdicts(sold)
    assert {verdict.reason for verdict in verdicts.values()} <= {"", Refusal.ALREADY_RECONCILED}
    assert await story.fetch_verdicts(later) == {}
    await story.wait_for_both_sources(sold)


async def test_a_follow_that_mirrors_buys_what_its_leader_held_before_and_exits_with_him(
    story: Story,
) -> None:
    """The others begin at the same time, and copy trades alone."""
    token = story.tokens[3]
    ended = [replace(follow, active=False) for follow in story.group.follows]
    await story.wait_for_controls(
        await save_follows(story.engine, ended, by="test", change="nobody follows")
    )
    bought = await story.make_leader_trade(Side.BUY, "60", token=token)
    await wait_until_no_feed_reports(story, bought)

    first, *others = story.group.follows
    begun = [replace(first, entries=EntryMode.MIRROR), *others]
    await save_follows(story.engine, begun, by="test", change="one mirrors, the others do not")

    async def has_entered() -> bool:
        return (await held(story, token)).get(first.proxy, 0) >= MIN_REMAINDER_SHARES

    await eventually(has_entered, within=TIMEOUT_S, what="the mirrored entry settled")
    assert set(await held(story, token)) == {first.proxy}
    await story.make_leader_sale(bought.shares, token=token)
    await wait_until_out(story, token, [first.proxy])
