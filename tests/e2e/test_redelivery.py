"""Whatever is delivered again, from the beginning or from the middle of every topic, changes no
row, no order and no balance.
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
from tests.system.consumer_groups import Edge, earliest, ends, lag, middle, set_back
from tests.system.deployment import Deployment, deployed
from tests.system.story import PATIENCE, LeaderTrade, Story
from tools.pipeline.parts import SERVICES
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NOT_BY_MESSAGES = frozenset({"control.leases", "ingest.cursors"})
"""What moves without any message: who holds a partition since the restart, and how far the growing
chain has been read."""

OPEN = "select intent_id from executor.orders where state in ('signed', 'unknown', 'matched')"
UNSETTLED = (
    "select trade_id from executor.trades where status <> 'FAILED' and chain_state <> 'final'"
)

Books = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A stopped service's place in its group is given up soon."""
    folder, environment = (
        tmp_path_factory.mktemp("redelivery"),
        {"KAFKA_SESSION_TIMEOUT_MS": "6000"},
    )
    with background.entered(
        deployed(folder, background, circles=1, environment=environment)
    ) as deployment:
        yield deployment


async def test_what_is_delivered_again_changes_nothing(story: Story) -> None:
    await things_happen(story)
    before = await everything(story)

    for edge in (earliest, middle):
        await deliver_again(story, edge)
        after = await everything(story)

        moved = {
            name: differences(standing, after[name])
            for name, standing in before.items()
            if after[name] != standing
        }
        assert moved == {}, f"delivered again from the {edge.__name__}"


async def things_happen(story: Story) -> None:
    """Entries, a partial exit, refusals, a settlement that fails, and a debt."""
    first, second, _ = (account.proxy for account in story.group.followers)
    entries = await story.confirmed(await story.trades(Side.BUY, "200"))
    await story.confirmed(await story.trades(Side.SELL, "80"))

    await save_mode(story.engine, follower_scope(first), Mode.HALTED, by="test")
    await story.venue.change_faults({"failed": {"only": second, "times": 1, "seconds": "1"}})
    partly = await story.trades(Side.BUY, "60", token=story.tokens[2])
    verdicts = await story.judged(partly)
    async with Producer(story.deployment.pipeline.kafka_settings()) as producer:
        await producer.publish(a_debt(first, entries[first].intent_id))
    states = await ended(story, partly, copies=2)

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


async def ended(story: Story, trade: LeaderTrade, *, copies: int) -> dict[str, str]:
    """The states of the trade's copies by proxy, once all are final."""

    async def all_final() -> dict[str, str]:
        states = {proxy: order.state for proxy, order in (await story.orders(trade)).items()}
        return (
            states
            if len(states) == copies and set(states.values()) <= {"confirmed", "failed"}
            else {}
        )

    found: dict[str, str] = await eventually(
        all_final, within=PATIENCE, what="a final state of each copy"
    )
    return found


async def deliver_again(story: Story, edge: Edge) -> None:
    for name in SERVICES:
        await story.deployment.stop(name)
    again = await set_back(story.deployment.pipeline.kafka_settings(), edge)
    assert again > 0
    await story.deployment.start(*SERVICES)


async def everything(story: Story) -> dict[str, Any]:
    """Every row, the venue's trades and the chain's balances, once nothing is under way any more."""
    await eventually(
        lambda: is_at_rest(story), within=PATIENCE, what="nothing under way in any topic or book"
    )
    wallets = [
        await story.chain.fetch_balances(account.proxy, [int(token) for token in story.tokens])
        for account in story.group.followers
    ]
    return {
        **await books(story),
        "the venue's trades": await story.trades_at_the_venue(),
        "the venue's refusals": (await story.venue.fetch_stats())["refusals"],
        "balances": [
            (wallet.wallet, wallet.collateral, wallet.shares_by_token) for wallet in wallets
        ],
    }


async def books(story: Story) -> Books:
    tables = [name for name in metadata.tables if name not in NOT_BY_MESSAGES]
    found = {}
    for name in (*sorted(tables), "executor.positions"):
        found[name] = sorted(
            (dict(row._mapping) for row in await story.rows(f"select * from {name}")), key=str
        )
    return found


def differences(before: Any, after: Any) -> Any:
    """Of rows, only the columns that differ."""
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
    """No message waits, none was written while that was looked at, and no order or settlement is
    open.
    """
    settings = story.deployment.pipeline.kafka_settings()
    written = await ends(settings)
    waits = await lag(settings) or await story.rows(OPEN) or await story.rows(UNSETTLED)
    return not waits and written == await ends(settings)
