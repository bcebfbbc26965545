"""`slipstream topics`: compare the declared topics with the cluster's, and apply them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from cli.errors import CommandError
from shared.streams import topics
from shared.streams.settings import KafkaSettings
from shared.streams.topics import TOPICS, Plan, Topic


def show(settings: KafkaSettings) -> bool:
    """Print every declared topic and how the cluster differs. Returns whether nothing differs."""
    plan = _run(settings, topics.inspect)
    Console().print(build_topics_table(plan, settings))
    return plan.is_empty


def apply(settings: KafkaSettings) -> bool:
    """Create and alter topics where that is possible, and print what was done. Returns whether
    nothing had to be left as it is.
    """
    plan = _run(settings, topics.apply)
    console = Console()
    for creation in plan.creations:
        console.print(f"created {creation.name}")
    for alteration in plan.alterations:
        console.print(f"altered {alteration.name}: {_pairs(alteration.changed)}")
    for refusal in plan.refusals:
        console.print(f"not changed: {refusal.name}: it {refusal.why}")
    if plan.is_empty:
        console.print("Every topic is as it is declared.")
    return not plan.refusals


def build_topics_table(plan: Plan, settings: KafkaSettings) -> Table:
    table = Table("topic", "ordered by", "retention", "on the cluster")
    difference_by_topic = describe_differences(plan)
    for topic in TOPICS:
        table.add_row(
            topic.name,
            topic.key,
            _retention(topic),
            difference_by_topic.get(topic.name, "as declared"),
        )
    table.caption = f"{settings.partitions} partitions, {settings.replication_factor} replicas"
    return table


def describe_differences(plan: Plan) -> dict[str, str]:
    """How the cluster differs from the declaration, in words, by topic name."""
    differences: dict[str, list[str]] = {creation.name: ["missing"] for creation in plan.creations}
    for alteration in plan.alterations:
        differences.setdefault(alteration.name, []).append(
            f"to be set: {_pairs(alteration.changed)}"
        )
    for refusal in plan.refusals:
        differences.setdefault(refusal.name, []).append(refusal.why)
    return {name: "; ".join(each) for name, each in differences.items()}


def _run(
    settings: KafkaSettings, work: Callable[[KafkaSettings], Coroutine[Any, Any, Plan]]
) -> Plan:
    """Raises: CommandError where the cluster cannot be reached, or refuses or fails the request."""
    try:
        return asyncio.run(work(settings))
    except KafkaError as error:
        raise CommandError(
            f"Kafka at KAFKA_BOOTSTRAP_SERVERS={settings.bootstrap_servers} failed: {error}"
        ) from None


def _retention(topic: Topic) -> str:
    return f"{topic.retention.days} d{', newest of each key' if topic.compacted else ''}"


def _pairs(configs: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(configs.items()))
