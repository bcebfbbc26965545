"""`slipstream topics`: the declared topics beside what the cluster has."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from cli.errors import WrongInput
from shared.streams import topics
from shared.streams.settings import KafkaSettings
from shared.streams.topics import TOPICS, Plan, Topic


def show(settings: KafkaSettings) -> bool:
    """Print every declared topic and what differs. Returns whether nothing does."""
    plan = _told(settings, topics.inspect)
    Console().print(topics_table(plan, settings))
    return plan.is_empty


def apply(settings: KafkaSettings) -> bool:
    """Even out what can be, and print it. Returns whether nothing was refused."""
    plan = _told(settings, topics.apply)
    console = Console()
    for creation in plan.creations:
        console.print(f"created {creation.name}")
    for alteration in plan.alterations:
        console.print(f"altered {alteration.name}: {_pairs(alteration.changed)}")
    for refusal in plan.refusals:
        console.print(f"left {refusal.name}: it {refusal.why}")
    if plan.is_empty:
        console.print("Every topic is as it is declared.")
    return not plan.refusals


def topics_table(plan: Plan, settings: KafkaSettings) -> Table:
    table = Table("topic", "kept in order by", "kept for", "on the cluster")
    differences = differences_of(plan)
    for topic in TOPICS:
        table.add_row(
            topic.name, topic.key, _kept(topic), differences.get(topic.name, "as declared")
        )
    table.caption = f"{settings.partitions} partitions, {settings.replication_factor} replicas"
    return table


def differences_of(plan: Plan) -> dict[str, str]:
    """In words, by topic."""
    told: dict[str, list[str]] = {creation.name: ["missing"] for creation in plan.creations}
    for alteration in plan.alterations:
        told.setdefault(alteration.name, []).append(f"to be set: {_pairs(alteration.changed)}")
    for refusal in plan.refusals:
        told.setdefault(refusal.name, []).append(refusal.why)
    return {name: "; ".join(each) for name, each in told.items()}


def _told(
    settings: KafkaSettings, ask: Callable[[KafkaSettings], Coroutine[Any, Any, Plan]]
) -> Plan:
    """Raises: WrongInput where the cluster cannot be asked."""
    try:
        return asyncio.run(ask(settings))
    except KafkaError as error:
        raise WrongInput(
            f"KAFKA_BOOTSTRAP_SERVERS={settings.bootstrap_servers} cannot be used: {error}"
        ) from None


def _kept(topic: Topic) -> str:
    return f"{topic.retention.days} d{', newest of each key' if topic.compacted else ''}"


def _pairs(configs: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(configs.items()))
