"""Copies are sized by tiers, with what is carried of small trades, and by a share of the equity."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shared.db.controls import save_follows
from shared.domain.follows import Follow
from shared.domain.money import CENT, MIN_BUY_USDC, Side, round_down
from shared.domain.terms import Equities, Tier
from shared.messages.intents import Intent
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TIERS = (
    Tier(from_usdc=0, percent=Decimal(2)),
    Tier(from_usdc=100 * MIN_BUY_USDC, percent=Decimal(10)),
)
ROUNDED = 10
"""Micro-USDC by which the value of a trade may differ between those who report it."""


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        running_deployment(
            tmp_path_factory.mktemp("sizing"),
            background,
            follow_groups=2,
            environment={"INGEST_EQUITY_INTERVAL": "PT1S"},
            data_api=True,
        )
    ) as deployment:
        yield deployment


async def change_terms(story: Story, **terms: Any) -> None:
    """The group's follows copy by these terms, without a minimum, from now on."""
    base = {"percent": None, "min_usdc": 0} | terms
    follows: Sequence[Follow] = [replace(follow, **base) for follow in story.group.follows]
    version = await save_follows(story.engine, follows, by="test", change="other terms")
    await story.wait_for_controls(version)


async def wait_for_intents(story: Story, trade: LeaderTrade) -> Mapping[str, Intent]:
    """The judged intents of the trade by proxy."""
    verdicts = await story.wait_for_verdicts(trade)
    return {
        proxy: Intent.model_validate(json.loads(row.verdict, parse_float=str)["intent"])
        for proxy, row in verdicts.items()
    }


async def fetch_let_go(story: Story) -> int:
    (row,) = await story.fetch_rows(
        "select coalesce(sum(let_go_usdc), 0) as usdc from ingest.copy_sizes "
        "where follow_id = any(:ids)",
        ids=[follow.follow_id for follow in story.group.follows],
    )
    return int(row.usdc)


async def test_small_trades_are_carried_until_they_suffice_and_large_ones_have_their_tier(
    story: Story,
) -> None:
    token = story.tokens[0]
    await change_terms(story, tiers=TIERS)

    first = await story.make_leader_trade(Side.BUY, "30", token=token)
    small = await wait_for_intents(story, first)
    assert all(abs(each.usdc - first.usdc // 50) <= ROUNDED for each in small.values())
    assert {row.reason for row in (await story.fetch_verdicts(first)).values()} == {"below_minimum"}

    await story.deployment.kill("ingest")
    await story.deployment.start("ingest")
    second = await story.make_leader_trade(Side.BUY, "30", token=token)
    intents, orders = (
        await wait_for_intents(story, second),
        await story.wait_for_confirmed_orders(second),
    )
    for proxy, intent in intents.items():
        assert intent.carried_usdc == small[proxy].usdc
        assert abs(intent.usdc - intent.carried_usdc - second.usdc // 50) <= ROUNDED
        assert 0 < orders[proxy].usdc <= round_down(intent.usdc, CENT)

    large = await story.make_leader_trade(Side.BUY, "150", token=token)
    await story.wait_for_confirmed_orders(large)
    for intent in (await wait_for_intents(story, large)).values():
        assert abs(intent.usdc - large.usdc // 10) <= ROUNDED
        assert intent.carried_usdc == 0

    third = await story.make_leader_trade(Side.BUY, "30", token=token)
    carried = await wait_for_intents(story, third)
    assert await fetch_let_go(story) == 0
    await story.wait_for_exits(await story.make_leader_sale(third.shares, token=token))
    assert await fetch_let_go(story) == sum(each.usdc for each in carried.values())
    await story.assert_records_equal_the_chain(token)


async def test_the_leaders_share_of_his_equity_is_copied_of_the_followers(story: Story) -> None:
    token, leader = story.tokens[2], story.group.leader
    wallets = {leader, *(account.proxy for account in story.group.followers)}
    await change_terms(story, equity_percent=Decimal(100))

    async def read_all() -> dict[str, int]:
        rows = await story.fetch_rows(
            "select wallet, (array_agg(usdc order by read_at desc))[1] as usdc "
            "from ingest.equities where wallet = any(:wallets) "
            "group by wallet having count(*) > 1",
            wallets=list(wallets),
        )
        return {row.wallet: row.usdc for row in rows} if len(rows) == len(wallets) else {}

    worth: dict[str, int] = await eventually(
        read_all, within=TIMEOUT_S, what="what each wallet is worth"
    )
    for account in story.group.followers:
        balances = await story.chain.fetch_balances(account.proxy)
        assert worth[account.proxy] == balances.collateral
    # So that a trade of 100 USDC is copied by about 20.
    percent = Decimal(20) * worth[leader] / worth[story.group.followers[0].proxy]
    await change_terms(story, equity_percent=percent.quantize(Decimal("0.01")))

    trade = await story.make_leader_trade(Side.BUY, "100", token=token)
    orders = await story.wait_for_confirmed_orders(trade)

    for proxy, intent in (await wait_for_intents(story, trade)).items():
        (follow,) = [each for each in story.group.follows if each.proxy == proxy]
        terms = replace(
            follow, percent=None, min_usdc=0, equity_percent=percent.quantize(Decimal("0.01"))
        )
        equities = Equities(
            leader_usdc=intent.leader_equity_usdc, follower_usdc=intent.follower_equity_usdc
        )
        assert intent.sized_by_equity
        assert equities.are_known
        sized = terms.copy_usdc(trade.usdc, equities=equities)
        assert abs(intent.usdc - sized) <= ROUNDED
        assert 0 < orders[proxy].usdc <= round_down(intent.usdc, CENT)
    await story.assert_records_equal_the_chain(token)
