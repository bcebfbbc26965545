"""What is counted and measured: every metric is declared here once, and has one function that says
what happened.

``python -m shared.observe.metrics`` prints the declaration as a table for the docs.

The instruments belong to the process, like its standard error: a scrape reads one process. They are
kept in a registry of our own, so that nothing but what is declared here (and the process's memory,
CPU and collector figures) is served.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Generic, Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from shared.observe.labels import bounded

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)
CacheResult = Literal["hit", "shared", "miss", "stale"]

REGISTRY = CollectorRegistry()

MOST_LABEL_SETS = 2_000
"""Of one metric. 64 partitions of a dozen topics fit; an identifier that slipped into a label does
not."""

HOP_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Edges for work inside the pipeline: a hop is measured in single milliseconds."""

PATH_SECONDS = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.1,
    0.2,
    0.35,
    0.5,
    1.0,
    2.0,
    5.0,
    15.0,
    60.0,
    300.0,
)
"""Edges for a path that ends outside: a post is tens of milliseconds, a confirmation minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One line of the table: what a metric is called, what kind it is, and what its number means."""

    name: str
    kind: str
    unit: str
    meaning: str
    labels: tuple[str, ...]


class Metric(Generic[Instrument]):
    """An instrument with its declaration, and the children by label values: a look-up of half a
    microsecond on the hot path.
    """

    def __init__(self, instrument: Instrument, declaration: Declaration) -> None:
        self.declaration = declaration
        self._instrument: Instrument = instrument
        self._children: dict[tuple[str | int, ...], Instrument] = {}

    def of(self, *values: str | int) -> Instrument:
        """The child for these label values. An address, an id, or one value too many is counted as
        ``other``.
        """
        return self._children.get(values) or self._admit(values)

    def _admit(self, values: tuple[str | int, ...]) -> Instrument:
        room = len(self._children) < MOST_LABEL_SETS
        admitted = tuple(bounded(value) if room else "other" for value in values)
        child: Instrument = self._instrument.labels(*admitted) if values else self._instrument
        if room:
            self._children[values] = child
        return child


def _counter(name: str, meaning: str, *labels: str, unit: str = "") -> Metric[Counter]:
    declaration = Declaration(
        name=f"{name}_total", kind="counter", unit=unit, meaning=meaning, labels=labels
    )
    return Metric(Counter(name, meaning, labels, registry=REGISTRY), declaration)


def _gauge(name: str, meaning: str, *labels: str, unit: str = "") -> Metric[Gauge]:
    declaration = Declaration(name=name, kind="gauge", unit=unit, meaning=meaning, labels=labels)
    return Metric(Gauge(name, meaning, labels, registry=REGISTRY), declaration)


def _seconds(
    name: str, meaning: str, *labels: str, edges: tuple[float, ...] = HOP_SECONDS
) -> Metric[Histogram]:
    declaration = Declaration(
        name=name, kind="histogram", unit="seconds", meaning=meaning, labels=labels
    )
    return Metric(Histogram(name, meaning, labels, registry=REGISTRY, buckets=edges), declaration)


_MESSAGE = _seconds(
    "slipstream_message_seconds",
    "Work on one message, from its start to acknowledged outputs",
    "topic",
    "outcome",
)
_PARKED = _counter(
    "slipstream_messages_parked", "Messages put aside as dead letters", "topic", "reason"
)
_KEYS_PARKED = _gauge(
    "slipstream_keys_parked",
    "Keys with a dead letter that is open, of the whole service: anything but zero is an alarm",
)
_REDRIVEN = _counter(
    "slipstream_messages_redriven", "Dead letters that an operator sent again", "topic"
)
_UNFINISHED = _gauge(
    "slipstream_messages_unfinished",
    "Messages taken from a partition and not yet finished",
    "topic",
    "partition",
)
_RETRYING = _counter(
    "slipstream_message_retries", "Attempts after one that failed for a passing reason", "topic"
)
_WRITTEN = _seconds("slipstream_write_seconds", "One group commit to the database", "write")
_ROWS = _counter("slipstream_rows_written", "Rows that went out in group commits", "write")
_FRAMES = _counter("slipstream_feed_frames", "Frames of a feed by what they were", "feed", "kind")
_SILENT = _gauge(
    "slipstream_feed_silent_seconds",
    "Since the last data of a feed, its keep-alives not counted",
    "feed",
    unit="seconds",
)
_CACHE = _counter(
    "slipstream_cache_asked", "Questions to a cache by how they were answered", "cache", "result"
)
_REFUSALS = _counter("slipstream_refusals", "Copies refused, by the rule that refused", "reason")
_POSTED = _counter(
    "slipstream_orders_posted", "Orders posted to the venue, by its answer", "outcome"
)
_UNKNOWN = _gauge(
    "slipstream_orders_unknown", "Orders whose answer was lost and that are being resolved"
)
_ALERTED = _gauge(
    "slipstream_orders_alerted",
    "Orders not resolved in time, for which a human is called: anything but zero is an alarm",
)
_DOUBTED = _counter(
    "slipstream_trades_doubted",
    "Leaders' trades that may be one another's, by what was done",
    "what",
)
_UNSETTLED = _gauge(
    "slipstream_trades_unsettled",
    "Leaders' trades of the last hour that were copied and are in no block: anything but zero is an alarm",
)
_OUTCOMES = _counter("slipstream_copies", "Copies by the state they reached", "state")
_STAGE = _seconds(
    "slipstream_stage_seconds",
    "From the leader's fill seen to the end of a stage",
    "stage",
    edges=PATH_SECONDS,
)
_TRANSACTIONS = _counter(
    "slipstream_transactions", "Transactions on the chain by the state they reached", "state"
)
_DEBTS = _gauge(
    "slipstream_debts_outstanding_micros", "Advances not yet reimbursed", unit="micro-USDC"
)
_DRIFT = _gauge(
    "slipstream_ledger_drift_micros",
    "Ledger minus chain; anything but zero is an alarm",
    "what",
    unit="micro-USDC or micro-shares",
)
_BUILD = _gauge("slipstream_build_info", "Always 1; the labels say what runs", "service", "version")


def message_handled(topic: str, seconds: float, outcome: str) -> None:
    """A message is finished: its rows are committed and its outputs acknowledged. ``outcome``:
    handled or parked.
    """
    _MESSAGE.of(topic, outcome).observe(seconds)


def message_parked(topic: str, reason: str) -> None:
    """A message became a dead letter. ``reason``: the class of the error."""
    _PARKED.of(topic, reason).inc()


def keys_parked(n: int) -> None:
    """For how many keys something is parked: they wait, or a fact of theirs is missing, until an
    operator or an upgrade.
    """
    _KEYS_PARKED.of().set(n)


def message_redriven(topic: str) -> None:
    """An operator put a dead letter back on its topic."""
    _REDRIVEN.of(topic).inc()


def messages_unfinished(topic: str, partition: int, n: int) -> None:
    """How many messages of a partition are under way or wait behind one that is."""
    _UNFINISHED.of(topic, partition).set(n)


def retrying(topic: str) -> None:
    """A message failed for a passing reason and will be tried again."""
    _RETRYING.of(topic).inc()


def batch_written(write: str, rows: int, seconds: float) -> None:
    """A group commit is through. ``write``: the name of the statement."""
    _WRITTEN.of(write).observe(seconds)
    _ROWS.of(write).inc(rows)


def feed_frame(feed: str, kind: str) -> None:
    """A feed brought something: data, keep-alive, malformed, reconnect."""
    _FRAMES.of(feed, kind).inc()


def feed_silent(feed: str, seconds: float) -> None:
    """How long a feed has brought no data, however alive its socket."""
    _SILENT.of(feed).set(seconds)


def cache_asked(cache: str, result: CacheResult) -> None:
    """Hit: answered from what is kept. Shared: joined a request under way. Miss: asked outside.
    Stale: kept, but too old to use.
    """
    _CACHE.of(cache, result).inc()


def refusal(reason: str) -> None:
    """A copy was refused. ``reason``: from the closed list."""
    _REFUSALS.of(reason).inc()


def order_posted(outcome: str) -> None:
    """The venue answered an order, or did not: matched, unmatched, refused, unknown."""
    _POSTED.of(outcome).inc()


def orders_unknown(n: int) -> None:
    """How many orders wait to be resolved after a lost answer."""
    _UNKNOWN.of().set(n)


def orders_alerted(n: int) -> None:
    """How many open orders are past the time by which each is known to be filled or not."""
    _ALERTED.of().set(n)


def trade_doubted(what: str) -> None:
    """A leader's row ``waits`` for its block, is taken for one ``resent`` under another
    transaction, or is ``told again``: it was not.
    """
    _DOUBTED.of(what).inc()


def trades_unsettled(n: int) -> None:
    """How many trades the activity socket alone told, were copied, and did not get into a block in
    time.
    """
    _UNSETTLED.of().set(n)


def copy_outcome(state: str) -> None:
    """A copy reached a state: posted, filled, confirmed, failed, refused, expired."""
    _OUTCOMES.of(state).inc()


def stage_latency(stage: str, seconds: float) -> None:
    """A copy reached the end of a stage, ``seconds`` after the leader's fill was seen."""
    _STAGE.of(stage).observe(seconds)


def transaction_reached(state: str) -> None:
    """A transaction was sent, mined, replaced, reverted, dropped, finalized."""
    _TRANSACTIONS.of(state).inc()


def debts_outstanding(micros: int) -> None:
    """The sum of all debts not yet repaid."""
    _DEBTS.of().set(micros)


def ledger_drift(what: str, micros: int) -> None:
    """How far the ledger is from the chain. ``what``: usdc or shares."""
    _DRIFT.of(what).set(micros)


def build_info(service: str, version: str) -> None:
    """Which service this process is, and of which release."""
    _BUILD.of(service, version).set(1)


@cache
def process_figures() -> None:
    """Serve memory, CPU, open files and garbage collection of this process too. Asked again,
    nothing more happens.
    """
    ProcessCollector(registry=REGISTRY)
    PlatformCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)


def declarations() -> Iterator[Declaration]:
    """Every metric, in the order of this file."""
    return (value.declaration for value in globals().values() if isinstance(value, Metric))


def table() -> str:
    """The declarations as a Markdown table."""
    rows = ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| `{d.name}` | {d.kind} | {d.unit or '1'} | {', '.join(d.labels)} | {d.meaning} |"
        for d in declarations()
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
