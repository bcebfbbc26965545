"""The declared topics, and the plan of changes that makes a cluster match them."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import shared.messages
from shared.messages.base import Message
from shared.messages.dead_letters import DeadLetter
from shared.streams.topics import TOPICS, ExistingTopic, Topic, plan

ORDERS = Topic(name="orders", key="proxy", retention=timedelta(hours=1))
AS_DECLARED = ExistingTopic(
    partitions=8, replication_factor=3, configs=ORDERS.configs(replication_factor=3)
)


def test_every_message_travels_on_a_declared_topic() -> None:
    for module in pkgutil.iter_modules(shared.messages.__path__, "shared.messages."):
        importlib.import_module(module.name)

    topics = {
        kind.topic for kind in _concrete_types(Message) if kind.__module__.startswith("shared.")
    }

    assert DeadLetter.topic in topics
    assert len(topics) > 8
    assert topics <= {topic.name for topic in TOPICS}


def _concrete_types(kind: type[Message]) -> Iterator[type[Message]]:
    for each in kind.__subclasses__():
        if hasattr(each, "topic"):
            yield each
        yield from _concrete_types(each)


def test_no_topic_is_declared_twice() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


def test_a_cluster_that_matches_is_not_changed() -> None:
    assert plan([ORDERS], {"orders": AS_DECLARED}, partitions=8, replication_factor=3).is_empty


def test_a_missing_topic_is_created_as_declared() -> None:
    planned = plan([ORDERS], {}, partitions=8, replication_factor=3)

    (creation,) = planned.creations
    assert (creation.name, creation.partitions, creation.replication_factor) == ("orders", 8, 3)
    assert creation.configs == {
        "cleanup.policy": "delete",
        "retention.ms": "3600000",
        "min.insync.replicas": "2",
    }


def test_with_one_replica_one_in_sync_replica_is_enough() -> None:
    assert ORDERS.configs(replication_factor=1)["min.insync.replicas"] == "1"


def test_a_changed_retention_is_altered_and_other_values_are_kept() -> None:
    configs = {**AS_DECLARED.configs, "retention.ms": "1", "segment.ms": "5"}

    planned = plan(
        [ORDERS],
        {"orders": replace(AS_DECLARED, configs=configs)},
        partitions=8,
        replication_factor=3,
    )

    (alteration,) = planned.alterations
    assert alteration.changed == {"retention.ms": "3600000"}
    assert alteration.configs == {**AS_DECLARED.configs, "segment.ms": "5"}
    assert not planned.creations
    assert not planned.refusals


def test_another_number_of_partitions_is_refused_with_a_remedy() -> None:
    planned = plan([ORDERS], {"orders": AS_DECLARED}, partitions=16, replication_factor=3)

    (refusal,) = planned.refusals
    assert "8 partitions, 16 are declared" in refusal.why
    assert "KAFKA_PARTITIONS=8" in refusal.why
    assert not planned.creations
    assert not planned.alterations


def test_another_number_of_replicas_is_refused_with_a_remedy() -> None:
    planned = plan(
        [ORDERS],
        {"orders": replace(AS_DECLARED, replication_factor=1)},
        partitions=8,
        replication_factor=3,
    )

    (refusal,) = planned.refusals
    assert "KAFKA_REPLICATION_FACTOR=1" in refusal.why


def test_topics_that_are_not_declared_are_not_changed() -> None:
    assert plan([], {"theirs": AS_DECLARED}, partitions=8, replication_factor=3).is_empty
