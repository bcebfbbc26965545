"""A redelivery of every topic, from its beginning or its middle, changes no row, no order and no
balance.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.clock import utc_now
from shared.db.controls import save_mode
from shared.db.tables import metadata
from shared.domain.follows import Mode, follower_scope
from shared.domain.money import Side
from shared.messages.debts import Creditor, DebtRaised
from shared.streams.producer import Producer
from shared.testing.waiting import eventually
from tests.system.consumer_groups import (
    ResetPosition,
    earliest,
    fetch_end_offsets,
    fetch_lag,
    middle,
    reset_offsets,
)
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, LeaderTrade, Story
from tools.pipeline.parts import SERVICES
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CHANGED_WITHOUT_MESSAGES = frozenset(
    {
        "control.leases",
        "ingest.partition_cursors",
        "ingest.leader_cursors",
        "tx_monitor.partition_cursors",
    }
)
"""Tables that also change without a message: who holds a lease since the restart, and how far the
growing chain has been read."""

LOAD_OPEN_ORDERS = "select intent_id from executor.open_orders"
LOAD_UNSETTLED_TRADES = (
    "select trade_id from executor.trades where status <> 'FAILED' and chain_state <> 'final'"
)

Records = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """With a short session timeout, so that a stopped service soon leaves its group."""
    folder, environment = (
        tmp_path_factory.mktemp("redelivery"),
        {"KAFKA_SESSION_TIMEOUT_MS": "6000"},
    )
    with background.entered(
        running_deployment(folder, background, follow_groups=1, environment=environment)
    ) as deployment:
        yield deployment


async def test_a_redelivery_of_all_topics_changes_nothing(story: Story) -> None:
    await make_all_kinds_of_copies(story)
    before = await load_everything(story)

    for position in (earliest, middle):
        await redeliver_from(story, position)
        after = await load_everything(story)

        changed = {
            name: differences(value, after[name])
            for name, value in before.items()
            if after[name] != value
        }
        assert changed == {}, f"after a redelivery from the {position.__name__} offsets"


async def make_all_kinds_of_copies(story: Story) -> None:
    """Make entries, a partial exit, a refusal, a failed settlement and a debt."""
    first, second, _ = (account.proxy for account in story.group.followers)
    entries = await story.wait_for_confirmed_orders(await story.make_leader_trade(Side.BUY, "200"))
    await story.wait_for_confirmed_orders(await story.make_leader_trade(Side.SELL, "80"))

    halt = await save_mode(story.engine, follower_scope(first), Mode.HALTED, by="test")
    await story.wait_for_controls(halt)
    await story.venue.change_faults({"failed": {"only": second, "times": 1, "seconds": "1"}})
    trade = await story.make_leader_trade(Side.BUY, "60", token=story.tokens[2])
    verdicts = await story.wait_for_verdicts(trade)
    async with Producer(story.deployment.pipeline.kafka_settings()) as producer:
        await producer.publish(a_debt(first, entries[first].intent_id))
    states = await wait_for_final_states(story, trade, copies=2)

    assert verdicts[first].state == "refused"
    assert states[second] == "failed"
    assert sorted(states.values()) == ["confirmed", "failed"]


def a_debt(proxy: str, intent: str) -> DebtRaised:
    return DebtRaised(
        message_id=f"{intent}:debt",
        occurred_at=utc_now(),
        proxy=proxy,
        debt_id=f"{intent}:debt",
        intent_id=intent,
        creditor=Creditor.OPERATOR,
        usdc=1_000_000,
        reason="a test",
    )


async def wait_for_final_states(story: Story, trade: LeaderTrade, *, copies: int) -> dict[str, str]:
    """The states of the trade's copies by proxy, once all are final."""

    async def all_final() -> dict[str, str]:
        states = {proxy: order.state for proxy, order in (await story.fetch_orders(trade)).items()}
        return (
            states
            if len(states) == copies and set(states.values()) <= {"confirmed", "failed"}
            else {}
        )

    states: dict[str, str] = await eventually(
        all_final, within=TIMEOUT_S, what="a final state of each copy"
    )
    return states


async def redeliver_from(story: Story, position: ResetPosition) -> None:
    for name in SERVICES:
        await story.deployment.stop(name)
    redelivered = await reset_offsets(story.deployment.pipeline.kafka_settings(), position)
    assert redelivered > 0
    await story.deployment.start(*SERVICES)


async def load_everything(story: Story) -> dict[str, Any]:
    """Wait until nothing is in progress; then all rows, the venue's trades and the balances."""
    await eventually(
        lambda: is_at_rest(story),
        within=TIMEOUT_S,
        what="no message, order or settlement in progress",
    )
    balances = [
        await story.chain.fetch_balances(account.proxy, [int(token) for token in story.tokens])
        for account in story.group.followers
    ]
    return {
        **await load_all_tables(story),
        "the venue's trades": await story.fetch_venue_trades(),
        "the venue's refusals": (await story.venue.fetch_stats())["refusals"],
        "balances": [(each.wallet, each.collateral, each.shares_by_token) for each in balances],
    }


async def load_all_tables(story: Story) -> Records:
    tables = [name for name in metadata.tables if name not in CHANGED_WITHOUT_MESSAGES]
    rows_by_table = {}
    for name in (*sorted(tables), "executor.positions"):
        rows_by_table[name] = sorted(
            (dict(row._mapping) for row in await story.fetch_rows(f"select * from {name}")), key=str
        )
    return rows_by_table


def differences(before: Any, after: Any) -> Any:
    """Both values; of rows, only the columns that differ."""
    if not isinstance(before, list) or len(before) != len(after):
        return before, after
    pairs = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
    rows = all(isinstance(was, dict) and isinstance(now, dict) for was, now in pairs)
    return (
        [
            {column: (was[column], now[column]) for column in was if was[column] != now[column]}
            for was, now in pairs
        ]
        if rows
        else pairs
    )


async def is_at_rest(story: Story) -> bool:
    """Whether no message waits, none was published during the check, and no order or settlement is
    open.
    """
    settings = story.deployment.pipeline.kafka_settings()
    ends = await fetch_end_offsets(settings)
    in_progress = (
        await fetch_lag(settings)
        or await story.fetch_rows(LOAD_OPEN_ORDERS)
        or await story.fetch_rows(LOAD_UNSETTLED_TRADES)
    )
    return not in_progress and ends == await fetch_end_offsets(settings)
