"""Declares the topics, and plans and applies the changes that make the cluster match.

This is the only declaration. No service creates a topic: ``slipstream topics`` shows the
differences and applies them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from shared.streams.producer import MAX_REQUEST_BYTES
from shared.streams.settings import KafkaSettings

IN_EFFECT_TIMEOUT_S, CHECK_INTERVAL_S = 60.0, 0.1
"""The controller acknowledges a change before the brokers show it, usually by some milliseconds."""
DYNAMIC_TOPIC_CONFIG = 1
"""config_source in DescribeConfigs: the value was set on the topic itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic: the meaning of its key, and for how long its records are kept."""

    name: str
    key: str
    retention: timedelta
    compacted: bool = False
    max_message_bytes: int | None = None
    blocks_key: bool = False
    """Whether later messages with a dead letter's key wait behind it (dead_letter_store.py).

    True where a message lets money move: that must not happen past a message that could not be
    handled. Messages that only report a fact are handled at once: delaying them would help nobody.
    """

    def configs(self, *, replication_factor: int) -> dict[str, str]:
        configs = {
            "cleanup.policy": "compact,delete" if self.compacted else "delete",
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            # With acks=all this many copies exist before a record is acknowledged. One less than
            # all, so that one broker may be down.
            "min.insync.replicas": str(max(1, replication_factor - 1)),
        }
        if self.max_message_bytes is not None:
            configs["max.message.bytes"] = str(self.max_message_bytes)
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
        key="key of the message, or name of the feed",
        retention=4 * WEEK,
        max_message_bytes=MAX_REQUEST_BYTES,
    ),
    # The changelogs of the cache tables (shared/streams/cache.py). Each entry contains its time,
    # and an old one is of no use.
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
class ExistingTopic:
    """A topic as it is in the cluster; ``configs`` are the values that were set on it."""

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
    """``configs``: all values of the topic, since Kafka drops those that are not named.

    ``changed``: those of them that differ now.
    """

    name: str
    configs: Mapping[str, str]
    changed: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A difference that is never applied, and ``why``: an operator decides."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    creations: tuple[Create, ...] = ()
    alterations: tuple[Alter, ...] = ()
    refusals: tuple[Refuse, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.creations or self.alterations or self.refusals)


def plan(
    declared: Sequence[Topic],
    existing: Mapping[str, ExistingTopic],
    *,
    partitions: int,
    replication_factor: int,
) -> Plan:
    """Plan the changes that make the cluster match the declaration.

    Topics that are not declared are left alone.
    """
    creations: list[Create] = []
    alterations: list[Alter] = []
    refusals: list[Refuse] = []
    for topic in declared:
        configs = topic.configs(replication_factor=replication_factor)
        if (current := existing.get(topic.name)) is None:
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
            topic, current, partitions=partitions, replication_factor=replication_factor
        )
        if changed := {
            name: value for name, value in configs.items() if current.configs.get(name) != value
        }:
            alterations.append(
                Alter(name=topic.name, configs={**current.configs, **configs}, changed=changed)
            )
    return Plan(
        creations=tuple(creations), alterations=tuple(alterations), refusals=tuple(refusals)
    )


def _refusals(
    topic: Topic, existing: ExistingTopic, *, partitions: int, replication_factor: int
) -> Iterator[Refuse]:
    if existing.partitions != partitions:
        why = (
            f"has {existing.partitions} partitions, {partitions} are declared. A change would send "
            "the next messages of a key to another partition, past those that still wait: "
            f"set KAFKA_PARTITIONS={existing.partitions}, or drain and delete all topics first"
        )
        yield Refuse(name=topic.name, why=why)
    if existing.replication_factor != replication_factor:
        why = (
            f"has {existing.replication_factor} replicas, {replication_factor} are declared: "
            "move them with kafka-reassign-partitions, "
            f"or set KAFKA_REPLICATION_FACTOR={existing.replication_factor}"
        )
        yield Refuse(name=topic.name, why=why)


async def inspect(settings: KafkaSettings, declared: Sequence[Topic] = TOPICS) -> Plan:
    """Return what ``apply`` would do, and change nothing."""
    async with _admin(settings) as admin:
        return await _fetch_plan(admin, settings, declared)


async def apply(settings: KafkaSettings, declared: Sequence[Topic] = TOPICS) -> Plan:
    """Create missing topics and alter different ones; return the plan once it is in effect.

    Refused differences stay as they are. Safe to repeat. Raises: KafkaError, also where the change
    is not in effect in time.
    """
    async with _admin(settings) as admin:
        planned = await _fetch_plan(admin, settings, declared)
        await _create(admin, planned.creations)
        await _alter(admin, planned.alterations)
        await _wait_until_in_effect(admin, settings, declared)
        return planned


async def fetch_partition_count(settings: KafkaSettings, topic: str) -> int:
    """Return the number of partitions of a topic. Raises: LookupError where it does not exist."""
    async with _admin(settings) as admin:
        if existing := await _fetch_existing(admin, [topic]):
            return existing[topic].partitions
    raise LookupError(f"there is no topic {topic}")


async def fetch_lifetimes(settings: KafkaSettings) -> dict[str, timedelta | None]:
    """Return how long the cluster may deliver a record of each declared topic that exists: until
    the segment that it is in has ended, and for the topic's retention after that. None: for ever.

    Raises: KafkaError.
    """
    async with _admin(settings) as admin:
        declared = {topic.name for topic in TOPICS}
        names = sorted(declared & set(await admin.list_topics()))
        configs = await _fetch_configs(admin, names, also_defaults=True) if names else {}
    return {name: _lifetime(each) for name, each in configs.items()}


def _lifetime(configs: Mapping[str, str]) -> timedelta | None:
    if "delete" not in configs["cleanup.policy"] or int(configs["retention.ms"]) < 0:
        return None
    return timedelta(milliseconds=int(configs["retention.ms"]) + int(configs["segment.ms"]))


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.client())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _fetch_plan(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, declared: Sequence[Topic]
) -> Plan:
    existing = await _fetch_existing(admin, [topic.name for topic in declared])
    return plan(
        declared,
        existing,
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
    )


async def _fetch_existing(
    admin: AIOKafkaAdminClient, declared: Sequence[str]
) -> dict[str, ExistingTopic]:
    names = sorted(set(declared) & set(await admin.list_topics()))
    if not names:
        return {}
    configs = await _fetch_configs(admin, names)
    existing = {}
    for topic in await admin.describe_topics(names):
        name, partitions = topic["topic"], topic["partitions"]
        _raise_for(topic["error_code"], name)
        existing[name] = ExistingTopic(
            partitions=len(partitions),
            replication_factor=len(partitions[0]["replicas"]),
            configs=configs[name],
        )
    return existing


async def _fetch_configs(
    admin: AIOKafkaAdminClient, names: Sequence[str], *, also_defaults: bool = False
) -> dict[str, dict[str, str]]:
    """By topic the values that were set on it, or all that apply to it."""
    responses = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    configs = {}
    for code, text, _, name, entries in (
        resource for response in responses for resource in response.resources
    ):
        _raise_for(code, name, text)
        configs[name] = {
            key: value
            for key, value, _, source, *_ in entries
            if also_defaults or source == DYNAMIC_TOPIC_CONFIG
        }
    return configs


async def _create(admin: AIOKafkaAdminClient, creations: Sequence[Create]) -> None:
    if not creations:
        return
    new_topics = [
        NewTopic(
            each.name, each.partitions, each.replication_factor, topic_configs=dict(each.configs)
        )
        for each in creations
    ]
    response = await admin.create_topics(new_topics)
    for name, code, *text in response.topic_errors:
        # It exists where somebody applied the same declaration at the same time.
        if for_code(code) is not TopicAlreadyExistsError:
            _raise_for(code, name, *text)


async def _alter(admin: AIOKafkaAdminClient, alterations: Sequence[Alter]) -> None:
    if not alterations:
        return
    responses = await admin.alter_configs(
        [
            ConfigResource(ConfigResourceType.TOPIC, each.name, dict(each.configs))
            for each in alterations
        ]
    )
    for code, text, _, name in (
        resource for response in responses for resource in response.resources
    ):
        _raise_for(code, name, text)


async def _wait_until_in_effect(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, declared: Sequence[Topic]
) -> None:
    try:
        async with asyncio.timeout(IN_EFFECT_TIMEOUT_S):
            while True:
                if await _is_in_effect(admin, settings, declared):
                    return
                await asyncio.sleep(CHECK_INTERVAL_S)
    except TimeoutError as error:
        raise KafkaTimeoutError(
            f"the topics were changed, and the brokers do not show it within "
            f"{IN_EFFECT_TIMEOUT_S:.0f} s. Run `slipstream topics` to see what differs"
        ) from error


async def _is_in_effect(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, declared: Sequence[Topic]
) -> bool:
    try:
        remaining = await _fetch_plan(admin, settings, declared)
    except UnknownTopicOrPartitionError:  # one broker knows a new topic, another not yet
        return False
    return not (remaining.creations or remaining.alterations)


def _raise_for(code: int, name: str, *text: Any) -> None:
    if code:
        error: KafkaError = for_code(code)(
            f"topic {name}: {' '.join(str(part) for part in text if part)}"
        )
        raise error
