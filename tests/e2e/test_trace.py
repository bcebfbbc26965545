"""One trace tells the whole life of a leader's trade; no secret is in it, nor anywhere else that is
kept.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from shared.clock import utc_now
from shared.domain.money import Side
from shared.observe.tracing import TRACEPARENT
from shared.polymarket.clob import Clob
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet
from shared.streams.topics import TOPICS
from shared.testing.otlp import ExportedSpan, SpanNode
from shared.testing.waiting import eventually
from tests.system.story import PATIENCE, LeaderTrade, Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROOT = ("ingest: observe leader fill", "ingest: process leader-fills")
TO_THE_VENUE = (
    "pricer: process copy-intents",
    "preflight: process quoted-intents",
    "executor: process approved-intents",
    "executor: POST /order",
)
ORDER = TO_THE_VENUE[:3]
SETTLEMENT = (*ORDER, "executor: process venue-reports", "tx-monitor: process chain-requests")
PATHS_OF_A_COPY = {
    TO_THE_VENUE,
    # The order's answer; then its end, when the venue has confirmed its trades.
    (*ORDER, "preflight: process copy-outcomes"),
    (*ORDER, "executor: process venue-reports", "preflight: process copy-outcomes"),
    # From the row on: the settlement is watched, seen mined, then final, and told each time.
    (*SETTLEMENT, "tx-monitor: process chain-reports", "executor: process chain-results"),
}
REPETITIONS = {
    # A word of the venue before the trade is mined moves nothing on.
    (*ORDER, "executor: process venue-reports"),
    # A later word on the same trade asks again, and is answered at once from the row.
    (*SETTLEMENT, "executor: process chain-results"),
}
"""Where the venue is looked at more often than the copy moves on."""
ENDS = {path[-1] for path in PATHS_OF_A_COPY | REPETITIONS}
"""Another span without children is one whose children have not been exported yet."""
ONCE_PER_COPY = (
    "process copy-intents",
    "process quoted-intents",
    "process approved-intents",
    "POST /order",
)


async def test_one_trace_runs_from_the_leaders_fill_to_each_followers_settled_copy(
    story: Story,
) -> None:
    trade = await story.trades(Side.BUY, "100")
    await story.confirmed(trade)

    (root,) = await whole_tree(story, trade)

    assert root.span.parent_id == ""
    assert line(root) == ROOT[0]
    assert [line(child) for child in root.children] == [ROOT[1]]
    copies = root.children[0].children
    assert len(copies) == len(story.group.followers)
    for copy in copies:
        assert PATHS_OF_A_COPY <= set(paths(copy)) <= PATHS_OF_A_COPY | REPETITIONS
        counted = Counter(span.name for span in spans_of(copy))
        assert {name: counted[name] for name in ONCE_PER_COPY} == dict.fromkeys(ONCE_PER_COPY, 1)
    assert {span.kind for span in spans_of(root) if span.name == "POST /order"} == {"CLIENT"}
    assert not [span for span in spans_of(root) if span.failed]


async def test_every_message_carries_one_traceparent(story: Story) -> None:
    await story.confirmed(await story.trades(Side.BUY, "50"))

    topics = (
        "leader-fills",
        "copy-intents",
        "quoted-intents",
        "approved-intents",
        "copy-outcomes",
        "venue-reports",
        "chain-requests",
    )
    records = [record for topic in topics for record in await story.records(topic)]

    assert {record.topic for record in records} == set(topics)
    assert {sum(name == TRACEPARENT for name, _ in record.headers) for record in records} == {1}


async def test_no_secret_is_in_a_log_a_record_or_a_span(story: Story) -> None:
    orders = await story.confirmed(await story.trades(Side.BUY, "50"))
    secrets = await secrets_of(story, orders)

    kept = {
        **{
            path.name: path.read_text()
            for path in await asyncio.to_thread(lambda: sorted(story.deployment.logs.iterdir()))
        },
        **{topic.name: text_of(await story.records(topic.name)) for topic in TOPICS},
        "spans": repr(story.deployment.collector.spans),
        "what the collector was told besides": repr(story.deployment.collector.headers),
    }

    assert kept["executor.log"]
    assert kept["approved-intents"]
    assert all(order.order_hash in kept["spans"] for order in orders.values())
    found = [
        (name, place)
        for name, secret in secrets
        for place, text in kept.items()
        if secret in text.lower()
    ]
    assert found == []


async def secrets_of(story: Story, orders: dict[str, Any]) -> list[tuple[str, str]]:
    """What nobody may ever see, in small letters, by a name that may be seen: the keys, and what
    the venue gave for them.
    """
    urls = story.deployment.pipeline.urls
    secrets = [
        (f"private key of {account.proxy}", account.private_key.removeprefix("0x").lower())
        for account in story.deployment.all_followers
    ]
    async with Clob(VenueSettings.model_validate({"clob_url": urls["clob"]}), now=utc_now) as clob:
        for account in story.group.followers:
            credentials = await clob.fetch_credentials(
                Wallet(proxy=account.proxy, private_key=account.private_key)
            )
            assert credentials.key in orders[account.proxy].body, (
                "these are the credentials that the executor uses"
            )
            secrets += [(f"API secret of {account.proxy}", credentials.secret.lower())]
            secrets += [(f"passphrase of {account.proxy}", credentials.passphrase.lower())]
    return secrets


async def whole_tree(story: Story, trade: LeaderTrade) -> tuple[SpanNode, ...]:
    """Waits until every copy's last span has been exported, and none is without its parent."""
    (traced,) = await story.rows(
        "select distinct substr(traceparent, 4, 32) as trace_id from executor.orders where intent_id = any(:ids)",
        ids=list(story.intents(trade).values()),
    )
    collector = story.deployment.collector

    def whole() -> tuple[SpanNode, ...]:
        trees = collector.build_trees(traced.trace_id)
        copies = [copy for root in trees for told in root.children for copy in told.children]
        complete = [
            copy
            for copy in copies
            if set(paths(copy)) >= PATHS_OF_A_COPY and all(path[-1] in ENDS for path in paths(copy))
        ]
        return (
            trees
            if len(trees) == 1 and len(complete) == len(copies) >= len(story.group.followers)
            else ()
        )

    found: tuple[SpanNode, ...] = await eventually(
        whole, within=PATIENCE, what=f"the whole trace {traced.trace_id}"
    )
    return found


def line(branch: SpanNode) -> str:
    return f"{branch.span.service}: {branch.span.name}"


def paths(branch: SpanNode) -> Iterator[tuple[str, ...]]:
    """From the branch to each of its leaves."""
    if not branch.children:
        yield (line(branch),)
    for child in branch.children:
        yield from ((line(branch), *path) for path in paths(child))


def spans_of(branch: SpanNode) -> Iterator[ExportedSpan]:
    yield branch.span
    for child in branch.children:
        yield from spans_of(child)


def text_of(records: Iterable[Any]) -> str:
    return "\n".join(repr((record.key, record.value, record.headers)) for record in records)
