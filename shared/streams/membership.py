"""Whether another process has taken this instance's name in the consumer group.

With static membership the broker gives a name's partitions to the process that joins with it last.
It tells the one before only that it is no member any more, as after a long pause. aiokafka 0.14
then joins again, takes the name back, and so on: both would handle every message. So before it
joins again an instance looks who has its name.
"""

import asyncio
import logging
import re

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from shared.streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 5.0
"""Longer, and the group would go on without this instance."""
UNIQUE_PART = "-[0-9a-f-]{36}"
"""The broker makes a member's id of its instance's name and this."""


class InstanceReplaced(Exception):
    """Another process of this instance's name is the member of the group."""


class Membership:
    """The membership of one instance in its group. Without a name of its own it is never replaced:
    it joins as someone new.
    """

    def __init__(self, group: str, settings: KafkaSettings) -> None:
        self._group, self._settings = group, settings
        self._name = settings.group_instance_id
        self._member_id: str | None = None

    def on_joined(self, consumer: AIOKafkaConsumer) -> None:
        if self._name is not None:
            self._member_id = consumer._coordinator.member_id

    async def require_own_name(self, consumer: AIOKafkaConsumer) -> None:
        """Raises: InstanceReplaced where this one had joined and is no member any more, because
        another process has the name. Where Kafka does not say, none has.
        """
        if self._member_id is not None and self._member_id != consumer._coordinator.member_id:
            await self.require_free_name()

    async def require_free_name(self) -> None:
        """Raises: InstanceReplaced where another process has the name, also if this one never
        joined.
        """
        if self._name is None:
            return
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                members = await self._fetch_member_ids()
        except (KafkaError, TimeoutError, OSError) as error:
            logger.warning("the members of the group are not known: %s", type(error).__name__)
            return
        pattern = re.compile(re.escape(self._name) + UNIQUE_PART)
        if any(pattern.fullmatch(each) and each != self._member_id for each in members):
            raise InstanceReplaced(
                f"another process with KAFKA_GROUP_INSTANCE_ID={self._name} has joined the group "
                f"{self._group}: this one ends. Give each process a name of its own"
            )

    async def _fetch_member_ids(self) -> list[str]:
        admin = AIOKafkaAdminClient(**self._settings.client())
        try:
            await admin.start()
            (response,) = await admin.describe_consumer_groups([self._group])
        finally:
            await admin.close()
        return [member[0] for group in response.groups for member in group[5]]
