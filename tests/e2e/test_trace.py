"""One trace covers a leader's trade from its first report to the settlement of each copy. No secret
is in it, in a log or on a topic.
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
from tests.system.story import TIMEOUT_S, LeaderTrade, Story

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
ENDS = {
    # By the chain's fills.
    (*ORDER, "preflight: process copy-outcomes"),
    # By the venue's trades, where the fills of a final block take longer than they may.
    (*ORDER, "executor: process venue-reports", "preflight: process copy-outcomes"),
}
"""One of these is the end of a copy."""
OPTIONAL_PATHS = {
    (*ORDER, "executor: process venue-reports"),
    # The settlement is watched from the trade's row on, and reported when mined and when final.
    (*SETTLEMENT, "tx-monitor: process chain-reports", "executor: process chain-results"),
    # A later report of the same trade requests its confirmation again. The answer comes from the
    # row; there is none yet where no receipt was seen so far.
    SETTLEMENT,
    (*SETTLEMENT, "executor: process chain-results"),
}
"""Paths that occur where the venue is asked, and when it reports more often than the copy
changes."""
ONCE_PER_COPY = (
    "process copy-intents",
    "process quoted-intents",
    "process approved-intents",
    "POST /order",
)


async def test_one_trace_runs_from_the_leaders_fill_to_each_followers_settled_copy(
    story: Story,
) -> None:
    trade = await story.make_leader_trade(Side.BUY, "100")
    await story.wait_for_confirmed_orders(trade)

    (root,) = await wait_for_trace(story, trade)

    assert root.span.parent_id == ""
    assert describe(root) == ROOT[0]
    assert [describe(child) for child in root.children] == [ROOT[1]]
    copies = root.children[0].children
    assert len(copies) == len(story.group.followers)
    for copy in copies:
        assert not [path for path in paths(copy) if not is_known(path)]
        counted = Counter(span.name for span in flatten_spans(copy))
        assert {name: counted[name] for name in ONCE_PER_COPY} == dict.fromkeys(ONCE_PER_COPY, 1)
    assert {span.kind for span in flatten_spans(root) if span.name == "POST /order"} == {"CLIENT"}
    assert not [span for span in flatten_spans(root) if span.failed]


async def test_every_message_carries_one_traceparent(story: Story) -> None:
    await story.wait_for_confirmed_orders(await story.make_leader_trade(Side.BUY, "50"))

    always = {"leader-fills", "copy-intents", "quoted-intents", "approved-intents", "copy-outcomes"}
    topics = (*always, "venue-reports", "chain-requests")
    records = [record for topic in topics for record in await story.read_topic(topic)]

    assert {record.topic for record in records} >= always
    assert {sum(name == TRACEPARENT for name, _ in record.headers) for record in records} == {1}


async def test_no_secret_is_in_a_log_a_record_or_a_span(story: Story) -> None:
    orders = await story.wait_for_confirmed_orders(await story.make_leader_trade(Side.BUY, "50"))
    secrets = await collect_secrets(story, orders)

    outputs = {
        **{
            path.name: path.read_text()
            for path in await asyncio.to_thread(lambda: sorted(story.deployment.logs.iterdir()))
        },
        **{topic.name: as_text(await story.read_topic(topic.name)) for topic in TOPICS},
        "spans": repr(story.deployment.collector.spans),
        "headers of the exported spans": repr(story.deployment.collector.headers),
    }

    assert outputs["executor.log"]
    assert outputs["approved-intents"]
    assert all(order.order_hash in outputs["spans"] for order in orders.values())
    leaked = [
        (name, place)
        for name, secret in secrets
        for place, text in outputs.items()
        if secret in text.lower()
    ]
    assert leaked == []


async def collect_secrets(story: Story, orders: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of a name and a secret in lower case: the private keys, and the credentials that the
    venue issued for them.
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
                "the executor must use these credentials"
            )
            secrets += [(f"API secret of {account.proxy}", credentials.secret.lower())]
            secrets += [(f"passphrase of {account.proxy}", credentials.passphrase.lower())]
    return secrets


async def wait_for_trace(story: Story, trade: LeaderTrade) -> tuple[SpanNode, ...]:
    """Wait until every span that a copy must have is exported, and none is without its parent.

    Those of a repetition may still be missing.
    """
    (traced,) = await story.fetch_rows(
        """
        select distinct substr(traceparent, 4, 32) as trace_id from executor.orders
        where intent_id = any(:ids)
        """,
        ids=list(story.intent_ids(trade).values()),
    )
    collector = story.deployment.collector

    def complete_trees() -> tuple[SpanNode, ...]:
        trees = collector.build_trees(traced.trace_id)
        copies = [copy for root in trees for handled in root.children for copy in handled.children]
        complete = [copy for copy in copies if is_complete(copy)]
        return (
            trees
            if len(trees) == 1 and len(complete) == len(copies) >= len(story.group.followers)
            else ()
        )

    def describe_exported() -> str:
        drawn = [line for tree in collector.build_trees(traced.trace_id) for line in tree.draw()]
        return "\n".join([f"the complete trace {traced.trace_id}", *drawn])

    trees: tuple[SpanNode, ...] = await eventually(
        complete_trees, within=TIMEOUT_S, what=describe_exported
    )
    return trees


def is_complete(copy: SpanNode) -> bool:
    """Whether every span that a copy must have is there."""
    found = set(paths(copy))
    return TO_THE_VENUE in found and not found.isdisjoint(ENDS)


def describe(branch: SpanNode) -> str:
    return f"{branch.span.service}: {branch.span.name}"


def paths(branch: SpanNode) -> Iterator[tuple[str, ...]]:
    """The spans from the branch to each of its leaves."""
    if not branch.children:
        yield (describe(branch),)
    for child in branch.children:
        yield from ((describe(branch), *path) for path in paths(child))


def is_known(path: tuple[str, ...]) -> bool:
    """Whether a copy may have the path, or a part of it whose next span is not exported yet."""
    return any(known[: len(path)] == path for known in {TO_THE_VENUE} | ENDS | OPTIONAL_PATHS)


def flatten_spans(branch: SpanNode) -> Iterator[ExportedSpan]:
    yield branch.span
    for child in branch.children:
        yield from flatten_spans(child)


def as_text(records: Iterable[Any]) -> str:
    return "\n".join(repr((record.key, record.value, record.headers)) for record in records)
