"""The metric types: an instrument with its declaration, its subject and its bounded label values.

The instruments belong to the process, like its standard error: a scrape reads one process. They are
kept in a registry of our own, so that nothing but what is declared (and the process's memory, CPU
and collector figures) is served.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from shared.observe.labels import OTHER, bounded

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)

REGISTRY = CollectorRegistry()

MAX_LABEL_SETS = 2_000
"""Of one metric. 64 partitions of a dozen topics fit; an identifier that slipped into a label does
not."""

HOP_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bucket bounds for work inside the pipeline: a hop is measured in single milliseconds."""


class Subject(StrEnum):
    """What a metric is about: the groups of docs/metrics.md, in their order."""

    MESSAGES = "Messages and dead letters"
    FEEDS = "Feeds and caches"
    COPIES = "Copies and orders"
    LEADER_TRADES = "Leader trades"
    CHAIN = "Chain and debts"
    TRANSFERS = "Transfers"
    PROCESS = "Process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label and the values that it takes: a closed list, or an open one in words."""

    name: str
    values: type[StrEnum] | tuple[StrEnum, ...] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a metric is called as it is served, its kind, and what its number means."""

    name: str
    kind: str
    unit: str
    """Empty: a plain count."""
    meaning: str
    labels: tuple[Label, ...]
    subject: Subject


class Metric(Generic[Instrument]):
    """An instrument with its declaration, and its children by label values, which are looked up in
    half a microsecond on the hot path.
    """

    def __init__(self, instrument: Instrument, declaration: Declaration) -> None:
        self.declaration = declaration
        self._instrument: Instrument = instrument
        self._children: dict[tuple[str | int, ...], Instrument] = {}

    def labels(self, *values: str | int) -> Instrument:
        """The child for these label values, in the order of the declaration.

        A value that could be an address or an id, and any value beyond ``MAX_LABEL_SETS``, is
        counted as ``other``.
        """
        return self._children.get(values) or self._create(values)

    def remove(self, *values: str | int) -> None:
        """Serve no figure for these label values until there is one again."""
        if self._children.pop(values, None) is not None:
            self._instrument.remove(*map(bounded, values))

    def _create(self, values: tuple[str | int, ...]) -> Instrument:
        has_room = len(self._children) < MAX_LABEL_SETS
        admitted = tuple(bounded(value) if has_room else OTHER for value in values)
        child: Instrument = self._instrument.labels(*admitted) if values else self._instrument
        if has_room:
            self._children[values] = child
        return child


def counter(
    name: str, meaning: str, *, subject: Subject, labels: tuple[Label, ...] = ()
) -> Metric[Counter]:
    """A count that only grows. Prometheus serves it as ``<name>_total``."""
    declaration = Declaration(
        name=f"{name}_total",
        kind="counter",
        unit="",
        meaning=meaning,
        labels=labels,
        subject=subject,
    )
    return Metric(Counter(name, meaning, _names(labels), registry=REGISTRY), declaration)


def gauge(
    name: str, meaning: str, *, subject: Subject, labels: tuple[Label, ...] = (), unit: str = ""
) -> Metric[Gauge]:
    """A value that rises and falls."""
    declaration = Declaration(
        name=name, kind="gauge", unit=unit, meaning=meaning, labels=labels, subject=subject
    )
    return Metric(Gauge(name, meaning, _names(labels), registry=REGISTRY), declaration)


def histogram(
    name: str,
    meaning: str,
    *,
    subject: Subject,
    labels: tuple[Label, ...],
    bounds: tuple[float, ...] = HOP_SECONDS,
) -> Metric[Histogram]:
    """Durations in seconds, counted in buckets."""
    declaration = Declaration(
        name=name,
        kind="histogram",
        unit="seconds",
        meaning=meaning,
        labels=labels,
        subject=subject,
    )
    instrument = Histogram(name, meaning, _names(labels), registry=REGISTRY, buckets=bounds)
    return Metric(instrument, declaration)


def _names(labels: tuple[Label, ...]) -> tuple[str, ...]:
    return tuple(label.name for label in labels)


@cache
def serve_process_figures() -> None:
    """Serve memory, CPU, open files and garbage collection of this process too. A second call does
    nothing.
    """
    ProcessCollector(registry=REGISTRY)
    PlatformCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)
