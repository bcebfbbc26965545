"""Which topics are there, how are they kept, and what must change so that the cluster agrees?

This is the one declaration. Nothing creates a topic on its own: ``slipstream topics`` shows what
differs, and applies it.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from shared.streams.producer import LARGEST_REQUEST
from shared.streams.settings import KafkaSettings

DYNAMIC_TOPIC_CONFIG = 1
"""The source of a value that somebody set on the topic itself (DescribeConfigs, config_source)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic, what its messages are kept in order by, and for how long they are kept."""

    name: str
    key: str
    retention: timedelta
    compacted: bool = False
    largest_message: int | None = None
    blocks_key: bool = False
    """Whether what follows a parked message with its key waits behind it (parking.py). So it is
    where a message lets money move, which must not happen past one that nobody has understood. What
    only reports a fact passes: to hold it up would help nobody."""

    def configs(self, *, replication_factor: int) -> dict[str, str]:
        configs = {
            "cleanup.policy": "compact,delete" if self.compacted else "delete",
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            # With acks=all this many copies exist before a message counts as written. One less than
            # all, so that one broker may be away.
            "min.insync.replicas": str(max(1, replication_factor - 1)),
        }
        if self.largest_message is not None:
            configs["max.message.bytes"] = str(self.largest_message)
        return configs


WEEK, DAY = timedelta(days=7), timedelta(days=1)

TOPICS = (
    Topic(name="leader-fills", key="leader's proxy", retention=WEEK),
    Topic(name="copy-intents", key="follower's proxy", retention=WEEK, blocks_key=True),
    Topic(name="quoted-intents", key="follower's proxy", retention=WEEK, blocks_key=True),
    Topic(name="approved-intents", key="follower's proxy", retention=WEEK, blocks_key=True),
    Topic(name="copy-outcomes", key="follower's proxy", retention=4 * WEEK),
    Topic(name="venue-reports", key="follower's proxy", retention=WEEK),
    Topic(name="chain-requests", key="follower's proxy", retention=WEEK, blocks_key=True),
    Topic(name="chain-reports", key="follower's proxy", retention=WEEK),
    Topic(name="chain-results", key="follower's proxy", retention=WEEK),
    Topic(name="debts", key="follower's proxy", retention=4 * WEEK, blocks_key=True),
    Topic(name="quotes", key="token id", retention=DAY, compacted=True),
    Topic(name="balances", key="follower's proxy", retention=DAY, compacted=True),
    Topic(
        name="dead-letters",
        key="that of the message or feed",
        retention=4 * WEEK,
        largest_message=LARGEST_REQUEST,
    ),
    # What Faust keeps a cache's table in (shared/streams/cache.py); their entries reveal their age,
    # an old one is of no use.
    Topic(name="quotes-cache-entries-changelog", key="token id", retention=DAY, compacted=True),
    Topic(
        name="balances-cache-entries-changelog",
        key="follower's proxy",
        retention=DAY,
        compacted=True,
    ),
)

ORDERED_TOPICS = frozenset(topic.name for topic in TOPICS if topic.blocks_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A topic as the cluster has it; ``configs`` are the values that were set on it."""

    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alter:
    """``configs``: all that the topic is to have, since Kafka drops what is not named. ``changed``:
    what of it is new.
    """

    name: str
    configs: Mapping[str, str]
    changed: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A difference that nothing here will ever even out on its own."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    creations: tuple[Create, ...] = ()
    alterations: tuple[Alter, ...] = ()
    refusals: tuple[Refuse, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.creations or self.alterations or self.refusals)


def plan(
    declared: Sequence[Topic],
    existing: Mapping[str, Existing],
    *,
    partitions: int,
    replication_factor: int,
) -> Plan:
    """What makes the cluster agree with the declaration. Topics that are not declared are nobody's
    business here.
    """
    creations: list[Create] = []
    alterations: list[Alter] = []
    refusals: list[Refuse] = []
    for topic in declared:
        configs = topic.configs(replication_factor=replication_factor)
        if (found := existing.get(topic.name)) is None:
            creations.append(
                Create(
                    name=topic.name,
                    partitions=partitions,
                    replication_factor=replication_factor,
                    configs=configs,
                )
            )
            continue
        refusals += _refusals(
            topic, found, partitions=partitions, replication_factor=replication_factor
        )
        if changed := {
            name: value for name, value in configs.items() if found.configs.get(name) != value
        }:
            alterations.append(
                Alter(name=topic.name, configs={**found.configs, **configs}, changed=changed)
            )
    return Plan(
        creations=tuple(creations), alterations=tuple(alterations), refusals=tuple(refusals)
    )


def _refusals(
    topic: Topic, found: Existing, *, partitions: int, replication_factor: int
) -> Iterator[Refuse]:
    if found.partitions != partitions:
        why = (
            f"has {found.partitions} partitions, {partitions} are declared. Changing that would send a key's next messages past those that "
            f"still wait elsewhere: set KAFKA_PARTITIONS={found.partitions}, or drain and delete all topics first"
        )
        yield Refuse(name=topic.name, why=why)
    if found.replication_factor != replication_factor:
        why = (
            f"has {found.replication_factor} replicas, {replication_factor} are declared: move them with kafka-reassign-partitions, "
            f"or set KAFKA_REPLICATION_FACTOR={found.replication_factor}"
        )
        yield Refuse(name=topic.name, why=why)


async def inspect(settings: KafkaSettings, declared: Sequence[Topic] = TOPICS) -> Plan:
    """What ``apply`` would do. Changes nothing."""
    async with _admin(settings) as admin:
        return await _planned(admin, settings, declared)


async def apply(settings: KafkaSettings, declared: Sequence[Topic] = TOPICS) -> Plan:
    """Create and alter what is missing or differs, and return what was planned; refusals are left
    as they are. Safe to repeat.
    """
    async with _admin(settings) as admin:
        planned = await _planned(admin, settings, declared)
        await _create(admin, planned.creations)
        await _alter(admin, planned.alterations)
        return planned


async def partition_count(settings: KafkaSettings, topic: str) -> int:
    """Raises: LookupError where there is no such topic."""
    async with _admin(settings) as admin:
        if found := await _existing(admin, [topic]):
            return found[topic].partitions
    raise LookupError(f"there is no topic {topic}")


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.client())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _planned(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, declared: Sequence[Topic]
) -> Plan:
    existing = await _existing(admin, [topic.name for topic in declared])
    return plan(
        declared,
        existing,
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
    )


async def _existing(admin: AIOKafkaAdminClient, declared: Sequence[str]) -> dict[str, Existing]:
    names = sorted(set(declared) & set(await admin.list_topics()))
    if not names:
        return {}
    configs = await _configs(admin, names)
    return {
        topic["topic"]: Existing(
            partitions=len(topic["partitions"]),
            replication_factor=len(topic["partitions"][0]["replicas"]),
            configs=configs[topic["topic"]],
        )
        for topic in await admin.describe_topics(names)
    }


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    configs = {}
    for code, text, _, name, entries in (
        resource for answer in answers for resource in answer.resources
    ):
        _raise_for(code, name, text)
        configs[name] = {
            key: value for key, value, _, source, *_ in entries if source == DYNAMIC_TOPIC_CONFIG
        }
    return configs


async def _create(admin: AIOKafkaAdminClient, creations: Sequence[Create]) -> None:
    if not creations:
        return
    wanted = [
        NewTopic(
            each.name, each.partitions, each.replication_factor, topic_configs=dict(each.configs)
        )
        for each in creations
    ]
    answer = await admin.create_topics(wanted)
    for name, code, *text in answer.topic_errors:
        if (
            for_code(code) is not TopicAlreadyExistsError
        ):  # somebody applied the same declaration at the same time
            _raise_for(code, name, *text)


async def _alter(admin: AIOKafkaAdminClient, alterations: Sequence[Alter]) -> None:
    if not alterations:
        return
    answers = await admin.alter_configs(
        [
            ConfigResource(ConfigResourceType.TOPIC, each.name, dict(each.configs))
            for each in alterations
        ]
    )
    for code, text, _, name in (resource for answer in answers for resource in answer.resources):
        _raise_for(code, name, text)


def _raise_for(code: int, name: str, *text: Any) -> None:
    if code:
        error: KafkaError = for_code(code)(
            f"topic {name}: {' '.join(str(part) for part in text if part)}"
        )
        raise error
